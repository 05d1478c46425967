"""Specs and weights as files, for the networks that the GPU tests build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnngen.spec import NetworkSpec, dump_spec, resolve, save_weights


def random_weights(spec: NetworkSpec, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Weights of a size that keeps activations of order one."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(ref.shape) / np.sqrt(max(np.prod(ref.shape[1:]), 1))).astype(np.float32)
        for name, ref in resolve(spec).weights.items()
    }


def write_spec(spec: NetworkSpec, weights: Mapping[str, np.ndarray[Any, Any]], folder: Path) -> Path:
    """The spec and its weights as files; the spec's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "spec.yaml"
    path.write_text(dump_spec(spec))
    if spec.weights is not None:
        save_weights(folder / spec.weights, weights)
    return path
