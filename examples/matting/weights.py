"""Writes matting.safetensors: seeded weights for every layer of the spec.

Filters are drawn as He et al. (2015) do, which keeps the mean square of activations through a convolution and
the ReLU before it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from cnngen.spec import load_spec, resolve, save_weights

FOLDER = Path(__file__).resolve().parent


def main() -> None:
    """Write the file beside this script."""
    spec = load_spec(FOLDER / "spec.yaml")
    rng = np.random.default_rng(0)
    weights = {}
    for name, ref in resolve(spec).weights.items():
        deviation = 0.05 if name.endswith(".bias") else math.sqrt(2 / math.prod(ref.shape[1:]))
        weights[name] = rng.normal(0, deviation, ref.shape).astype(np.float32)
    save_weights(FOLDER / "matting.safetensors", weights)
    print(f"wrote {len(weights)} tensors to {FOLDER / 'matting.safetensors'}")


if __name__ == "__main__":
    main()
