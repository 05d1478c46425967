"""ONNX import: what is imported reads well, and batches, names, layouts and types are the model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnngen.spec import ImportModelError, check_weights, dump_spec, parse_spec, resolve
from cnngen.spec.onnx import import_onnx

from .onnx_models import FLOAT, W, check, helper, layers, node, onnx, ops, rand, save


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
    [("densenet121", 668), ("inception_v2", 371), ("resnet50", 176), ("shufflenet", 171), ("squeezenet", 39)],
)
def test_onnxs_own_architectures(name: str, count: int) -> None:
    spec, weights = import_onnx(Path(onnx.__file__).parent / f"backend/test/data/light/light_{name}.onnx")
    assert len(spec.layers) == count
    check_weights(resolve(parse_spec(dump_spec(spec))), weights)


def test_an_input_and_a_repeated_value_are_handed_out_by_name(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "y"), node("Identity", "y", "again"), node("Identity", "x", "same")]
    spec = check(save(tmp_path / "m.onnx", nodes, returns="y again same"))
    assert [output.layer for output in spec.outputs] == ["relu", "again", "same"]


def test_what_computes_in_another_type_says_so(tmp_path: Path) -> None:
    nodes = [
        node("Cast", "x", "a", to=10), node("Conv", "a c.weight", "b"), node("Cast", "b", "c", to=FLOAT),
        node("Softmax", "c", "d"), node("ArgMax", "d", "i", axis=1), node("Cast", "d", "y", to=10),
    ]  # fmt: skip
    weight = {"c.weight": W["c.weight"].astype(np.float16)}
    spec, _ = import_onnx(save(tmp_path / "m.onnx", nodes, weight, returns="y i"))
    assert spec.precision.storage == "float16"
    own = {layer.name: layer.precision.storage for layer in spec.layers if layer.precision is not None}
    assert own == {"cast_2": "float32", "softmax": "float32", "argmax": "float32"}
    assert [output.dtype for output in resolve(spec).outputs] == ["float16", "int64"]


def test_inputs_that_are_shapes_are_given_as_constants() -> None:
    graph = helper.make_graph(
        [node("Reshape", "x shape", "r"), node("Mul", "r factor", "y")],
        "test",
        [
            helper.make_tensor_value_info("x", FLOAT, [2, 3, 4]),
            helper.make_tensor_value_info("shape", onnx.TensorProto.INT64, [2]),
            helper.make_tensor_value_info("factor", FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("y", FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    with pytest.raises(ImportModelError) as caught:
        import_onnx(model)
    assert caught.value.needs_constant == {"shape"}
    spec, _ = import_onnx(model, constants={"shape": np.array([2, -1])}, batched=False)
    assert list(spec.inputs) == ["x", "factor"]
    assert spec.name == "test"
    spec, _ = import_onnx(
        model, constants={"shape": np.array([2, -1]), "factor": np.array([0.5], np.float32)}
    )
    assert layers(spec) == ["{name: flatten, op: flatten}", "{name: mul, op: mul, value: 0.5}"]


def test_axis_0_is_the_batch_where_every_layer_takes_it_so(tmp_path: Path) -> None:
    nodes = [node("Conv", "x c.weight c.bias", "a"), node("ReduceMean", "a axes", "y")]
    for axes, batched in (([2, 3], True), ([0], False)):
        spec = check(save(tmp_path / "m.onnx", nodes, {**W, "axes": np.array(axes)}))
        assert spec.batched is batched
    file = save(tmp_path / "m.onnx", [node("Relu", "x", "y")])
    assert import_onnx(file)[0].batched
    assert not import_onnx(file, batched=False)[0].batched
    assert not check(save(tmp_path / "m.onnx", [node("Relu", "x", "y")], shape=(5,)), (5,)).batched


def test_known_values_that_layers_read_are_layers(tmp_path: Path) -> None:
    """The same for every item, so without the batch; whole where there is none."""
    nodes = [node("Concat", "x k", "y", axis=1)]
    file = save(tmp_path / "m.onnx", nodes, {"k": rand(1, 2, 8, 10)}, shape=(1, 3, 8, 10))
    found = layers(check(file, (1, 3, 8, 10)))
    assert found[0] == "{name: constant, op: constant, shape: [2, 8, 10], parameter: constant.constant}"
    found = layers(check(file, (1, 3, 8, 10), batched=False))
    assert found[0] == "{name: constant, op: constant, shape: [1, 2, 8, 10], parameter: constant.constant}"
    file = save(tmp_path / "m.onnx", [node("Shape", "x", "s"), node("Add", "x x", "y")], returns="y s")
    assert check(file).outputs[1].dtype == "int64"


def test_a_branch_that_is_chosen_at_import_stands_in_its_place(tmp_path: Path) -> None:
    def branch(name: str, op: str) -> object:
        result = helper.make_tensor_value_info(f"{name}.out", FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["a"], [f"{name}.out"])], name, [], [result])

    nodes = [
        node("Neg", "x", "a"),
        node("Shape", "x", "s"),
        node("Size", "s", "rank"),
        node("Equal", "rank four", "is_image"),
        helper.make_node(
            "If", ["is_image"], ["y"], then_branch=branch("t", "Relu"), else_branch=branch("e", "Tanh")
        ),
    ]
    assert ops(check(save(tmp_path / "m.onnx", nodes, {"four": np.array(4)}))) == ["neg", "relu"]


def test_functions_of_the_model_are_written_out(tmp_path: Path) -> None:
    opset = helper.make_opsetid("", 18)
    function = helper.make_function(
        "own", "twice", ["a"], ["b"], [node("Relu", "a", "c"), node("Add", "c c", "b")], [opset]
    )
    model = onnx.load(save(tmp_path / "m.onnx", [helper.make_node("twice", ["x"], ["y"], domain="own")]))
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    onnx.save(model, tmp_path / "m.onnx")
    assert ops(check(tmp_path / "m.onnx")) == ["relu", "add"]
    model.functions[0].node.append(helper.make_node("twice", ["a"], ["d"], domain="own"))
    with pytest.raises(ImportModelError, match="its functions call themselves"):
        import_onnx(model)


def test_values_without_axes_are_one_element(tmp_path: Path) -> None:
    nodes = [
        node("ReduceSum", "x", "s", keepdims=0), node("Sqrt", "s", "r"), node("Shape", "r", "none"),
        node("Size", "none", "zero"), node("Unsqueeze", "r axes", "u"), node("Cast", "zero", "z", to=FLOAT),
        node("Add", "u z", "y"),
    ]  # fmt: skip
    spec, _ = import_onnx(save(tmp_path / "m.onnx", nodes, {"axes": np.array([0, 1])}, shape=(2, 3)))
    assert ops(spec) == ["reduce_sum", "sqrt", "reshape", "add"]
    assert resolve(spec).shapes["add"] == (1, 1)
