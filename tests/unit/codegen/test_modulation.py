# ruff: noqa: E501 (graphs stand here as they are printed)
"""fold_modulation: a norm between two convolutions of another image becomes part of their filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cnngen.codegen.node_ops import Affine
from cnngen.codegen.passes.fold_modulation import fold_modulation

from .networks import Network, network
from .texts import after, before, constants, steps, text

CONV = {"op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1}
NORM = {"name": "norm", "op": "batch_norm", "input": "x"}
IMAGE = {"name": "image", "op": "relu", "input": "x"}
GAMMA = {"name": "gamma", **CONV, "input": "image"}
ONE = {"name": "one", "op": "add", "inputs": ["gamma"], "value": 1.0}
BETA = {"name": "beta", **CONV, "input": "image"}
PRODUCT = {"name": "product", "op": "mul", "inputs": ["norm", "one"]}
SUM = {"name": "y", "op": "add", "inputs": ["product", "beta"]}
SPADE = (NORM, IMAGE, GAMMA, ONE, BETA, PRODUCT, SUM)


def spade(*layers: Mapping[str, Any], mean: float = 0.5, **fields: object) -> Network:
    drawn = network(*(layers or SPADE), shape=(1, 8, 6, 6), **fields)
    drawn.weights["norm.running_mean"][:] = mean
    drawn.weights["norm.running_var"][:] = 1.0
    drawn.weights["norm.weight"][:] = 1.0
    drawn.weights["norm.bias"][:] = 0.0
    return drawn


def test_a_modulated_norm_is_part_of_both_convolutions() -> None:
    graph = after("fold_modulation", spade())
    assert steps(graph) == text("""
        image [1, 8, 6, 6] float32 NHWC = relu(x[n, c, h, w])  # image
        one.folded [1, 8, 6, 6] float32 NHWC = conv<padding=(1, 1, 1, 1)>(image, gamma.weight) -> acc + gamma.bias[c]  # gamma, one
        beta.folded [1, 8, 6, 6] float32 NHWC = conv<padding=(1, 1, 1, 1)>(image, beta.weight) -> acc + beta.bias[c]  # beta
        product.folded [1, 8, 6, 6] float32 NHWC = x[n, c, h, w] * one.folded[n, c, h, w]  # norm, product
        y [1, 8, 6, 6] float32 NHWC = product.folded[n, c, h, w] + beta.folded[n, c, h, w]  # y
        """)


def test_filters_and_biases_are_scaled_and_shifted() -> None:
    graph = before("fold_modulation", spade())
    old, new = (
        {name: constant.array for name, constant in g.constants.items()}
        for g in (graph, fold_modulation(graph))
    )
    scale, shift = old["norm.scale"], old["norm.shift"]
    by_filter = shift.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(
        new["gamma.weight"], old["gamma.weight"] * scale.reshape(-1, 1, 1, 1), rtol=1e-6
    )
    np.testing.assert_allclose(new["gamma.bias"], old["gamma.bias"] * scale, rtol=1e-6)
    np.testing.assert_allclose(
        new["beta.weight"], old["beta.weight"] + old["gamma.weight"] * by_filter, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(new["beta.bias"], old["beta.bias"] + old["gamma.bias"] * shift, rtol=1e-5)
    assert constants(fold_modulation(graph)) != constants(graph)


@pytest.mark.parametrize(
    "drawn",
    [
        spade(mean=2.5),
        spade(NORM, IMAGE, GAMMA, ONE, {**BETA, "kernel": 1, "padding": 0}, PRODUCT, SUM),
        spade(NORM, IMAGE, GAMMA, ONE, {**BETA, "input": "x"}, PRODUCT, SUM),
        spade(NORM, IMAGE, GAMMA, {**ONE, "op": "pow", "value": 2.0}, BETA, PRODUCT, SUM),
        spade(NORM, IMAGE, GAMMA, ONE, BETA, PRODUCT, {**SUM, "op": "maximum"}),
        spade(*SPADE, outputs=["y", "norm"]),
        spade(*SPADE, {"name": "z", "op": "mul", "inputs": ["y", "beta"]}, outputs=["z"]),
    ],
    ids=["large shift", "geometry", "image", "function", "maximum", "norm is read", "shift is read"],
)
def test_what_is_not_modulated_keeps_its_norm(drawn: Network) -> None:
    graph = after("fold_modulation", drawn)
    assert any(isinstance(node.op, Affine) for node in graph.nodes)
