"""Writes resnet50.safetensors: seeded weights for every layer of the spec.

Filters are drawn as He et al. (2015) do, which keeps the mean square of activations through a convolution and
the ReLU before it. BatchNorm statistics differ from channel to channel; the BatchNorms before a block's sum
scale both sides down, so that sixteen sums later activations are still of order one.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from cnngen.spec import load_spec, resolve, save_weights

FOLDER = Path(__file__).resolve().parent
SCALES = {"bn3": 0.3, "downsample.1": 0.6}  # of a BatchNorm, by the end of its name; 1 for the others


def draw(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A weight of that name: filters and matrices by their rank, BatchNorm's and biases by their role."""
    layer, _, role = name.rpartition(".")
    if len(shape) > 1:
        values = rng.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape)
    elif role == "running_var":
        values = rng.uniform(0.5, 1.5, shape)
    elif role == "weight":
        scale = next((scale for end, scale in SCALES.items() if layer.endswith(end)), 1.0)
        values = rng.uniform(0.7, 1.3, shape) * scale
    else:
        values = rng.normal(0, 0.1, shape)
    return values.astype(np.float32)


def main() -> None:
    """Write the file beside this script."""
    spec = load_spec(FOLDER / "spec.yaml")
    rng = np.random.default_rng(0)
    weights = {name: draw(name, ref.shape, rng) for name, ref in resolve(spec).weights.items()}
    save_weights(FOLDER / "resnet50.safetensors", weights)
    print(f"wrote {len(weights)} tensors to {FOLDER / 'resnet50.safetensors'}")


if __name__ == "__main__":
    main()
