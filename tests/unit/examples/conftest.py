"""The examples with weights, wherever no download is possible."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cnngen.spec import load_spec, resolve, save_weights

CHECKOUT = Path(__file__).resolve().parents[3]


def seeded(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A weight that no pass finds special: no zeros, no two equal, variances positive."""
    values = rng.standard_normal(shape, np.float32)
    if len(shape) > 1:
        return values * np.float32(math.sqrt(2 / math.prod(shape[1:])))
    return np.abs(values) + np.float32(0.5) if name.endswith("running_var") else values * np.float32(0.1) + 1


@pytest.fixture(scope="session")
def checkout() -> Path:
    return CHECKOUT


@pytest.fixture
def example(tmp_path: Path) -> Callable[..., Path]:
    """The spec of an example beside seeded weights, in a folder of the test's own."""

    def prepare(name: str, seed: int = 0) -> Path:
        folder = tmp_path / f"{name}-{seed}"
        folder.mkdir()
        path = folder / "spec.yaml"
        shutil.copy(CHECKOUT / "examples" / name / "spec.yaml", path)
        spec = load_spec(path)
        rng = np.random.default_rng(seed)
        weights = {ref: seeded(ref, known.shape, rng) for ref, known in resolve(spec).weights.items()}
        assert spec.weights is not None
        save_weights(folder / spec.weights, weights)
        return path

    return prepare
