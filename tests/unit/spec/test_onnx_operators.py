# ruff: noqa: E501 (messages and layers stand here as the user reads them)
"""Each ONNX operator: what it becomes in the spec, and that this computes what ONNX's reference does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnngen.spec import dump_spec
from cnngen.spec.manifest import Array
from cnngen.spec.onnx import import_onnx

from .onnx_models import F32, FLOAT, W, check, layers, node, number, ops, rand, run, save


@pytest.mark.parametrize(
    ("opset", "attributes", "inputs", "constants", "line"),
    [
        (9, {"op": "Conv", "pads": [1, 1, 1, 1]}, "x c.weight c.bias", W, "out_channels: 4, kernel: 3, padding: 1"),
        (18, {"op": "Conv", "pads": [0, 1, 1, 2]}, "x c.weight", W, "out_channels: 4, kernel: 3, padding: [0, 1, 1, 2], bias: false"),
        (18, {"op": "Conv", "auto_pad": "SAME_UPPER", "strides": [2, 2]}, "x c.weight", W,
         "out_channels: 4, kernel: 3, stride: 2, padding: same, bias: false"),
        (18, {"op": "Conv", "auto_pad": "SAME_LOWER", "strides": [2, 2]}, "x c.weight", W,
         "out_channels: 4, kernel: 3, stride: 2, padding: same_lower, bias: false"),
        (18, {"op": "Conv", "dilations": [2, 1]}, "x c.weight", W, "out_channels: 4, kernel: 3, dilation: [2, 1], bias: false"),
        (18, {"op": "Conv", "group": 3}, "x g.weight", {"g.weight": rand(6, 1, 2, 2)},
         "out_channels: 6, kernel: 2, groups: 3, bias: false"),
        (18, {"op": "MaxPool", "kernel_shape": [2, 2], "strides": [2, 2]}, "x", {}, "kernel: 2"),
        (18, {"op": "MaxPool", "kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, "x", {},
         "kernel: 3, stride: 2, ceil_mode: true"),
        (18, {"op": "MaxPool", "kernel_shape": [3, 3], "dilations": [2, 2]}, "x", {}, "kernel: 3, stride: 1, dilation: 2"),
        (18, {"op": "AveragePool", "kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}, "x", {},
         "kernel: 3, stride: 2, padding: 1"),
        (18, {"op": "AveragePool", "kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, "x", {},
         "kernel: 3, stride: 1, padding: 1, count_include_pad: true"),
        (9, {"op": "GlobalAveragePool"}, "x", {}, ""),
        (18, {"op": "ReduceMean", "keepdims": 0}, "x axes", {"axes": np.array([-1, 2])}, "keepdims: false"),
        (13, {"op": "ReduceMean", "axes": [2, 3]}, "x", {}, ""),
        (18, {"op": "BatchNormalization", "epsilon": 1e-3}, "x s b m v",
         {"s": rand(3), "b": rand(3), "m": rand(3), "v": np.array([1, 2, 3], F32)}, "epsilon: 0.001"),
        (18, {"op": "Relu"}, "x", {}, ""),
        (9, {"op": "Clip", "min": 0.0, "max": 6.0}, "x", {}, "op: relu6"),
        (18, {"op": "Clip"}, "x lo hi", {"lo": np.array(-0.5, F32), "hi": np.array(0.25, F32)}, "op: clip, min: -0.5, max: 0.25"),
        (18, {"op": "Clip"}, "x lo", {"lo": np.array(0, F32)}, "op: relu}"),
        (18, {"op": "LeakyRelu", "alpha": 0.2}, "x", {}, "slope: 0.2"),
        (18, {"op": "Elu"}, "x", {}, ""),
        (18, {"op": "Sigmoid"}, "x", {}, ""),
        (18, {"op": "Tanh"}, "x", {}, ""),
        (18, {"op": "Softplus"}, "x", {}, ""),
        (18, {"op": "HardSigmoid"}, "x", {}, "alpha: 0.2"),
        (18, {"op": "HardSwish"}, "x", {}, ""),
        (18, {"op": "Mish"}, "x", {}, ""),
        (20, {"op": "Gelu", "approximate": "tanh"}, "x", {}, "approximate: tanh"),
        (18, {"op": "PRelu"}, "x p", {"p": rand(3, 1, 1)}, "op: prelu}"),
        (18, {"op": "PRelu"}, "x p", {"p": rand(1)}, "shared: true"),
        (18, {"op": "Add"}, "x x", {}, "inputs: [x, x]"),
        (18, {"op": "Sum"}, "x x", {}, "op: add, inputs: [x, x]"),
        (18, {"op": "Mul"}, "k x", {"k": np.array([0.1], F32)}, "value: 0.1"),
        (18, {"op": "Sub"}, "k x", {"k": np.array(1, F32)}, "value: 1.0, reverse: true"),
        (18, {"op": "Div"}, "x k", {"k": np.abs(rand(1, 3, 1, 1)) + 1}, "parameter: div.constant"),
        (18, {"op": "Add"}, "x k", {"k": rand(8, 1)}, "parameter: add.constant, parameter_shape: [8, 1]"),
        (18, {"op": "Concat", "axis": -3}, "x x x", {}, "inputs: [x, x, x]"),
        (18, {"op": "Concat", "axis": 1}, "x z", {"z": np.zeros((2, 2, 8, 10), F32)}, "inputs: [x, zeros]"),
        (9, {"op": "Upsample"}, "x s", {"s": np.array([1, 1, 2, 3], F32)}, "op: upsample, scale: [2, 3]"),
        (18, {"op": "Resize"}, "x  s", {"s": np.array([1, 1, 2, 2], F32)}, "op: upsample, scale: 2"),
        (18, {"op": "Resize", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, "x   s",
         {"s": np.array([2, 3, 5, 7])}, "size: [5, 7]"),
        (18, {"op": "Resize", "mode": "linear"}, "x  s", {"s": np.array([1, 1, 2, 2], F32)}, "scale: 2, mode: bilinear"),
        (18, {"op": "Resize", "mode": "linear", "coordinate_transformation_mode": "align_corners"}, "x   s",
         {"s": np.array([2, 3, 20, 16])}, "size: [20, 16], mode: bilinear, align_corners: true"),
        (18, {"op": "Pad"}, "x p v", {"p": np.array([0, 0, 1, 0, 0, 0, 2, 3]), "v": np.array(0.5, F32)},
         "padding: [1, 0, 2, 3], value: 0.5"),
        (10, {"op": "Pad", "pads": [0, 0, 1, 1, 0, 0, 1, 1]}, "x", {}, "padding: 1"),
        (18, {"op": "Flatten"}, "x", {}, "op: flatten"),
        (18, {"op": "Reshape"}, "x s", {"s": np.array([0, 3, -1, 5])}, "op: reshape, shape: [0, 3, 16, 5]"),
        (18, {"op": "Reshape"}, "x s", {"s": np.array([2, -1])}, "op: flatten"),
        (18, {"op": "Transpose", "perm": [0, 2, 1, 3]}, "x", {}, "axes: [0, 2, 1, 3]"),
        (18, {"op": "Softmax"}, "x", {}, "op: softmax}"),
        (18, {"op": "Softmax", "axis": 1}, "x", {}, "op: softmax, axis: 1"),
        (7, {"op": "Relu"}, "x", {}, "op: relu}"),
        (22, {"op": "ConvTranspose", "strides": [2, 2], "pads": [0, 1, 1, 0], "output_padding": [1, 0]}, "x t c.bias",
         {"t": rand(3, 4, 3, 2), "c.bias": rand(4)},
         "op: conv_transpose2d, out_channels: 4, kernel: [3, 2], stride: 2, padding: [0, 1, 1, 0], output_padding: [1, 0]}"),
        (18, {"op": "ConvTranspose", "strides": [2, 2], "output_shape": [17, 22]}, "x t", {"t": rand(3, 2, 3, 3)},
         "kernel: 3, stride: 2, output_padding: [0, 1], bias: false"),
        (18, {"op": "ConvTranspose", "auto_pad": "SAME_LOWER", "strides": [2, 2]}, "x t", {"t": rand(3, 2, 3, 3)},
         "stride: 2, padding: [1, 1, 0, 0], bias: false"),
        (18, {"op": "LpPool", "kernel_shape": [2, 2], "p": 3}, "x", {}, "op: lp_pool2d, kernel: 2, stride: 1, p: 3.0"),
        (19, {"op": "AveragePool", "kernel_shape": [2, 2], "dilations": [2, 2]}, "x", {}, "kernel: 2, stride: 1, dilation: 2"),
        (18, {"op": "GlobalMaxPool"}, "x", {}, "op: global_max_pool}"),
        (18, {"op": "InstanceNormalization"}, "x a b", {"a": rand(3), "b": rand(3)}, "op: instance_norm, affine: true"),
        (18, {"op": "InstanceNormalization"}, "x a b", {"a": np.ones(3, F32), "b": np.zeros(3, F32)}, "op: instance_norm}"),
        (21, {"op": "GroupNormalization", "num_groups": 3}, "x a b", {"a": rand(3), "b": rand(3)}, "op: group_norm, groups: 3"),
        (17, {"op": "LayerNormalization"}, "x a b", {"a": rand(10), "b": rand(10)}, "op: layer_norm}"),
        (17, {"op": "LayerNormalization", "axis": 2, "epsilon": 0.1}, "x a", {"a": rand(8, 10)},
         "op: layer_norm, axis: 2, epsilon: 0.1, bias: false"),
        (23, {"op": "RMSNormalization", "axis": -1}, "x a", {"a": rand(10)}, "op: rms_norm}"),
        (18, {"op": "LpNormalization", "axis": 1}, "x", {}, "op: lp_norm, axis: 1"),
        (18, {"op": "Selu"}, "x", {}, "op: selu}"),
        (18, {"op": "Celu", "alpha": 2.0}, "x", {}, "op: celu, alpha: 2.0"),
        (18, {"op": "ThresholdedRelu", "alpha": 0.5}, "x", {}, "op: thresholded_relu, alpha: 0.5"),
        (18, {"op": "Shrink", "lambd": 1.0, "bias": 0.5}, "x", {}, "op: shrink, lambd: 1.0, bias: 0.5"),
        (18, {"op": "PRelu"}, "x p", {"p": rand(8, 1)}, "op: prelu, shape: [8, 1]"),
        (18, {"op": "Hardmax"}, "x", {}, "op: cast, to: float32"),
        (18, {"op": "Max"}, "x k x", {"k": number(0.25)}, "op: maximum, value: 0.25"),
        (18, {"op": "Mean"}, "x k", {"k": rand(2, 3, 8, 10)}, "op: mean, inputs: [x, constant]"),
        (18, {"op": "Pow"}, "x k", {"k": number(2)}, "op: mul, inputs: [x, x]"),
        (18, {"op": "Pow"}, "k x", {"k": number(2)}, "op: pow, value: 2.0, reverse: true"),
        (18, {"op": "Mod", "fmod": 1}, "x k", {"k": number(0.5)}, "op: mod, value: 0.5, fmod: true"),
        (18, {"op": "Less"}, "k x", {"k": number(0.5)}, "op: greater, value: 0.5"),
        (18, {"op": "Add"}, "x k", {"k": number(np.inf)}, "parameter: add.constant, parameter_shape: [1]"),
        (18, {"op": "ReduceMax", "keepdims": 0}, "x axes", {"axes": np.array([-1, 2])}, "op: global_max_pool, keepdims: false"),
        (18, {"op": "ReduceL2"}, "x axes", {"axes": np.array([1])}, "op: reduce_l2, axes: [1]}"),
        (18, {"op": "ReduceSum", "keepdims": 0}, "x", {}, "op: reduce_sum, axes: [0, 1, 2, 3], keepdims: false"),
        (18, {"op": "ReduceSumSquare", "noop_with_empty_axes": 1}, "x", {}, "op: mul, inputs: [x, x]"),
        (18, {"op": "ArgMax", "axis": 1, "keepdims": 0, "select_last_index": 1}, "x", {}, "op: argmax, axis: 1, keepdims: false, last: true"),
        (18, {"op": "LogSoftmax", "axis": 2}, "x", {}, "op: log_softmax, axis: 2"),
        (18, {"op": "Slice"}, "x a b c d", {"a": np.array([-1, 1]), "b": np.array([-99, 2**40]), "c": np.array([3, 1]), "d": np.array([-2, 1])},
         "op: slice, axes: [1, 3], starts: [1, 9], ends: [3, null], steps: [1, -2]"),
        (9, {"op": "Slice", "starts": [1], "ends": [-1], "axes": [2]}, "x", {}, "op: slice, axes: [2], starts: [1], ends: [7]}"),
        (18, {"op": "Pad", "mode": "reflect"}, "x p", {"p": np.array([0, 0, 1, 2, 0, 0, 3, 4])}, "padding: [1, 2, 3, 4], mode: reflect"),
        (18, {"op": "Expand"}, "x s", {"s": np.array([4, 1, 1, 1, 1])}, "op: expand, shape: [4, 1, 1, 1, 1]"),
        (18, {"op": "Tile"}, "x r", {"r": np.array([1, 2, 1, 3])}, "op: tile, repeats: [1, 2, 1, 3]"),
        (18, {"op": "Gather", "axis": 3}, "x i", {"i": np.array(-1)}, "op: reshape, shape: [0, 3, 8]"),
        (18, {"op": "Gather", "axis": 1}, "x i", {"i": np.array([2, 1])}, "starts: [2], ends: [0], steps: [-1]"),
        (18, {"op": "Gather", "axis": 1}, "x i", {"i": np.array([[0, 2], [2, 2]])}, "op: gather, indices: [[0, 2], [2, 2]]"),
        (18, {"op": "Gather", "axis": 2}, "x i", {"i": np.tile([0, 7, 3], 30)}, "indices_parameter: gather.indices, indices_shape: [90]"),
        (18, {"op": "SpaceToDepth", "blocksize": 2}, "x", {}, "op: space_to_depth, block: 2"),
        (18, {"op": "CenterCropPad"}, "x s", {"s": np.array([2, 3, 5, 13])}, "pads: [[0, 0], [0, 0], [0, 0], [1, 2]]"),
        (18, {"op": "Resize", "mode": "cubic"}, "x  s", {"s": np.array([1, 1, 2, 2], F32)},
         "op: resize, scales: [2.0, 2.0], mode: cubic"),
        (18, {"op": "Resize", "nearest_mode": "ceil"}, "x   s", {"s": np.array([2, 3, 16, 20])},
         "sizes: [16, 20], nearest: ceil"),
        (18, {"op": "Resize", "mode": "linear", "antialias": 1, "axes": [3, 2]}, "x   s", {"s": np.array([5, 4])},
         "axes: [3, 2], sizes: [5, 4], mode: linear, antialias: true"),
        (18, {"op": "Resize", "mode": "linear"}, "x   s", {"s": np.array([2, 6, 8, 10])}, "axes: [1], sizes: [6], mode: linear"),
        (19, {"op": "Resize", "keep_aspect_ratio_policy": "not_larger", "axes": [2, 3]}, "x   s", {"s": np.array([16, 99])},
         "op: upsample, scale: 2"),
        (18, {"op": "Trilu", "upper": 0}, "x", {}, "op: where"),
        (18, {"op": "GatherElements", "axis": 3}, "x i", {"i": np.zeros((2, 3, 8, 2), np.int64)}, "op: gather, axis: 0, indices_parameter"),
    ],
)  # fmt: skip
def test_one_operator(
    tmp_path: Path,
    opset: int,
    attributes: dict[str, Any],
    inputs: str,
    constants: dict[str, Array],
    line: str,
) -> None:
    rest = {key: value for key, value in attributes.items() if key != "op"}
    file = save(tmp_path / "m.onnx", [node(attributes["op"], inputs, "y", **rest)], constants, opset=opset)
    spec = check(file)
    assert any(line in layer for layer in layers(spec)), layers(spec)


@pytest.mark.parametrize(
    ("opset", "attributes", "inputs", "constants", "line"),
    [
        (7, {"op": "Upsample", "scales": [1.0, 1.0, 2.0, 2.0]}, "x", {}, "op: upsample, scale: 2"),
        (18, {"op": "GlobalLpPool", "p": 1}, "x", {}, "op: global_lp_pool, p: 1.0"),
        (18, {"op": "LRN", "size": 3, "alpha": 0.01}, "x", {}, "op: lrn, size: 3, alpha: 0.01"),
        (18, {"op": "Pad"}, "x p  a", {"p": np.array([1, -2]), "a": np.array([1])}, "pads: [[0, 0], [1, -2], [0, 0], [0, 0]]"),
        (18, {"op": "GridSample", "mode": "bicubic", "padding_mode": "border", "align_corners": 1}, "x g",
         {"g": np.zeros((2, 4, 5, 2), F32)}, "op: grid_sample, inputs: [x, zeros], mode: bicubic, padding: border, align_corners: true"),
    ],
)  # fmt: skip
def test_operators_that_the_reference_does_not_know_or_gets_wrong(
    tmp_path: Path,
    opset: int,
    attributes: dict[str, Any],
    inputs: str,
    constants: dict[str, Array],
    line: str,
) -> None:
    rest = {key: value for key, value in attributes.items() if key != "op"}
    file = save(tmp_path / "m.onnx", [node(attributes["op"], inputs, "y", **rest)], constants, opset=opset)
    assert line in layers(import_onnx(file)[0])[-1]


def test_softmax_of_old_opsets_is_over_all_axes_from_its_own_on(tmp_path: Path) -> None:
    file = save(tmp_path / "m.onnx", [node("Softmax", "x", "y", axis=1)], opset=11)
    spec, weights = import_onnx(file)
    x = rand(2, 3, 8, 10)
    e = np.exp(x - x.max(axis=(1, 2, 3), keepdims=True))
    np.testing.assert_allclose(run(spec, weights, x)[0], e / e.sum(axis=(1, 2, 3), keepdims=True), rtol=1e-5)
    assert [layer.op for layer in spec.layers] == ["flatten", "softmax", "reshape"]


@pytest.mark.parametrize(
    ("inputs", "constants", "attributes", "bias"),
    [
        ("x w b", {"w": rand(5, 6), "b": rand(5)}, {"transB": 1}, True),
        ("x w b", {"w": rand(6, 5), "b": rand(1, 5)}, {"alpha": 0.5, "beta": 2.0}, True),
        ("x w b", {"w": rand(6, 5), "b": rand(1)}, {}, True),
        ("x w", {"w": rand(6, 5)}, {}, False),
    ],
)
def test_gemm(
    tmp_path: Path, inputs: str, constants: dict[str, Array], attributes: dict[str, float], bias: bool
) -> None:
    file = save(tmp_path / "m.onnx", [node("Gemm", inputs, "y", **attributes)], constants, shape=(2, 6))
    assert layers(check(file, (2, 6))) == [
        f"{{name: linear, op: linear, out_features: 5{'' if bias else ', bias: false'}}}"
    ]


def test_a_signal_of_one_axis(tmp_path: Path) -> None:
    constants = {"w": rand(4, 3, 3), "t": rand(4, 2, 2)}
    nodes = [
        node("Conv", "x w", "a", strides=[2], pads=[0, 1]), node("MaxPool", "a", "b", kernel_shape=[2], dilations=[2]),
        node("ConvTranspose", "b t", "c", strides=[2]), node("AveragePool", "c", "y", kernel_shape=[2], strides=[2]),
    ]  # fmt: skip
    file = save(tmp_path / "m.onnx", nodes, constants, shape=(2, 3, 20))
    assert layers(check(file, (2, 3, 20))) == [
        "{name: conv1d, op: conv1d, out_channels: 4, kernel: 3, stride: 2, padding: [0, 1], bias: false}",
        "{name: max_pool1d, op: max_pool1d, kernel: 2, stride: 1, dilation: 2}",
        "{name: conv_transpose1d, op: conv_transpose1d, out_channels: 2, kernel: 2, stride: 2, bias: false}",
        "{name: avg_pool1d, op: avg_pool1d, kernel: 2}",
    ]


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_a_pool_over_three_axes_is_two(tmp_path: Path, op: str) -> None:
    extra = {"count_include_pad": 1} if op == "AveragePool" else {}
    pool = node(op, "x", "y", kernel_shape=[2, 3, 2], strides=[1, 2, 2], pads=[1, 1, 0, 0, 1, 0], **extra)
    file = save(tmp_path / "m.onnx", [pool], shape=(1, 2, 5, 6, 4))
    assert ops(check(file, (1, 2, 5, 6, 4))).count(f"{op[:-4].lower().replace('average', 'avg')}_pool2d") == 2


def test_second_outputs(tmp_path: Path) -> None:
    nodes = [
        node("MaxPool", "x", "p i", kernel_shape=[2, 2], strides=[2, 2]),
        node("Cast", "i", "places", to=FLOAT),
        node("LayerNormalization", "x w", "n mean deviation"),
        node("Dropout", "x", "d mask"),
        node("Split", "x", "s1 s2 s3", axis=3, num_outputs=3),
    ]
    file = save(tmp_path / "m.onnx", nodes, {"w": rand(10)}, returns="p places n mean deviation s1 s3")
    spec = check(file)
    assert [output.layer for output in spec.outputs][:2] == ["max_pool", "cast"]
    assert "s2" not in dump_spec(spec)


def test_unpooling_knows_the_places_of_its_pool(tmp_path: Path) -> None:
    pool = node("MaxPool", "x", "p i", kernel_shape=[2, 2], strides=[2, 2])
    unpool = node("MaxUnpool", "p i", "y", kernel_shape=[2, 2], strides=[2, 2])
    spec, weights = import_onnx(save(tmp_path / "m.onnx", [pool, unpool]))
    assert ops(spec) == ["max_pool2d", "max_pool2d_indices", "max_unpool2d"]
    x = rand(2, 3, 8, 10, seed=3)
    (y,) = run(spec, weights, x)
    windows = x.reshape(2, 3, 4, 2, 5, 2)
    largest = windows == windows.max(axis=(3, 5), keepdims=True)
    np.testing.assert_array_equal(y, np.where(largest, windows, 0).reshape(x.shape))


def test_where_and_comparisons_give_bools(tmp_path: Path) -> None:
    nodes = [
        node("Greater", "x k", "g"), node("Less", "x x", "l"), node("Or", "g l", "o"), node("Not", "o", "n"),
        node("Where", "n x k", "w"), node("Cast", "n", "c", to=FLOAT), node("Add", "w c", "y"),
    ]  # fmt: skip
    spec = check(save(tmp_path / "m.onnx", nodes, {"k": number(0.25)}))
    assert ops(spec) == ["greater", "less", "logical_or", "logical_not", "fill", "where", "cast", "add"]


def test_products_of_two_tensors(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "t", perm=[0, 1, 3, 2]),
        node("MatMul", "x t", "a"),
        node("MatMul", "left a", "b"),
        node("Gemm", "m m c", "g", transB=1, alpha=0.5, beta=2.0),
        node("Add", "b g", "y"),
        node("Reshape", "a rows", "r"),
        node("Slice", "r zero eight", "m"),
    ]
    nodes = [*nodes[:3], *nodes[5:], *nodes[3:5]]
    constants = {
        "left": rand(8, 8),
        "c": rand(8, 8),
        "rows": np.array([-1, 8]),
        "zero": np.array([0]),
        "eight": np.array([8]),
    }
    spec = check(save(tmp_path / "m.onnx", nodes, constants))
    assert ops(spec).count("matmul") == 3


def test_an_operator_that_onnx_makes_of_others(tmp_path: Path) -> None:
    loss = node("NegativeLogLikelihoodLoss", "l target", "y", reduction="none")
    nodes = [node("LogSoftmax", "x", "l", axis=1), node("ArgMin", "x", "target", axis=1, keepdims=0), loss]
    spec = check(save(tmp_path / "m.onnx", nodes, shape=(2, 3, 8)), (2, 3, 8))
    assert {"log_softmax", "argmin", "where"} <= set(ops(spec))


def test_before_opset_7_an_operand_may_begin_at_an_axis(tmp_path: Path) -> None:
    file = save(tmp_path / "m.onnx", [node("Add", "x k", "y", broadcast=1, axis=1)], {"k": rand(3)}, opset=6)
    spec, weights = import_onnx(file)
    x = rand(2, 3, 8, 10)
    np.testing.assert_allclose(run(spec, weights, x)[0], x + rand(3).reshape(3, 1, 1))
    assert layers(spec) == ["{name: add, op: add, parameter: add.constant}"]
