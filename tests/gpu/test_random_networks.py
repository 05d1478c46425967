"""Random networks of every op, built and run: the GPU against the plan's interpreter at every batch size."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import cnngen
from cnngen.codegen.graph import Value
from cnngen.codegen.interpret_plan import interpret_plan
from cnngen.codegen.plan import make_plan
from cnngen.codegen.storage import NUMPY_TYPES, from_memory, to_memory
from cnngen.spec.types import DType

from ..unit.codegen.networks import Network, random_network
from .specs import write_spec

COUNT = int(os.environ.get("CNNGEN_RANDOM_NETWORKS", "6"))  # of each storage type
TOLERANCE: dict[DType, float] = {"float32": 2e-5, "float16": 2e-2, "bfloat16": 1e-1}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Network, Path]]:
    folder = tmp_path_factory.mktemp("random")
    networks = {}
    for storage in TOLERANCE:
        for seed in range(COUNT):
            name = f"{storage}_{seed}"
            network = random_network(random.Random(seed), storage, mixed=False, name=name)  # noqa: S311
            spec = network.spec.model_copy(
                update={"weights": f"{name}.safetensors" if network.weights else None}
            )
            networks[name] = Network(spec, network.weights)

    def build(name: str) -> tuple[Network, Path]:
        network = networks[name]
        path = write_spec(network.spec, network.weights, folder / "specs" / name)
        return network, cnngen.build(path, folder).project

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(networks, pool.map(build, networks), strict=True))


@pytest.mark.parametrize("seed", range(COUNT))
@pytest.mark.parametrize("storage", list(TOLERANCE))
def test_equals_the_interpreter(built: dict[str, tuple[Network, Path]], storage: DType, seed: int) -> None:
    network, project = built[f"{storage}_{seed}"]
    net = cnngen.load(project).Network()
    plan = make_plan(network.spec, network.weights)
    for index, batch in enumerate(plan.batches):
        inputs = network.inputs(batch.graph)
        wanted = interpret_plan(plan, index, inputs)
        got = net(*(host(inputs[value.name], value) for value in batch.graph.inputs))
        results = got if isinstance(got, tuple) else (got,)
        for name, array in zip(batch.graph.outputs, results, strict=True):
            value = batch.graph.values[name]
            result = from_memory(array.view(NUMPY_TYPES[value.dtype]).reshape(-1), value).astype(np.float64)
            norm = max(float(np.linalg.norm(wanted[name])), 1e-6)
            error = float(np.linalg.norm(result - wanted[name])) / norm
            assert error <= TOLERANCE[storage], f"{name} at batch {batch.batch}: {error:.1e}\n{network!r}"


def host(
    array: np.ndarray[tuple[int, ...], np.dtype[np.float64]], value: Value
) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """The array as a user passes it: in the declared layout and type."""
    return to_memory(array, value)
