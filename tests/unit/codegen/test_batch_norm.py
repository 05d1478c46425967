"""fold_batch_norm: which scales and shifts disappear into convolutions, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from .networks import network
from .texts import after, assert_rewrite, before, steps, text

Layer = Mapping[str, Any]
CONV = {"op": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
PLAIN = {**CONV, "bias": False}


def test_a_norm_folds_back_into_the_convolution_before_it() -> None:
    drawn = network({"name": "c", **CONV}, {"name": "y", "op": "batch_norm"})
    assert_rewrite("fold_batch_norm", drawn, """
        c [1, 4, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, c.weight) -> acc + c.bias[c]  # c
        y [1, 4, 8, 8] float32 NHWC = affine(c, y.scale, y.shift)  # y
        """, """
        y [1, 4, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, c.weight) -> acc + c.bias[c]  # c, y
        """)  # fmt: skip
    w = drawn.weights
    scale = w["y.weight"] / np.sqrt(w["y.running_var"] + 1e-5)
    folded = after("fold_batch_norm", drawn).constants
    np.testing.assert_allclose(
        folded["c.weight"].array, w["c.weight"] * scale[:, None, None, None], rtol=1e-6
    )
    bias = (w["c.bias"] - w["y.running_mean"]) * scale + w["y.bias"]
    np.testing.assert_allclose(folded["c.bias"].array, bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "scale", "shift"),
    [
        ([{"name": "y", "op": "add", "value": 1}], 1.0, 1.0),
        ([{"name": "a", "op": "mul", "value": 2}, {"name": "y", "op": "sub", "value": 0.5}], 2.0, -0.5),
        ([{"name": "y", "op": "div", "value": 4}], 0.25, 0.0),
    ],
)
def test_arithmetic_with_numbers_folds_as_a_norm_does(
    layers: list[Layer], scale: float, shift: float
) -> None:
    """SPADE's 1 + gamma."""
    drawn = network({"name": "c", **CONV}, *layers)
    graph = after("fold_batch_norm", drawn)
    assert [node.op for node in graph.nodes if node.name == "y"] == [
        before("fold_batch_norm", drawn).producers["c"].op
    ]
    weights = (graph.constants[name].array for name in graph.producers["y"].inputs[1:])
    for array, name, added in zip(weights, ("c.weight", "c.bias"), (0.0, shift), strict=True):
        np.testing.assert_allclose(array, drawn.weights[name] * scale + added, rtol=1e-6)


def test_arithmetic_with_a_number_for_each_channel_folds_as_a_norm_does() -> None:
    """A scale layer, as networks made with Caffe have."""
    drawn = network(
        {"name": "c", **CONV},
        {"name": "m", "op": "mul", "parameter": "m.scale"},
        {"name": "a", "op": "add", "parameter": "a.shift", "parameter_shape": (1, 4, 1, 1)},
        {"name": "y", "op": "mul", "parameter": "y.all", "parameter_shape": (1,)},
    )
    graph = after("fold_batch_norm", drawn)
    assert {"c", "m", "a"}.isdisjoint(graph.producers)
    w = {name: np.asarray(array, np.float64) for name, array in drawn.weights.items()}
    scale = w["m.scale"].ravel() * w["y.all"]
    weights = [graph.constants[name].array for name in graph.producers["y"].inputs[1:]]
    np.testing.assert_allclose(weights[0], w["c.weight"] * scale[:, None, None, None], rtol=1e-6)
    shift = w["a.shift"].ravel() * w["y.all"]
    np.testing.assert_allclose(weights[1], w["c.bias"] * scale + shift, rtol=1e-6, atol=1e-7)


def test_arithmetic_in_a_row_becomes_one_scale_and_shift() -> None:
    """A photo's normalisation: its division is a multiplication."""
    drawn = network(
        {"name": "d", "op": "sub", "parameter": "mean"},
        {"name": "q", "op": "div", "parameter": "deviation"},
        {"name": "y", "op": "mul", "value": 2},
        inputs={"x": {"shape": (1, 3, 8, 8), "dtype": "uint8"}},
    )
    graph = after("fold_batch_norm", drawn)
    assert steps(graph).count("affine(x, y.scale, y.shift)") == 1
    assert {"d", "q"}.isdisjoint(graph.producers)
    scale, shift = (graph.constants[f"y.{role}"].array for role in ("scale", "shift"))
    w = {name: np.asarray(array, np.float64).ravel() for name, array in drawn.weights.items()}
    np.testing.assert_allclose(scale, 2 / w["deviation"], rtol=1e-6)
    np.testing.assert_allclose(shift, -2 * w["mean"] / w["deviation"], rtol=1e-6)


def test_arithmetic_with_numbers_alone_stays_what_it_is() -> None:
    drawn = network({"name": "a", "op": "div", "value": 255}, {"name": "y", "op": "sub", "value": 0.5})
    assert steps(after("fold_batch_norm", drawn)) == steps(before("fold_batch_norm", drawn))


def test_arithmetic_with_a_number_for_each_row_does_not_fold() -> None:
    drawn = network(
        {"name": "c", **CONV},
        {"name": "y", "op": "mul", "parameter": "y.rows", "parameter_shape": (8, 1)},
    )
    assert "c" in after("fold_batch_norm", drawn).producers


@pytest.mark.parametrize(
    "layer", [{"op": "pow", "value": 2}, {"op": "mul", "inputs": ["c", "c"]}, {"op": "sin"}]
)
def test_what_is_not_linear_does_not_fold(layer: Layer) -> None:
    assert "c" in after("fold_batch_norm", network({"name": "c", **CONV}, {"name": "y", **layer})).producers


def test_norms_in_a_row_fold_into_one_convolution() -> None:
    norms = [{"name": name, "op": "batch_norm"} for name in ("m", "n", "y")]
    assert steps(after("fold_batch_norm", network({"name": "c", **PLAIN}, *norms))) == (
        "y [1, 4, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, c.weight) -> acc + c.bias[c]  # c, m, n, y"
    )
    forward = network(*norms[:2], {"name": "y", **CONV, "padding": 0})
    assert steps(after("fold_batch_norm", forward)) == (
        "y [1, 4, 6, 6] float32 NHWC = conv(x, y.weight) -> acc + y.bias[c]  # m, n, y"
    )


def test_a_norm_stays_where_others_read_the_convolution() -> None:
    drawn = network(
        {"name": "c", **PLAIN},
        {"name": "n", "op": "batch_norm"},
        {"name": "y", "op": "add", "inputs": ["c", "n"]},
    )
    graph = after("fold_batch_norm", drawn)
    assert steps(graph) == steps(before("fold_batch_norm", drawn))
    output = network({"name": "c", **PLAIN}, {"name": "y", "op": "batch_norm"}, outputs=["c", "y"])
    assert "affine(c" in steps(after("fold_batch_norm", output))


def test_a_norm_stays_behind_an_activation() -> None:
    drawn = network({"name": "c", **CONV, "activation": "relu"}, {"name": "y", "op": "batch_norm"})
    assert steps(after("fold_batch_norm", drawn)) == steps(before("fold_batch_norm", drawn))


def test_a_norm_folds_forward_where_nothing_is_padded() -> None:
    drawn = network({"name": "n", "op": "batch_norm"}, {"name": "y", **PLAIN, "padding": 0})
    assert_rewrite("fold_batch_norm", drawn, """
        n [1, 3, 8, 8] float32 NHWC = affine(x, n.scale, n.shift)  # n
        y [1, 4, 6, 6] float32 NHWC = conv(n, y.weight)  # y
        """, """
        y [1, 4, 6, 6] float32 NHWC = conv(x, y.weight) -> acc + n.bias[c]  # n, y
        """)  # fmt: skip


def test_a_norm_folds_forward_through_padding_only_without_a_shift() -> None:
    layers = ({"name": "n", "op": "batch_norm", "affine": False}, {"name": "y", **CONV})
    assert "affine" in steps(
        after("fold_batch_norm", network(*layers))
    )  # the zeros around it are not shifted
    centred = network(*layers, weights={"n.running_mean": np.zeros(3, np.float32)})
    assert steps(after("fold_batch_norm", centred)) == (
        "y [1, 4, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, y.weight) -> acc + y.bias[c]  # n, y"
    )


def test_a_norm_folds_into_linear_rows_only() -> None:
    norm = {"name": "y", "op": "batch_norm"}
    rows = network({"name": "fc", "op": "linear", "out_features": 5}, norm, shape=(2, 7))
    assert (
        steps(after("fold_batch_norm", rows))
        == "y [2, 5] float32 = matmul(x, fc.weight) -> acc + fc.bias[c]  # fc, y"
    )
    # Its channels are in axis 1, the matmul's in the last one.
    planes = network({"name": "fc", "op": "linear", "out_features": 5}, norm, shape=(2, 4, 7))
    assert "affine(fc" in steps(after("fold_batch_norm", planes))


def test_folding_leaves_what_others_share_alone() -> None:
    shared = {**CONV, "weight": "w", "bias": "b"}
    drawn = network({"name": "a", **shared}, {"name": "n", "op": "batch_norm"}, {"name": "c", **shared, "input": "x"},
                    {"name": "y", "op": "add", "inputs": ["n", "c"]})  # fmt: skip
    graph = after("fold_batch_norm", drawn)
    assert steps(graph) == text("""
        n [1, 4, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, a.weight) -> acc + a.bias[c]  # a, n
        c [1, 4, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, w) -> acc + b[c]  # c
        y [1, 4, 8, 8] float32 NHWC = n[n, c, h, w] + c[n, c, h, w]  # y
        """)
    assert np.array_equal(graph.constants["w"].array, drawn.weights["w"])
    assert np.array_equal(graph.constants["b"].array, drawn.weights["b"])
