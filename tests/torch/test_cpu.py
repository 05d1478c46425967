"""Imported blocks executed for real on the CPU target, in one module, against torch."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from ..bundle import Bundle, build_bundle, bundle_folder
from .agreement import TOLERANCE, distance, exact
from .blocks import BLOCKS
from .test_networks import noise

from ..models.nets.seeding import seeded  # isort: skip (torch may be missing)

pytestmark = pytest.mark.cpu
NAMES = [block.__name__ for block in BLOCKS]


@functools.cache
def modules() -> dict[str, object]:
    return {block.__name__: seeded(block(), noise(4, 8, 6, 10, seed=1)) for block in BLOCKS}


@functools.cache
def sources() -> dict[str, object]:
    from cnngen.spec.torch import import_torch

    return {name: import_torch(module, noise(2, 8, 6, 10)) for name, module in modules().items()}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build_bundle(list(sources().values()), bundle_folder("torch"), files=2, optimize="-O1")


@pytest.mark.parametrize("name", NAMES)
def test_block(bundle: Bundle, name: str) -> None:
    x = noise(2, 8, 6, 10)
    made = bundle.network(*sources()[name])(x.numpy())
    ours = made if isinstance(made, tuple) else (made,)
    for y, wanted in zip(ours, exact(modules()[name], [x]), strict=True):
        assert distance(np.asarray(y, np.float64), wanted) <= TOLERANCE
