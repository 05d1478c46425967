"""Convolutions, pools, norms, reductions, products: lowered as they are defined, and defined as ONNX does."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from cnngen.codegen import passes
from cnngen.codegen.graph import Graph, is_view
from cnngen.codegen.interpret import outputs
from cnngen.codegen.lower import lower
from cnngen.codegen.node_ops import Conv, Pointwise

from .networks import network
from .test_data_ops import check, data
from .test_reference import assert_same, theirs

SEEDS = pytest.mark.parametrize("seed", range(10))
AXES = pytest.mark.parametrize("axes", [1, 2])


def sized(rng: random.Random, axes: int, low: int, high: int) -> list[int]:
    return [rng.randint(low, high) for _ in range(axes)]


def field(numbers: list[int]) -> int | list[int]:
    """As the spec has it: a number for one axis."""
    return numbers[0] if len(numbers) == 1 else numbers


# --- convolutions ----------------------------------------------------------------------------------------------------


@SEEDS
def test_conv1d(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    groups, kernel, stride, dilation = rng.choice((1, 2, 3)), *sized(rng, 3, 1, 3)
    pads = sized(rng, 2, 0, 3)
    x, w, b = data(2, 6, 13), data(12, 6 // groups, kernel, seed=1), data(12, seed=2)
    fields = {"out_channels": 12, "kernel": kernel, "stride": stride, "dilation": dilation, "groups": groups}
    attributes = {"strides": [stride], "dilations": [dilation], "group": groups, "pads": pads}
    got = check("conv1d", {**fields, "padding": pads}, x, weight=w, bias=b)
    assert_same(got, theirs("Conv", attributes, x, w, b))


@AXES
@pytest.mark.parametrize("seed", range(20))
def test_conv_transpose(seed: int, axes: int) -> None:
    """By definition: each input element adds the filter, spread out, around its place."""
    rng = random.Random(100 * axes + seed)  # noqa: S311
    kernel, stride, dilation = (sized(rng, axes, 1, most) for most in (4, 3, 2))
    before, after, extra = (sized(rng, axes, 0, most) for most in (3, 3, 4))
    groups = rng.choice((1, 2, 3))
    x, bias = data(2, 6, *(5, 4)[:axes], seed=seed), data(12, seed=2)
    w = data(6, 12 // groups, *kernel, seed=1)
    whole = [
        (size - 1) * s + d * (k - 1) + 1 + e
        for size, k, s, d, e in zip(x.shape[2:], kernel, stride, dilation, extra, strict=True)
    ]
    if min(size - first - last for size, first, last in zip(whole, before, after, strict=True)) < 1:
        before = after = [0] * axes
    want = np.zeros((2, 12, *whole))
    for place in np.ndindex(*x.shape[2:]):
        for tap in np.ndindex(*kernel):
            at = tuple(p * s + t * d for p, s, t, d in zip(place, stride, tap, dilation, strict=True))
            for group in range(groups):
                inputs = slice(group * 6 // groups, (group + 1) * 6 // groups)
                filters = slice(group * 12 // groups, (group + 1) * 12 // groups)
                want[(slice(None), filters, *at)] += (
                    x[(slice(None), inputs, *place)] @ w[(inputs, slice(None), *tap)]
                )
    cut = tuple(slice(first, size - last) for size, first, last in zip(whole, before, after, strict=True))
    want = want[(slice(None), slice(None), *cut)] + bias.reshape(-1, *(1,) * axes)
    fields: dict[str, Any] = {"out_channels": 12, "groups": groups, "padding": [*before, *after]}
    lists = {"kernel": kernel, "stride": stride, "dilation": dilation, "output_padding": extra}
    fields |= {name: field(numbers) for name, numbers in lists.items()}
    got = check(f"conv_transpose{axes}d", fields, x, weight=w, bias=bias)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    if groups == 1 and not any(extra):  # ONNX's reference lacks the others
        attributes = {
            "strides": stride,
            "dilations": dilation,
            "output_padding": extra,
            "pads": [*before, *after],
        }
        assert_same(got, theirs("ConvTranspose", attributes, x, w, bias))


def ops_of(graph: Graph) -> list[object]:
    return [node.op for node in graph.nodes if not is_view(node)]


def test_a_transposed_convolution_is_one_convolution_and_one_store() -> None:
    """The batch norm and the activation behind it join the interleaved store; a filter of the stride's size is 1x1."""
    layers = [
        {"name": "y", "op": "conv_transpose2d", "out_channels": 8, "kernel": 2, "stride": 2},
        {"name": "bn", "op": "batch_norm"},
        {"name": "z", "op": "relu"},
    ]
    drawn = network(*layers, shape=(2, 4, 8, 8))
    graph = passes.run(lower(drawn.spec, drawn.weights, 2))
    assert [type(op) for op in ops_of(graph)] == [Pointwise, Conv, Pointwise]
    (convolution,) = (node for node in graph.nodes if isinstance(node.op, Conv))
    assert graph.values[convolution.inputs[1]].shape == (32, 4, 1, 1)


def test_a_transposed_convolution_of_stride_1_is_a_convolution() -> None:
    drawn = network(
        {"name": "y", "op": "conv_transpose2d", "out_channels": 8, "kernel": 3, "dilation": 2, "padding": 1},
        {"name": "bn", "op": "batch_norm"},
        shape=(2, 4, 8, 8),
    )
    graph = passes.run(lower(drawn.spec, drawn.weights, 2))
    assert [type(op) for op in ops_of(graph)] == [
        Pointwise,
        Conv,
        Pointwise,
    ]  # input, conv with the norm, output
    assert "bn.scale" not in graph.constants


def test_sequences_are_not_copied() -> None:
    """A chain of 1-d layers is one of images: batch norms fold, pointwise steps fuse, nothing is transposed."""
    layers = [
        {"name": "a", "op": "conv1d", "out_channels": 8, "kernel": 3, "bias": False},
        {"name": "b", "op": "batch_norm"},
        {"name": "c", "op": "relu"},
        {"name": "d", "op": "conv1d", "out_channels": 8, "kernel": 3, "padding": 1},
        {"name": "e", "op": "silu"},
        {"name": "f", "op": "max_pool1d", "kernel": 2},
        {"name": "g", "op": "add", "inputs": ["f", "f"]},
        {"name": "h", "op": "conv1d", "out_channels": 8, "kernel": 1},
    ]
    drawn = network(*layers, shape=(2, 4, 16), precision="float16")
    lowered = lower(drawn.spec, drawn.weights, 2)
    graph = passes.run(lowered)
    steps = [node.name for node in graph.nodes if not is_view(node)]
    assert len(steps) == 6, steps  # input, a+b+c, d+e, f+g, h, output
    inputs = drawn.inputs(lowered)
    assert_same(outputs(graph, inputs)["h@output"], outputs(lowered, inputs)["h@output"])


# --- pools -----------------------------------------------------------------------------------------------------------


def windows(seed: int, axes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same window as fields of the spec and as attributes of ONNX."""
    rng = random.Random(seed)  # noqa: S311
    kernel, stride, dilation = (sized(rng, axes, 1, most) for most in (3, 3, 2))
    pads = [rng.randint(0, min(k - 1, 1)) for k in kernel * 2]
    ceil = rng.random() < 0.5
    fields = {"kernel": field(kernel), "stride": field(stride), "dilation": field(dilation)}
    attributes = {"kernel_shape": kernel, "strides": stride, "dilations": dilation, "pads": pads}
    return (
        {**fields, "padding": pads, "ceil_mode": ceil},
        {**attributes, "ceil_mode": int(ceil)},
    )


@AXES
@SEEDS
def test_pools(seed: int, axes: int) -> None:
    fields, attributes = windows(seed, axes)
    x = data(2, 3, *(11, 9)[:axes], seed=seed)
    assert_same(check(f"max_pool{axes}d", fields, x), theirs("MaxPool", attributes, x))
    if not attributes["ceil_mode"]:  # ONNX's reference counts what ceil mode adds
        assert_same(check(f"avg_pool{axes}d", fields, x), theirs("AveragePool", attributes, x))
        for p in (1, 2, 3):
            got = check(f"lp_pool{axes}d", {**fields, "p": float(p)}, x)
            assert_same(got, theirs("LpPool", {**attributes, "p": p}, x))


@AXES
@SEEDS
def test_places_of_maxima(seed: int, axes: int) -> None:
    """What stands at a window's place is the window's maximum."""
    fields, _ = windows(seed, axes)
    x = np.round(2 * data(2, 3, *(11, 9)[:axes], seed=seed))  # some are equal
    places = check(f"max_pool{axes}d_indices", fields, x)
    largest = check(f"max_pool{axes}d", fields, x)
    found = np.take_along_axis(x.reshape(2, 3, -1), places.reshape(2, 3, -1).astype(int), 2)
    assert_same(found.reshape(largest.shape), largest)


def test_the_first_of_equal_maxima_counts() -> None:
    x = np.zeros((1, 1, 4, 4), np.float32)
    assert check("max_pool2d_indices", {"kernel": 2}, x).tolist() == [[[[0, 2], [8, 10]]]]


@AXES
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0), (2, 3, 0)])
def test_max_unpool_puts_maxima_back(axes: int, kernel: int, stride: int, padding: int) -> None:
    shape = (2, 3, *(12, 9)[:axes])
    x = {"input": "x", "kernel": kernel, "stride": stride, "padding": padding}
    back = {"kernel": kernel, "stride": stride, "padding": padding, "output_size": field([*shape[2:]])}
    layers = [
        {"name": "largest", "op": f"max_pool{axes}d", **x},
        {"name": "places", "op": f"max_pool{axes}d_indices", **x},
        {"name": "y", "op": f"max_unpool{axes}d", "inputs": ["largest", "places"], **back},
    ]
    drawn = network(*layers, shape=shape, outputs=["y", "places"])
    lowered = lower(drawn.spec, drawn.weights, 2)
    inputs = drawn.inputs(lowered)
    (source,) = inputs.values()
    for graph in (lowered, passes.run(lowered)):
        y, places = outputs(graph, inputs).values()
        want = np.zeros(source.shape).reshape(2, 3, -1)
        flat, at = source.reshape(2, 3, -1), places.reshape(2, 3, -1).astype(int)
        np.put_along_axis(want, at, np.take_along_axis(flat, at, 2), 2)
        assert_same(y, want.reshape(source.shape))


@AXES
@pytest.mark.parametrize("size", [(11, 9), (1, 1), (5, 4), (3, 3), (22, 12), (4, 9)])
def test_adaptive_pools(axes: int, size: tuple[int, int]) -> None:
    x, counts = data(2, 3, *(11, 9)[:axes]), size[:axes]
    for kind, reduce in (("avg", np.mean), ("max", np.max)):
        want = np.zeros((2, 3, *counts))
        for place in np.ndindex(*counts):
            parts = [
                slice(i * extent // count, -(-(i + 1) * extent // count))
                for i, extent, count in zip(place, x.shape[2:], counts, strict=True)
            ]
            want[(..., *place)] = reduce(x[(..., *parts)], axis=tuple(range(2, 2 + axes)))
        assert_same(check(f"adaptive_{kind}_pool{axes}d", {"output_size": field([*counts])}, x), want)


@pytest.mark.parametrize("shape", [(2, 6, 7), (2, 6, 5, 4), (2, 3, 4, 2, 3)])
def test_global_pools(shape: tuple[int, ...]) -> None:
    x = data(*shape)
    assert_same(check("global_avg_pool", {}, x), theirs("GlobalAveragePool", {}, x))
    axes = tuple(range(2, len(shape)))
    assert_same(check("global_max_pool", {}, x), x.max(axis=axes, keepdims=True))
    for p in (1.0, 2.0, 3.5):
        want = (np.abs(x) ** p).sum(axis=axes) ** (1 / p)
        assert_same(check("global_lp_pool", {"p": p, "keepdims": False}, x), want)


# --- norms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 6, 7), (2, 6, 5, 4), (2, 6, 4, 2, 3)])
def test_norms_of_channels(shape: tuple[int, ...]) -> None:
    x, w, b = data(*shape), data(6, seed=1), data(6, seed=2)
    got = check("instance_norm", {"affine": True, "epsilon": 1e-3}, x, weight=w, bias=b)
    assert_same(got, theirs("InstanceNormalization", {"epsilon": 1e-3}, x, w, b))
    for groups in (1, 2, 6):
        got = check("group_norm", {"groups": groups}, x, weight=w, bias=b)
        assert_same(got, theirs("GroupNormalization", {"num_groups": groups}, x, w, b, opset=21))


@pytest.mark.parametrize("size", [1, 2, 4, 5, 20])
def test_lrn(size: int) -> None:
    x = data(2, 6, 5, 4)
    got = check("lrn", {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 1.5}, x)
    for c in range(6):
        near = x[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1].astype(np.float64)
        scale = (1.5 + 0.3 / size * (near**2).sum(axis=1)) ** 0.6
        assert_same(got[:, c], x[:, c] / scale)


@pytest.mark.parametrize("axis", [-1, 1, 2, 0])
def test_norms_of_axes(axis: int) -> None:
    x = data(2, 6, 5, 4)
    shape = x.shape[axis:]
    w, b = data(*shape, seed=1), data(*shape, seed=2)
    got = check("layer_norm", {"axis": axis}, x, weight=w, bias=b)
    assert_same(got, theirs("LayerNormalization", {"axis": axis}, x, w, b))
    axes = tuple(range(axis % 4, 4))
    mean = (x.astype(np.float64) ** 2).mean(axis=axes, keepdims=True)
    assert_same(check("rms_norm", {"axis": axis}, x, weight=w), x / np.sqrt(mean + 1e-5) * w)
    assert_same(check("lp_norm", {"axis": axis}, x), theirs("LpNormalization", {"axis": axis, "p": 2}, x))
    size = np.abs(x.astype(np.float64)).sum(axis=axis, keepdims=True)
    assert_same(check("lp_norm", {"axis": axis, "p": 1.0}, x), x / size)


def test_a_large_mean_does_not_drown_the_variance() -> None:
    x = (data(2, 3, 50) + 3000).astype(np.float32)
    y = check("instance_norm", {}, x)
    assert abs(float(y.std()) - 1) < 1e-3


def test_the_norm_of_nothing_is_nothing() -> None:
    assert not check("lp_norm", {}, np.zeros((2, 5), np.float32)).any()


# --- reductions ------------------------------------------------------------------------------------------------------

REDUCTIONS = {
    "mean": "Mean", "sum": "Sum", "max": "Max", "min": "Min", "prod": "Prod", "l1": "L1", "l2": "L2",
    "sum_square": "SumSquare", "log_sum": "LogSum", "log_sum_exp": "LogSumExp",
}  # fmt: skip


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("axes", [[1], [-1], [0, 2], [1, 3], [2, 3], [0], [0, 1, 2, 3]])
def test_reductions(kind: str, axes: list[int]) -> None:
    x = np.abs(data(2, 3, 4, 5)) + 0.1
    for keepdims in (True, False):
        got = check(f"reduce_{kind}", {"axes": axes, "keepdims": keepdims}, x)
        want = theirs(f"Reduce{REDUCTIONS[kind]}", {"keepdims": int(keepdims)}, x, np.array(axes))
        assert_same(got, want.reshape(want.shape or (1,)))


def test_sums_of_powers_of_e_do_not_overflow() -> None:
    x = np.array([[1000.0, 1000.0], [-1000.0, -np.inf]], np.float32)
    assert_same(
        check("reduce_log_sum_exp", {"axes": [1], "keepdims": False}, x),
        np.array([1000 + np.log(2), -1000.0]),
    )


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("last", [False, True])
def test_places_of_extremes(axis: int, last: bool) -> None:
    x = np.round(data(3, 4, 6))
    for op, name in (("argmax", "ArgMax"), ("argmin", "ArgMin")):
        got = check(op, {"axis": axis, "last": last, "keepdims": False}, x)
        assert_same(got, theirs(name, {"axis": axis, "select_last_index": int(last), "keepdims": 0}, x))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_softmax_and_its_logarithm(axis: int) -> None:
    x = 8 * data(3, 4, 6)  # ONNX's reference takes the logarithm of a softmax that is 0 for more
    for op, name in (("softmax", "Softmax"), ("log_softmax", "LogSoftmax")):
        assert_same(check(op, {"axis": axis}, x), theirs(name, {"axis": axis}, x))


def test_dfl_is_the_expected_bin() -> None:
    x = np.full((1, 8, 3), -100.0, np.float32)
    for side, anchor, bin_ in ((0, 0, 3), (0, 1, 0), (0, 2, 2), (1, 0, 1), (1, 1, 1), (1, 2, 3)):
        x[0, 4 * side + bin_, anchor] = 100
    assert_same(check("dfl", {"bins": 4}, x), np.array([[[3, 0, 2], [1, 1, 3]]]))


# --- products --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (2, 6, 4, 5)), ((2, 6, 3, 4), (1, 4, 5)), ((2, 3, 4), (4, 5)),
        ((3, 4), (4, 5)), ((4,), (4, 5)), ((2, 3, 4), (4,)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 1, 4), (5, 3, 4, 6)),
    ],
)  # fmt: skip
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = data(*a), data(*b, seed=1)
    assert_same(check("matmul", {}, x, y), theirs("MatMul", {}, x, y))
    if len(a) > 1 and len(b) > 1:
        turned = (np.ascontiguousarray(x.swapaxes(-1, -2)), np.ascontiguousarray(y.swapaxes(-1, -2)))
        got = check("matmul", {"transpose_a": True, "transpose_b": True}, *turned)
        assert_same(got, theirs("MatMul", {}, x, y))


def test_attention_copies_nothing_that_lies_right() -> None:
    """Scores and sums by batched products; a softmax between them; no copy where matrices are row-major already."""
    layers = [
        {"name": "scores", "op": "matmul", "inputs": ["q", "k"], "transpose_b": True},
        {"name": "shares", "op": "softmax"},
        {"name": "y", "op": "matmul", "inputs": ["shares", "v"]},
    ]
    inputs = {name: {"shape": [2, 4, 6, 8]} for name in ("q", "k", "v")}
    drawn = network(*layers, inputs=inputs)
    graph = passes.run(lower(drawn.spec, drawn.weights, 2))
    steps = [node.name for node in graph.nodes if not is_view(node)]
    assert len(steps) == 7, steps  # q, k transposed and v from the caller's memory, three steps, the output


def test_without_a_batch_axis_0_is_like_the_others() -> None:
    x = data(5, 3)
    assert_same(check("reduce_sum", {"axes": [0]}, x), x.sum(axis=0, keepdims=True))
    assert_same(check("softmax", {"axis": 0}, x), theirs("Softmax", {"axis": 0}, x))
