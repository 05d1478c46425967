# ruff: noqa: E501 (messages and layers stand here as the user reads them)
"""ONNX import: what is imported computes what ONNX says, reads well, and what cannot be said is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnngen.codegen.interpret import outputs
from cnngen.codegen.lower import lower
from cnngen.spec import NetworkSpec, check_weights, dump_spec, parse_spec, resolve
from cnngen.spec.manifest import Array
from cnngen.spec.onnx import import_onnx

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT = 1


def rand(*shape: int, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(size=shape), np.float32)


def node(op: str, inputs: str, output: str, **attributes: object) -> Any:  # noqa: ANN401
    return helper.make_node(op, inputs.split(" "), output.split(" "), **attributes)


def save(
    file: Path,
    nodes: Sequence[object],
    constants: dict[str, Array] | None = None,
    shape: Sequence[int | str] = (2, 3, 8, 10),
    opset: int = 18,
    returns: str = "y",
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in returns.split(" ")],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), file)
    return file


def run(spec: NetworkSpec, weights: dict[str, Array], x: Array) -> list[Array]:
    """The spec by the reference interpreter, in the layouts that a user gives and gets."""
    if next(iter(spec.inputs.values())).layout == "NHWC":
        x = x.transpose(0, 3, 1, 2)
    graph = lower(spec, weights, x.shape[0])
    values = outputs(graph, {graph.inputs[0].name: x}).values()
    layouts = [output.layout for output in resolve(spec).outputs]
    return [
        y.transpose(0, 2, 3, 1) if layout == "NHWC" else y for y, layout in zip(values, layouts, strict=True)
    ]


def check(file: Path, shape: Sequence[int] = (2, 3, 8, 10)) -> NetworkSpec:
    """Imports, runs both, and gives the spec; the text is read back on the way."""
    spec, weights = import_onnx(file)
    check_weights(resolve(spec), weights)
    spec = parse_spec(dump_spec(spec))
    x = rand(*shape, seed=7)
    expected = onnx.reference.ReferenceEvaluator(str(file)).run(None, {"x": x})
    for y, wanted in zip(run(spec, weights, x), expected, strict=True):
        assert y.shape == wanted.shape
        np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    return spec


def layers(spec: NetworkSpec) -> list[str]:
    lines = dump_spec(spec).splitlines()
    return [line.removeprefix("  - ") for line in lines[lines.index("layers:") + 1 :]]


def refused(file: Path, **arguments: Any) -> list[str]:  # noqa: ANN401
    from cnngen.spec import ImportModelError

    with pytest.raises(ImportModelError) as caught:
        import_onnx(file, **arguments)
    return [problem.message for problem in caught.value.problems]


W = {"c.weight": rand(4, 3, 3, 3), "c.bias": rand(4, seed=1)}
F32 = np.float32


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
    assert line in layers(spec)[-1]


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


def test_matmul_and_add_are_a_linear_layer_with_its_bias_and_activation(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "a"), node("Add", "a b", "c"), node("Relu", "c", "y")]
    file = save(tmp_path / "m.onnx", nodes, {"w": rand(10, 5), "b": rand(5)})
    assert layers(check(file)) == ["{name: linear, op: linear, out_features: 5, activation: relu}"]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("Sigmoid", "x", "s"), node("Mul", "x s", "y")], "op: silu"),
        ([node("HardSigmoid", "x", "s", alpha=1 / 6), node("Mul", "s x", "y")], "op: hard_swish"),
        ([node("Softplus", "x", "p"), node("Tanh", "p", "t"), node("Mul", "x t", "y")], "op: mish"),
        ([node("Div", "x root2", "d"), node("Erf", "d", "e"), node("Add", "e one", "a"), node("Mul", "x a", "m"),
          node("Mul", "m half", "y")], "op: gelu"),
        ([node("Mul", "x half", "h"), node("Div", "x root2", "d"), node("Erf", "d", "e"), node("Add", "e one", "a"),
          node("Mul", "h a", "y")], "op: gelu"),
    ],
)  # fmt: skip
def test_products_that_are_one_function(tmp_path: Path, nodes: list[object], expected: str) -> None:
    numbers = {"root2": np.sqrt(2), "one": 1.0, "half": 0.5}
    file = save(tmp_path / "m.onnx", nodes, {name: np.array(value, F32) for name, value in numbers.items()})
    found = layers(check(file))
    assert len(found) == 1
    assert expected in found[0]


def test_zeros_around_a_convolution_are_its_padding(tmp_path: Path) -> None:
    nodes = [
        node("Pad", "x p", "a"),
        node("Conv", "a c.weight c.bias", "b", pads=[1, 1, 0, 0]),
        node("Sigmoid", "b", "y"),
    ]
    file = save(tmp_path / "m.onnx", nodes, {"p": np.array([0, 0, 0, 1, 0, 0, 2, 1]), **W})
    assert layers(check(file)) == [
        "{name: c, op: conv2d, out_channels: 4, kernel: 3, padding: [1, 2, 2, 1], activation: sigmoid}"
    ]


def test_what_others_read_too_is_not_folded(tmp_path: Path) -> None:
    nodes = [node("Conv", "x c.weight c.bias", "b"), node("Relu", "b", "r"), node("Add", "r b", "y")]
    spec = check(save(tmp_path / "m.onnx", nodes, W))
    assert [layer.op for layer in spec.layers] == ["conv2d", "relu", "add"]
    spec = check(save(tmp_path / "m.onnx", nodes[:2], W, returns="r b"))
    assert [layer.op for layer in spec.layers] == ["conv2d", "relu"]
    assert [output.layer for output in spec.outputs] == ["relu", "c"]


def test_batch_norm_stays_a_layer(tmp_path: Path) -> None:
    constants = {**W, **{f"bn.{k}": np.abs(rand(4, seed=k)) for k in range(4)}}
    nodes = [
        node("Conv", "x c.weight c.bias", "a"),
        node("BatchNormalization", "a bn.0 bn.1 bn.2 bn.3", "b"),
        node("Relu", "b", "y"),
    ]
    assert [layer.op for layer in check(save(tmp_path / "m.onnx", nodes, constants)).layers] == [
        "conv2d",
        "batch_norm",
        "relu",
    ]


def test_nhwc_at_the_ends_is_the_layout_of_the_users_arrays(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "a", perm=[0, 3, 1, 2]),
        node("Conv", "a c.weight c.bias", "b"),
        node("Transpose", "b", "y", perm=[0, 2, 3, 1]),
    ]
    spec = check(save(tmp_path / "m.onnx", nodes, W, shape=(2, 8, 10, 3)), (2, 8, 10, 3))
    assert (spec.inputs["x"].shape, spec.inputs["x"].layout) == ((2, 3, 8, 10), "NHWC")
    assert [(output.layer, output.layout) for output in spec.outputs] == [("c", "NHWC")]
    assert [layer.op for layer in spec.layers] == ["conv2d"]


def test_shape_arithmetic_leaves_no_trace(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x c.weight c.bias", "a"),
        node("Shape", "a", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 rest", "target", axis=0),
        node("Reshape", "a target", "flat"),
        node("Unsqueeze", "flat two", "u"),
        node("Squeeze", "u two", "q"),
        node("Dropout", "q", "d"),
        node("Identity", "d", "i"),
        node("Cast", "i", "y", to=FLOAT),
    ]
    constants = {
        "zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1]), "two": np.array([2]), **W,
    }  # fmt: skip
    file = save(tmp_path / "m.onnx", nodes, constants, shape=("N", 3, 8, 10))
    spec, _ = import_onnx(file, batch_sizes=[8, 1])
    assert layers(spec) == [
        "{name: c, op: conv2d, out_channels: 4, kernel: 3}",
        "{name: flatten, op: flatten}",
    ]
    assert spec.batch_sizes == (1, 8)
    assert resolve(spec, 8).shapes["flatten"] == (8, 192)


def test_names_are_the_models(tmp_path: Path) -> None:
    module = "/layer1/layer1.0"
    nodes = [
        helper.make_node("Conv", ["x", "layer1.0.conv1.weight"], ["a"], f"{module}/conv1/Conv"),
        helper.make_node("Relu", ["a"], ["b"], f"{module}/relu/Relu"),
        helper.make_node(
            "Conv", ["b", "onnx::Conv_12"], ["c"], f"{module}/down/down.0/Conv", pads=[0, 0, 1, 1]
        ),
        helper.make_node("Add", ["c", "b"], ["d"], f"{module}/Add"),
        helper.make_node("Relu", ["d"], ["e"], f"{module}/relu_1/Relu"),
        helper.make_node("MaxPool", ["e"], ["f"], "/MaxPool_1", kernel_shape=[2, 2]),
        helper.make_node("Sigmoid", ["f"], ["s"], "/head/act/Sigmoid"),
        helper.make_node("Mul", ["f", "s"], ["m"], "/head/act/Mul"),
        helper.make_node("Tanh", ["m"], ["g"], "n7"),
        helper.make_node("Tanh", ["g"], ["y"], ""),
    ]
    constants = {"layer1.0.conv1.weight": rand(4, 3, 1, 1), "onnx::Conv_12": rand(4, 4, 2, 2)}
    spec = check(save(tmp_path / "my-model.v2.onnx", nodes, constants))
    assert spec.name == "my_model_v2"
    assert [layer.name for layer in spec.layers] == [
        "layer1.0.conv1", "layer1.0.down.0", "layer1.0.add", "layer1.0.relu_1", "max_pool_1", "head.act",
        "tanh", "tanh_2",
    ]  # fmt: skip


def test_a_weight_of_two_layers_is_stored_once(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w.weight", "a"), node("Conv", "x w.weight", "b"), node("Add", "a b", "y")]
    file = save(tmp_path / "m.onnx", nodes, {"w.weight": rand(4, 3, 3, 3)})
    assert [line for line in layers(check(file)) if "w_2" in line] == [
        "{name: w_2, op: conv2d, input: x, out_channels: 4, kernel: 3, weight: w.weight, bias: false}",
        "{name: add, op: add, inputs: [w, w_2]}",
    ]
    assert sorted(import_onnx(file)[1]) == ["w.weight"]


def test_equal_tensors_alone_are_shared(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", "x w", "a", transB=1),
        node("Gemm", "x w", "b", transB=1, alpha=3.0),
        node("Add", "a b", "y"),
    ]
    file = save(tmp_path / "m.onnx", nodes, {"w": rand(5, 6)}, shape=(2, 6))
    check(file, (2, 6))
    assert sorted(import_onnx(file)[1]) == ["linear.weight", "linear_2.weight"]


def test_a_half_precision_model_stays_one(tmp_path: Path) -> None:
    weight = {"c.weight": W["c.weight"].astype(np.float16)}
    file = save(tmp_path / "m.onnx", [node("Conv", "x c.weight", "y")], weight)
    model = onnx.load(file)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, file)
    spec, weights = import_onnx(file)
    assert (spec.inputs["x"].dtype, spec.precision.storage) == ("float16", "float16")
    assert [output.dtype for output in resolve(spec).outputs] == ["float16"]
    assert weights["c.weight"].dtype == np.float16


@pytest.mark.parametrize(
    ("name", "count"),
    [("densenet121", 668), ("inception_v2", 371), ("resnet50", 176), ("shufflenet", 203), ("squeezenet", 39)],
)
def test_onnxs_own_architectures(name: str, count: int) -> None:
    spec, weights = import_onnx(Path(onnx.__file__).parent / f"backend/test/data/light/light_{name}.onnx")
    assert len(spec.layers) == count
    check_weights(resolve(parse_spec(dump_spec(spec))), weights)


def test_an_input_and_a_repeated_value_are_handed_out_by_name(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "y"), node("Identity", "y", "again"), node("Identity", "x", "same")]
    spec = check(save(tmp_path / "m.onnx", nodes, returns="y again same"))
    assert [output.layer for output in spec.outputs] == ["relu", "again", "same"]


def test_every_refused_node_is_named_with_its_reason(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("LRN", ["x"], ["a"], "norm1", size=3),
        helper.make_node("Relu", ["a"], ["b"], "behind"),
        helper.make_node("Selu", ["b"], ["c"], "behind_too"),
        helper.make_node("Fancy", ["x"], ["d"], "foreign", domain="com.example"),
        helper.make_node("Resize", ["x", "", "scales"], ["e"], "", mode="cubic"),
        helper.make_node("MatMul", ["x", "x"], ["f"], "both"),
        helper.make_node("Pad", ["x", "pads"], ["g"], "mirror", mode="reflect"),
        helper.make_node("Cast", ["x"], ["h"], "half", to=10),
        helper.make_node("MaxPool", ["x"], ["i", "index"], "indices", kernel_shape=[2, 2]),
        helper.make_node("Softplus", ["nowhere"], ["j"], "dangling"),
        helper.make_node("Erf", ["x"], ["dead"], "unused"),
        helper.make_node("RandomNormal", [], ["k"], "random", shape=[2, 3]),
        helper.make_node("Conv", ["x", "w3"], ["l"], "misfit"),
    ]
    constants = {
        "scales": np.array([1, 1, 2, 2], F32), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "w3": rand(4, 2, 3, 3),
    }  # fmt: skip
    file = save(tmp_path / "m.onnx", nodes, constants, returns="c d e f g h i index j k l")
    assert refused(file) == [
        "node 'norm1' (LRN): the operator is not supported",
        "node 'behind_too' (Selu): the operator is not supported",
        "node 'foreign' (Fancy): its domain 'com.example' is not ONNX's own",
        "node 4 (Resize): mode 'cubic' is not supported, only 'nearest' and 'linear'",
        "node 'both' (MatMul): the second matrix is not constant",
        "node 'mirror' (Pad): mode 'reflect' is not supported, only 'constant'",
        "node 'half' (Cast): a cast from float32 to float16 is not supported",
        "node 'indices' (MaxPool): its output 'index' is used; only the first can be",
        "node 'dangling' (Softplus): it reads 'nowhere', which nothing before it makes",
        "node 'random' (RandomNormal): the operator is not supported",
        "node 'misfit' (Conv): its weight is [4, 2, 3, 3], expected [4, 3, 3, 3]",
    ]


@pytest.mark.parametrize(
    ("attributes", "sizes", "reason"),
    [
        ({"nearest_mode": "ceil"}, [2, 3, 16, 20],
         "mode 'nearest', half_pixel, ceil from [8, 10] to [16, 20] reads other pixels than the spec's modes"),
        ({"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, [2, 3, 16, 20],
         "mode 'linear', asymmetric from [8, 10] to [16, 20] reads other pixels than the spec's modes"),
        ({"coordinate_transformation_mode": "tf_crop_and_resize"}, [2, 3, 16, 20],
         "coordinate_transformation_mode 'tf_crop_and_resize' is not supported"),
        ({"antialias": 1, "mode": "linear"}, [2, 3, 4, 5], "antialias is not supported"),
        ({}, [2, 6, 8, 10], "only height and width can be resized, not [2, 3, 8, 10] to [2, 6, 8, 10]"),
    ],
)  # fmt: skip
def test_resizes_that_the_spec_cannot_say(
    tmp_path: Path, attributes: dict[str, object], sizes: list[int], reason: str
) -> None:
    file = save(tmp_path / "m.onnx", [node("Resize", "x   s", "y", **attributes)], {"s": np.array(sizes)})
    assert refused(file) == [f"node 0 (Resize): {reason}"]


def test_dynamic_sizes_are_asked_for(tmp_path: Path) -> None:
    file = save(tmp_path / "m.onnx", [node("Relu", "x", "y")], shape=("N", 3, "H", "W"))
    assert refused(file) == [
        "input 'x' is [N, 3, H, W]: say the size of its dynamic axes, shapes={'x': [1, 3, 224, 224]} or --shape x=1x3x224x224"
    ]
    assert refused(file, shapes={"x": [1, 4, 8, 8], "z": [1]}) == [
        "there is no input 'z'; the inputs are x",
        "input 'x' is [N, 3, H, W], the given shape [1, 4, 8, 8] does not fit",
    ]
    spec, _ = import_onnx(file, shapes={"x": [2, 3, 8, 6]})
    assert spec.inputs["x"].shape == (2, 3, 8, 6)


def test_a_batch_that_is_written_into_the_model_is_said(tmp_path: Path) -> None:
    file = save(tmp_path / "m.onnx", [node("Add", "x k", "y")], {"k": rand(2, 3, 8, 10)})
    assert refused(file, batch_sizes=[4]) == [
        "add: [4, 3, 8, 10] and [2, 3, 8, 10] do not broadcast: axis 0 has 4 and 2; input: 'x' [4, 3, 8, 10]"
    ]
    assert refused(file, batch_sizes=[2, 2]) == ["batch_sizes: each batch size may stand once, got [2, 2]"]
    assert refused(file, name="a b") == [
        "name: 'a b' cannot name a network: only ASCII letters, digits and '_' are allowed, and a letter must come first; 'a_b' would do"
    ]


def test_an_unknown_newer_opset_is_read(tmp_path: Path) -> None:
    file = save(
        tmp_path / "m.onnx", [node("Conv", "x c.weight c.bias", "a"), node("Relu", "a", "y")], W, opset=99
    )
    assert [layer.op for layer in import_onnx(file)[0].layers] == ["conv2d"]


def test_files_that_are_no_models(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    assert refused(file)[0].startswith("cannot read the model: ")
    file.write_bytes(b"no model at all")
    assert refused(file) == ["not an ONNX file, or a truncated one"]
    file.write_bytes(b"")
    assert refused(file) == ["not an ONNX model: it holds no nodes"]
    save(file, [node("Relu", "x", "y")], opset=7)
    assert refused(file) == ["its opset is 7, 9 and newer are read: convert it with onnx.version_converter"]
    save(file, [node("Conv", "x c.weight c.bias", "y")], W)
    file.write_bytes(file.read_bytes()[:200])
    assert len(refused(file)) == 1


def test_missing_external_data_is_said(tmp_path: Path) -> None:
    file = save(tmp_path / "m.onnx", [node("Conv", "x c.weight c.bias", "y")], W)
    onnx.save(onnx.load(file), file, save_as_external_data=True, location="m.data", size_threshold=0)
    assert layers(import_onnx(file)[0]) == ["{name: c, op: conv2d, out_channels: 4, kernel: 3}"]
    (tmp_path / "m.data").unlink()
    found = refused(file)
    assert len(found) == 1
    assert "external data" in found[0]


def test_mutated_models_are_imported_or_refused(tmp_path: Path) -> None:
    """Damaged bytes and graphs: a refusal or a spec, never another exception."""
    from cnngen.spec import ImportModelError

    nodes = [
        node("Pad", "x p", "a"), node("Conv", "a c.weight c.bias", "b", strides=[2, 2]), node("Sigmoid", "b", "s"),
        node("Mul", "b s", "m"), node("MaxPool", "m", "q", kernel_shape=[2, 2]), node("Resize", "q  scales", "r"),
        node("Concat", "r r", "t", axis=1), node("ReduceMean", "t axes", "u", keepdims=0), node("Gemm", "u w", "y"),
    ]  # fmt: skip
    constants = {
        "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "scales": np.array([1, 1, 2, 2], F32), "axes": np.array([2, 3]),
        "w": rand(8, 5), **W,
    }  # fmt: skip
    file = save(tmp_path / "m.onnx", nodes, constants)
    check(file)
    sound = file.read_bytes()
    rng = np.random.default_rng(0)
    imported = 0
    for _ in range(300):
        data = bytearray(sound)
        for place in rng.integers(0, len(data), size=rng.integers(1, 4)):
            data[place : place + rng.integers(0, 3)] = rng.integers(
                0, 256, size=rng.integers(0, 3), dtype=np.uint8
            ).tobytes()
        file.write_bytes(data)
        try:
            import_onnx(file)
            imported += 1
        except ImportModelError as error:
            assert str(error)  # noqa: PT017
    assert imported > 10
