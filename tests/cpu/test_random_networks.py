"""Random networks of every op, built and run on the CPU, against the plan's interpreter at every batch size."""

from __future__ import annotations

import os
import random

import pytest

from cnngen.spec.types import DType

from ..bundle import Bundle, build_bundle, bundle_folder
from ..unit.codegen.networks import Network, random_network
from .check import TOLERANCE, check

COUNT = int(os.environ.get("CNNGEN_RANDOM_NETWORKS", "60"))  # of each storage type
CASES = [(storage, seed) for storage in TOLERANCE for seed in range(COUNT)]


def drawn(storage: DType, seed: int) -> Network:
    return random_network(random.Random(seed), storage, mixed=False, name=f"{storage}_{seed}")  # noqa: S311


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    networks = [drawn(storage, seed) for storage, seed in CASES]
    sources = [(network.spec, network.weights) for network in networks]
    return build_bundle(sources, bundle_folder("random"), optimize="-O2;-ftree-vectorize")


@pytest.mark.parametrize(("storage", "seed"), CASES)
def test_equals_the_interpreter(bundle: Bundle, storage: DType, seed: int) -> None:
    check(bundle, drawn(storage, seed))
