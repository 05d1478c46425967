# ruff: noqa: E501 (messages and layers stand here as the user reads them)
"""What cannot be said is refused, each node by its name; files that are damaged are no crash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnngen.spec.onnx import import_onnx

from .onnx_models import F32, W, helper, layers, node, onnx, rand, refused, save


def test_every_refused_node_is_named_with_its_reason(tmp_path: Path) -> None:
    empty = helper.make_graph([], "empty", [], [])
    nodes = [
        helper.make_node("LSTM", ["x", "w3", "w3"], ["a"], "memory", hidden_size=3),
        helper.make_node("Relu", ["a"], ["b"], "behind"),
        helper.make_node("Det", ["b"], ["c"], "behind_too"),
        helper.make_node("Fancy", ["x"], ["d"], "foreign", domain="com.example"),
        helper.make_node("Resize", ["x", "", "scales"], ["e"], "", mode="magic"),
        helper.make_node("TopK", ["x", "k"], ["f", "f2"], "largest"),
        helper.make_node("Pad", ["x", "pads"], ["g"], "odd", mode="odd"),
        helper.make_node("Cast", ["x"], ["h"], "text", to=8),
        helper.make_node("Cast", ["x"], ["h2"], "double", to=11),
        helper.make_node("BatchNormalization", ["x", *["v"] * 4], ["i", "i2"], "statistics", training_mode=1),
        helper.make_node("Softplus", ["nowhere"], ["j"], "dangling"),
        helper.make_node("Det", ["x"], ["dead"], "unused"),
        helper.make_node("RandomNormal", [], ["k2"], "random", shape=[2, 3]),
        helper.make_node("Conv", ["x", "w3"], ["l"], "misfit"),
        helper.make_node("Conv", ["x", "x"], ["m"], "dynamic"),
        helper.make_node("Unsqueeze", ["x", "axes"], ["volume"], "volume"),
        helper.make_node("Conv", ["volume", "w5"], ["n"], "conv3d"),
        helper.make_node("Greater", ["x", "zero"], ["o"], "positive"),
        helper.make_node("Exp", ["o"], ["p"], "exp_of_bool"),
        helper.make_node("Reshape", ["x", "x"], ["q"], "shape_of_data"),
        helper.make_node("If", ["o"], ["r"], "branch", then_branch=empty, else_branch=empty),
        helper.make_node("Loop", ["k", ""], ["s"], "loop", body=empty),
        helper.make_node("SequenceConstruct", ["x"], ["t"], "sequence"),
        helper.make_node("Softmax", ["x"], ["u"], "axis", axis=9),
        helper.make_node("StringConcat", ["x", "x"], ["v2"], "strings"),
    ]
    constants = {
        "scales": np.array([1, 1, 2, 2], F32), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "w3": rand(4, 2, 3, 3),
        "k": np.array([2]), "v": np.ones(3, F32), "axes": np.array([2]), "w5": rand(4, 3, 1, 3, 3), "zero": np.zeros(1, F32),
    }  # fmt: skip
    returns = "c d e f g h h2 i i2 j k2 l m n p q r s t u v2"
    assert refused(save(tmp_path / "m.onnx", nodes, constants, returns=returns)) == [
        "node 'memory' (LSTM): recurrent layers are not supported",
        "node 'behind_too' (Det): the operator is not supported",
        "node 'foreign' (Fancy): its domain 'com.example' is not ONNX's own",
        "node 4 (Resize): mode: Input should be 'nearest', 'linear' or 'cubic'",
        "node 'largest' (TopK): the operator is not supported",
        "node 'odd' (Pad): mode 'odd' is not known, only constant, reflect, edge, wrap",
        "node 'text' (Cast): a cast from float32 to object is not supported",
        "node 'double' (Cast): a cast from float32 to float64 is not supported",
        "node 'statistics' (BatchNormalization): its output 'i2' is used; only the first can be",
        "node 'dangling' (Softplus): it reads 'nowhere', which nothing before it makes",
        "node 'random' (RandomNormal): the operator is not supported",
        "node 'misfit' (Conv): its weight is [4, 2, 3, 3], expected [4, 3, 3, 3]",
        "node 'dynamic' (Conv): the weight is not constant",
        "node 'conv3d' (Conv): its input [2, 3, 1, 8, 10] is 3-D; only 1-D signals [N, C, L] and 2-D images [N, C, H, W] are supported",
        "node 'exp_of_bool' (Exp): it computes with bool; only floats are supported here",
        "node 'shape_of_data' (Reshape): its shape is not constant",
        "node 'branch' (If): its condition depends on data; only a constant one is supported",
        "node 'loop' (Loop): control flow on data is not supported",
        "node 'sequence' (SequenceConstruct): the operator is not supported",
        "node 'axis' (Softmax): axis 9 does not exist in 4 axes",
        "node 'strings' (StringConcat): the operator is not supported",
    ]


def test_types_that_are_not_computed_with(tmp_path: Path) -> None:
    file = save(tmp_path / "m.onnx", [node("Relu", "x", "y")])
    model = onnx.load(file)
    for code, name in ((11, "double"), (8, "string"), (5, "int16"), (16, ""), (7, "")):
        model.graph.input[0].type.tensor_type.elem_type = code
        allowed = "float32, float16, bfloat16, int32, int64, uint8, bool"
        onnx.save(model, file)
        if name:
            assert refused(file) == [f"input 'x' is {name}; allowed: {allowed}"]
        else:
            assert import_onnx(file)[0].inputs["x"].dtype in ("bfloat16", "int64")


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([node("Add", "x whole", "y")], "node 0 (Add): its inputs are of different types: float32, int64"),
        ([node("Where", "x x x", "y")], "node 0 (Where): it reads float32 as truth; only bool can be"),
        ([node("Not", "x", "y")], "node 0 (Not): it reads float32 as truth; only bool can be"),
        ([node("Cast", "x", "b", to=2), node("Sub", "b b", "y")],
         "node 1 (Sub): it computes with uint8; only floats, int32 and int64 are supported here"),
        ([node("Cast", "x", "i", to=7), node("Div", "i i", "y")], "node 1 (Div): it computes with int64; only floats are supported here"),
        ([node("Conv", "x double", "y")], "node 0 (Conv): the weight is float64; only floats of 16 and 32 bits are supported"),
        ([node("Softmax", "x", "y", axis="one")], "node 0 (Softmax): its attribute 'axis' is of another type than int"),
        ([node("Flatten", "x", "y", axis=-5)], "node 0 (Flatten): axis -5 does not exist in 4 axes"),
    ],
)  # fmt: skip
def test_operands_of_other_types_are_refused(tmp_path: Path, nodes: list[object], reason: str) -> None:
    constants = {"whole": np.array([2]), "double": np.ones((4, 3, 3, 3))}
    assert refused(save(tmp_path / "m.onnx", nodes, constants)) == [reason]


@pytest.mark.parametrize(
    ("op", "attributes", "constants"),
    [
        ("ConstantOfShape", {}, {"k": np.array([2**40, 2])}),
        ("Expand", {}, {"x2": np.ones(1, F32), "k": np.array([2**20, 2**20])}),
        ("Tile", {}, {"x2": np.ones((8, 8), F32), "k": np.array([2**15, 2**15])}),
        ("Range", {}, {"a": np.array(0), "b": np.array(2**60), "c": np.array(1)}),
        ("Pad", {}, {"x2": np.ones(4, F32), "k": np.array([2**40, 0])}),
    ],
)
def test_constants_that_would_fill_the_memory_are_refused(
    tmp_path: Path, op: str, attributes: dict[str, object], constants: dict[str, np.ndarray]
) -> None:
    nodes = [node(op, " ".join(constants), "big", **attributes), node("Concat", "x big", "y", axis=1)]
    (message,) = refused(save(tmp_path / "m.onnx", nodes, constants))
    assert "too large" in message


@pytest.mark.parametrize(
    ("op", "key", "constant"),
    [
        ("Expand", "shape", np.array([2**20, 2**20, 1, 1, 1, 1])),
        ("Tile", "repeats", np.array([2**15, 2**15, 1, 1])),
        ("Pad", "pads", np.array([0, 0, 2**40, 0, 0, 0, 0, 0])),
        ("Resize", " scales", np.array([1, 1, 2**15, 2**15], F32)),
    ],
)
def test_layers_that_would_fill_the_memory_are_refused(
    tmp_path: Path, op: str, key: str, constant: np.ndarray
) -> None:
    nodes = [node(op, f"x {key}", "y")]
    (message,) = refused(save(tmp_path / "m.onnx", nodes, {key.strip(): constant}))
    assert "too large" in message or "is not possible" in message


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
    save(file, [node("Relu", "x", "y")], opset=5)
    assert refused(file) == ["its opset is 5, 6 and newer are read: convert it with onnx.version_converter"]
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
