"""Networks with several profiles, run on the CPU in each: indices, tables and sums depend on the input's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from cnngen.spec import NetworkSpec
from cnngen.spec.types import DType

from ..bundle import Bundle, build_bundle, bundle_folder
from ..unit.codegen.networks import Network, random_weights
from .check import check

IMAGES = ((1, 3, 24, 20), (1, 3, 32, 32), (1, 3, 17, 40))

LAYERS: dict[str, list[Mapping[str, Any]]] = {
    "convolutional": [
        {"name": "a", "op": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1, "activation": "relu"},
        {"name": "pool", "op": "max_pool2d", "kernel": 2, "ceil_mode": True},
        {"name": "deep", "op": "conv2d", "out_channels": 24, "kernel": 3, "padding": "same", "stride": 2},
        {"name": "up", "op": "upsample", "scale": 2, "mode": "bilinear"},
        {"name": "wide", "op": "resize", "scales": [1.5, 0.75], "mode": "cubic"},
        {"name": "skip", "op": "resize", "input": "deep", "scales": [3, 1.5], "coordinates": "asymmetric"},
        {"name": "joined", "op": "concat", "inputs": ["wide", "skip"]},
        {"name": "score", "op": "conv2d", "out_channels": 5, "kernel": 1},
        {"name": "prob", "op": "softmax", "axis": 1},
        {"name": "mean", "op": "global_avg_pool", "input": "joined"},
    ],
    "sequence": [  # of pixels, each of which looks at all
        {"name": "a", "op": "conv2d", "out_channels": 8, "kernel": 2, "stride": 2},
        {"name": "flat", "op": "reshape", "shape": [0, 8, -1]},
        {"name": "turned", "op": "transpose", "axes": [0, 2, 1]},
        {"name": "norm", "op": "layer_norm"},
        {"name": "scores", "op": "matmul", "inputs": ["norm", "norm"], "transpose_b": True},
        {"name": "shares", "op": "softmax"},
        {"name": "seen", "op": "matmul", "inputs": ["shares", "norm"]},
        {"name": "prob", "op": "reduce_mean", "axes": [1], "keepdims": False},
        {"name": "mean", "op": "linear", "out_features": 6},
    ],
    "cut": [
        {"name": "a", "op": "slice", "axes": [2, 3], "starts": [1, 0], "ends": [-2, None], "steps": [1, 2]},
        {"name": "b", "op": "pad", "padding": [1, 2, 0, 1], "mode": "reflect"},
        {"name": "prob", "op": "instance_norm"},
        {"name": "mean", "op": "conv_transpose2d", "out_channels": 4, "kernel": 3, "stride": 2, "input": "a"},
    ],
}


def made(layers: str, storage: DType, **fields: object) -> Network:
    declared = {
        "name": layers,
        "inputs": {"x": {"shape": IMAGES[0]}},
        "precision": storage,
        "profiles": [{"x": shape} for shape in IMAGES[1:]],
        "layers": LAYERS[layers],
        "outputs": ["prob", "mean"],
        **fields,
    }
    spec = NetworkSpec.model_validate(declared)
    return Network(spec, random_weights(spec, 0, zeros=False))


def without_batch() -> Network:
    """Profiles of one of two inputs."""
    declared = {
        "name": "without_batch",
        "inputs": {"x": {"shape": [12, 7]}, "k": {"shape": [7, 5]}},
        "batched": False,
        "profiles": [{"x": [30, 7]}],
        "layers": [
            {"name": "y", "op": "matmul", "inputs": ["x", "k"]},
            {"name": "shares", "op": "softmax", "axis": 0},
        ],
    }
    return Network(NetworkSpec.model_validate(declared), {})


NETWORKS = {
    **{layers: made(layers, "float32") for layers in LAYERS},
    "rounded": made("convolutional", "bfloat16", name="rounded"),
    "batches": made("convolutional", "float32", name="batches", batch_sizes=[1, 4]),
    "without_batch": without_batch(),
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build_bundle(
        [(network.spec, network.weights) for network in NETWORKS.values()], bundle_folder("profiles"), files=4
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_every_profile_equals_the_interpreter(bundle: Bundle, name: str) -> None:
    check(bundle, NETWORKS[name])


def items(runner: Any, x: np.ndarray[Any, Any]) -> list[Sequence[Any]]:  # noqa: ANN401
    return [runner(x[k : k + 1]) for k in range(len(x))]


def test_profiles_in_turn_and_batches_that_are_not_planned(bundle: Bundle) -> None:
    network = NETWORKS["batches"]
    runner = bundle.network(network.spec, network.weights)
    for n in (3, 1, 4):
        for shape in IMAGES:
            x = np.random.default_rng(n).standard_normal((n, *shape[1:]), np.float32)
            for k, alone in enumerate(items(runner, x)):
                for got, wanted in zip(runner(x), alone, strict=True):
                    np.testing.assert_allclose(got[k], wanted[0], rtol=1e-4, atol=1e-5)


def test_a_shape_of_no_profile_lists_all(bundle: Bundle) -> None:
    network = NETWORKS["without_batch"]
    runner = bundle.network(network.spec, network.weights)
    with pytest.raises(ValueError, match=r"has inputs 'x' \(9, 7\), 'k' \(7, 5\)") as e:
        runner(np.zeros((9, 7), np.float32), np.zeros((7, 5), np.float32))
    assert str(e.value).splitlines()[1:] == ["  'x' (12, 7), 'k' (7, 5)", "  'x' (30, 7), 'k' (7, 5)"]
