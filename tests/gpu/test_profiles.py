"""A network with two profiles, built and run: each profile and batch size on the GPU against the plan's interpreter."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import cnngen
from cnngen.codegen.interpret_plan import interpret_plan
from cnngen.codegen.plan import make_plan
from cnngen.spec import NetworkSpec

from .specs import random_weights, write_spec

TWO_SHAPES: dict[str, Any] = {
    "name": "two_shapes",
    "inputs": {"image": {"shape": [1, 3, 32, 24]}},
    "precision": "float16",
    "batch_sizes": [1, 4],
    "profiles": [{"image": [1, 3, 48, 64]}],
    "weights": "two_shapes.safetensors",
    "layers": [
        {"name": "a", "op": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1, "activation": "relu"},
        {"name": "pool", "op": "max_pool2d", "kernel": 2},
        {"name": "deep", "op": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1, "stride": 2},
        {"name": "up", "op": "upsample", "scale": 2},
        {"name": "joined", "op": "concat", "inputs": ["pool", "up"]},
        {"name": "wide", "op": "resize", "scales": [1.5, 2], "mode": "linear"},
        {"name": "score", "op": "conv2d", "out_channels": 5, "kernel": 1},
        {"name": "mean", "op": "global_avg_pool", "input": "joined", "keepdims": False},
    ],
    "outputs": ["score", "mean"],
}
SPEC = NetworkSpec.model_validate(TWO_SHAPES)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("two_shapes")
    path = write_spec(SPEC, random_weights(SPEC), folder)
    return cnngen.load(cnngen.build(path, folder / "generated", target="cuda").project)


def test_every_profile_equals_the_interpreter(module: ModuleType) -> None:
    net = module.Network()
    plan = make_plan(SPEC, random_weights(SPEC))
    runs = [*enumerate(plan.batches), *enumerate(plan.batches)]  # each graph twice, in turn with the others
    for index, batch in runs:
        (shape,) = (value.shape for value in batch.graph.inputs)
        x = np.random.default_rng(index).standard_normal(shape, np.float32)
        wanted = interpret_plan(plan, index, {batch.graph.inputs[0].name: x}).values()
        for got, expected in zip(net(x), wanted, strict=True):
            error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
            assert error < 2e-2, f"profile {batch.profile}, batch {batch.batch}: {error:.1e}"


def test_a_shape_of_no_profile(module: ModuleType) -> None:
    with pytest.raises(ValueError, match="no profile of 'two_shapes' has inputs 'image'"):
        module.Network()(np.zeros((1, 3, 40, 40), np.float32))
