"""Writes tiny.safetensors: seeded normal weights of the size that keeps activations of order one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnngen.spec import save_weights


def main() -> None:
    """Write the file beside this script."""
    rng = np.random.default_rng(0)
    weights = {
        "conv1.weight": rng.normal(0, (2 / 27) ** 0.5, (16, 3, 3, 3)),
        "conv1.bias": rng.normal(0, 0.1, 16),
        "fc.weight": rng.normal(0, 0.5, (10, 16)),
        "fc.bias": rng.normal(0, 0.1, 10),
    }
    save_weights(
        Path(__file__).with_name("tiny.safetensors"),
        {name: array.astype(np.float32) for name, array in weights.items()},
    )


if __name__ == "__main__":
    main()
