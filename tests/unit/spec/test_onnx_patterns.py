"""What several nodes spell out is one layer, exactly; what is nearly so stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .onnx_models import F32, NUMBERS, W, check, layers, node, ops, rand, save


def test_matmul_and_add_are_a_linear_layer_with_its_bias_and_activation(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "a"), node("Add", "a b", "c"), node("Relu", "c", "y")]
    file = save(tmp_path / "m.onnx", nodes, {"w": rand(10, 5), "b": rand(5)})
    assert layers(check(file)) == ["{name: linear, op: linear, out_features: 5, activation: relu}"]


SHIFT = [node("Add", "x three", "a"), node("Clip", "a zero six", "r")]
ERF = [node("Div", "x root2", "d"), node("Erf", "d", "e"), node("Add", "e one", "b")]
TANH = [
    node("Pow", "x three", "p"), node("Mul", "p c", "q"), node("Add", "x q", "r"), node("Mul", "r k", "s"),
    node("Tanh", "s", "t"), node("Add", "t one", "b"),
]  # fmt: skip
EXP = [node("Neg", "x", "n"), node("Exp", "n", "e"), node("Add", "e one", "d")]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("Sigmoid", "x", "s"), node("Mul", "x s", "y")], "op: silu}"),
        ([node("HardSigmoid", "x", "s", alpha=1 / 6), node("Mul", "s x", "y")], "op: hard_swish}"),
        ([node("Softplus", "x", "p"), node("Tanh", "p", "t"), node("Mul", "x t", "y")], "op: mish}"),
        ([*ERF, node("Mul", "x b", "m"), node("Mul", "m half", "y")], "op: gelu}"),
        ([node("Mul", "x half", "h"), *ERF, node("Mul", "h b", "y")], "op: gelu}"),
        ([*ERF, node("Mul", "b x", "m"), node("Div", "m two", "y")], "op: gelu}"),
        ([*TANH, node("Mul", "x b", "m"), node("Mul", "m half", "y")], "op: gelu, approximate: tanh"),
        ([*SHIFT, node("Div", "r six", "y")], "op: hard_sigmoid}"),
        ([*SHIFT, node("Mul", "r x", "m"), node("Div", "m six", "y")], "op: hard_swish}"),
        ([*SHIFT, node("Mul", "r sixth", "s"), node("Mul", "s x", "y")], "op: hard_swish}"),
        ([*EXP, node("Div", "one d", "y")], "op: sigmoid}"),
        ([*EXP, node("Reciprocal", "d", "y")], "op: sigmoid}"),
        ([*EXP, node("Div", "x d", "y")], "op: silu}"),
        ([node("Exp", "x", "e"), node("Add", "e one", "a"), node("Log", "a", "y")], "op: softplus}"),
    ],
)  # fmt: skip
def test_what_is_one_function(tmp_path: Path, nodes: list[object], expected: str) -> None:
    numbers = {name: np.array(value, F32) for name, value in NUMBERS.items()}
    found = layers(check(save(tmp_path / "m.onnx", nodes, numbers)))
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Sigmoid", "x", "s"), node("Neg", "x", "n"), node("Mul", "n s", "y")],
        [node("HardSigmoid", "x", "s", alpha=0.2), node("Mul", "s x", "y")],
        [*ERF, node("Mul", "x b", "m"), node("Mul", "m near", "y")],
        [*TANH[:4], node("Tanh", "r", "t"), TANH[5], node("Mul", "x b", "m"), node("Mul", "m half", "y")],
        [node("Add", "x near", "a"), SHIFT[1], node("Div", "r six", "y")],
        [*SHIFT, node("Sub", "six r", "y")],
        [*SHIFT, node("Neg", "x", "n"), node("Mul", "r n", "m"), node("Div", "m six", "y")],
        [*EXP[:2], node("Add", "e near", "d"), node("Div", "one d", "y")],
        [*EXP, node("Div", "d one", "y")],
        [node("Exp", "x", "e"), node("Add", "e two", "a"), node("Log", "a", "y")],
    ],
)  # fmt: skip
def test_what_is_nearly_a_function_stays(tmp_path: Path, nodes: list[object]) -> None:
    numbers = {name: np.array(value, F32) for name, value in NUMBERS.items()}
    known = {"silu", "hard_swish", "gelu", "mish", "softplus"}
    spec = check(save(tmp_path / "m.onnx", nodes, numbers))
    assert known.isdisjoint(ops(spec))
    assert len(spec.layers) > 1


def rearranged(
    split: list[int], perm: list[int], whole: list[int]
) -> tuple[list[object], dict[str, np.ndarray]]:
    nodes = [node("Reshape", "x s", "a"), node("Transpose", "a", "b", perm=perm), node("Reshape", "b w", "y")]
    return nodes, {"s": np.array(split), "w": np.array(whole)}


@pytest.mark.parametrize(
    ("split", "perm", "whole", "expected"),
    [
        ([0, 4, 3, 4, 6], [0, 2, 1, 3, 4], [0, 12, 4, 6], "channel_shuffle, groups: 4}"),
        ([0, 3, 4, 24], [0, 2, 1, 3], [0, 12, 4, 6], "channel_shuffle, groups: 3}"),
        ([0, 2, 2, 3, 4, 6], [0, 3, 4, 1, 5, 2], [0, 3, 8, 12], "depth_to_space, block: 2}"),
        ([0, 3, 2, 2, 4, 6], [0, 1, 4, 2, 5, 3], [0, 3, 8, 12], "depth_to_space, block: 2, mode: crd}"),
        ([0, 12, 2, 2, 3, 2], [0, 3, 5, 1, 2, 4], [0, 48, 2, 3], "space_to_depth, block: 2}"),
        ([0, 12, 2, 2, 3, 2], [0, 1, 3, 5, 2, 4], [0, 48, 2, 3], "space_to_depth, block: 2, mode: crd}"),
        ([0, 4, 3, 4, 6], [0, 2, 1, 4, 3], [0, 12, 4, 6], "reshape, shape: [0, 12, 4, 6]}"),
        ([0, 2, 2, 3, 4, 6], [0, 3, 4, 2, 5, 1], [0, 3, 8, 12], "reshape, shape: [0, 3, 8, 12]}"),
        ([0, 2, 2, 3, 4, 6], [0, 3, 4, 1, 5, 2], [0, 3, 12, 8], "reshape, shape: [0, 3, 12, 8]}"),
        ([0, 4, 3, 4, 6], [0, 2, 1, 3, 4], [0, 6, 8, 6], "reshape, shape: [0, 6, 8, 6]}"),
    ],
)  # fmt: skip
def test_rearrangements_by_reshapes(
    tmp_path: Path, split: list[int], perm: list[int], whole: list[int], expected: str
) -> None:
    file = save(tmp_path / "m.onnx", *rearranged(split, perm, whole), shape=(2, 12, 4, 6))
    found = layers(check(file, (2, 12, 4, 6)))
    assert expected in found[-1]
    assert len(found) == (3 if "reshape" in expected else 1)


def sliced(
    starts: list[tuple[int, int]], step: int, size: tuple[int, int]
) -> tuple[list[object], dict[str, np.ndarray]]:
    """Slices of x, one after the other along the channels."""
    nodes: list[object] = []
    constants = {"axes": np.array([2, 3]), "steps": np.array([step, step])}
    for k, start in enumerate(starts):
        ends = [first + step * (count - 1) + 1 for first, count in zip(start, size, strict=True)]
        constants |= {f"a{k}": np.array(start), f"b{k}": np.array(ends)}
        nodes.append(node("Slice", f"x a{k} b{k} axes steps", f"p{k}"))
    parts = " ".join(f"p{k}" for k in range(len(starts)))
    return [*nodes, node("Concat", parts, "y", axis=1)], constants


GRID = [(h, w) for h in range(2) for w in range(2)]


@pytest.mark.parametrize(
    ("starts", "step", "size", "expected"),
    [
        (GRID, 2, (4, 5), ["space_to_depth"]),
        ([(0, 0), (1, 0), (0, 1), (1, 1)], 2, (4, 5), ["space_to_depth", "gather"]),
        ([(h, w) for h in range(3) for w in range(2)], 1, (6, 9), ["unfold2d", "reshape", "channel_shuffle"]),
        ([(0, 0), (0, 3), (2, 0), (2, 3)], 1, (6, 7), ["unfold2d", "reshape", "channel_shuffle"]),
        ([(0, 0), (0, 0), (1, 0), (1, 1)], 2, (4, 5), ["slice"] * 4 + ["concat"]),
        (GRID[:3], 2, (4, 5), ["slice"] * 3 + ["concat"]),
        (GRID[::-1], 1, (7, 9), ["slice"] * 4 + ["concat"]),
        ([(h, w) for h in (0, 1, 3) for w in (0, 1)], 1, (5, 9), ["slice"] * 6 + ["concat"]),
        (GRID, 1, (6, 8), ["slice"] * 4 + ["concat"]),
    ],
)  # fmt: skip
def test_slices_side_by_side(
    tmp_path: Path, starts: list[tuple[int, int]], step: int, size: tuple[int, int], expected: list[str]
) -> None:
    assert ops(check(save(tmp_path / "m.onnx", *sliced(starts, step, size)))) == expected


def distribution(weight: np.ndarray, axis: int = 1) -> tuple[list[object], dict[str, np.ndarray]]:
    nodes = [
        node("Reshape", "x s", "a"), node("Transpose", "a", "b", perm=[0, 2, 1, 3]),
        node("Softmax", "b", "c", axis=axis),
        node("Conv", "c w", "d"), node("Reshape", "d t", "y"),
    ]  # fmt: skip
    return nodes, {"s": np.array([0, 4, 3, 5]), "t": np.array([0, 4, 5]), "w": weight.reshape(1, 3, 1, 1)}


def test_the_expected_bin_of_a_distribution(tmp_path: Path) -> None:
    file = save(tmp_path / "m.onnx", *distribution(np.arange(3, dtype=F32)), shape=(2, 12, 5))
    assert layers(check(file, (2, 12, 5))) == ["{name: dfl, op: dfl, bins: 3}"]


@pytest.mark.parametrize(("weight", "axis"), [([0, 1, 3], 1), ([1, 2, 3], 1), ([0, 1, 2], 2)])
def test_another_product_of_a_distribution_stays(tmp_path: Path, weight: list[float], axis: int) -> None:
    file = save(tmp_path / "m.onnx", *distribution(np.array(weight, F32), axis), shape=(2, 12, 5))
    assert "dfl" not in ops(check(file, (2, 12, 5)))


def test_biases_of_all_layers_with_weights(tmp_path: Path) -> None:
    nodes = [
        node("ConvTranspose", "x t", "a"), node("Add", "a v", "b"), node("Relu", "b", "c"),
        node("Conv", "c u", "d"), node("Add", "one d", "y"),
    ]  # fmt: skip
    constants = {"t": rand(3, 4, 2, 2), "v": rand(1, 4, 1, 1), "u": rand(2, 4, 1, 1), "one": np.ones(1, F32)}
    spec = check(save(tmp_path / "m.onnx", nodes, constants))
    assert ops(spec) == ["conv_transpose2d", "conv2d"]


def test_what_is_no_bias_stays(tmp_path: Path) -> None:
    """One value a column, a second sum, a sum behind the activation."""
    nodes = [
        node("Conv", "x c.weight", "a"), node("Add", "a column", "b"), node("Conv", "b u c.bias", "c"),
        node("Add", "c v", "d"), node("Conv", "d u", "e"), node("Relu", "e", "f"), node("Add", "f v", "y"),
    ]  # fmt: skip
    constants = {**W, "column": rand(8), "u": rand(4, 4, 1, 1), "v": rand(4, 1, 1)}
    spec = check(save(tmp_path / "m.onnx", nodes, constants))
    assert ops(spec) == ["conv2d", "add", "conv2d", "add", "conv2d", "add"]


def test_zeros_around_an_average_are_counted(tmp_path: Path) -> None:
    nodes = [node("Pad", "x p", "a"), node("AveragePool", "a", "y", kernel_shape=[2, 2])]
    pads = {"p": np.array([0, 0, 1, 1, 0, 0, 1, 0])}
    assert ops(check(save(tmp_path / "m.onnx", nodes, pads))) == ["avg_pool2d"]
    pads = {"p": np.array([0, 0, 2, 1, 0, 0, 1, 0])}  # as far as the window: some would hold nothing else
    assert ops(check(save(tmp_path / "m.onnx", nodes, pads))) == ["pad", "avg_pool2d"]


def test_channels_last_models_lose_their_transposes(tmp_path: Path) -> None:
    last, first = [0, 2, 3, 1], [0, 3, 1, 2]
    nodes = [
        node("Transpose", "x", "x1", perm=first), node("Conv", "x1 c.weight c.bias", "a", pads=[1, 1, 1, 1]),
        node("Transpose", "a", "a1", perm=last), node("Mul", "a1 scale", "b"), node("Add", "b scale", "c"),
        node("Relu", "c", "d"), node("Transpose", "d", "d1", perm=first), node("Conv", "d1 u", "e"),
        node("Transpose", "e", "e1", perm=last), node("Add", "e1 d", "f"), node("Concat", "f d", "g", axis=3),
        node("Pad", "g p", "h"), node("ReduceMean", "h axes", "i", keepdims=0), node("Softmax", "i", "y"),
    ]  # fmt: skip
    constants = {
        **W, "scale": rand(4), "u": rand(4, 4, 1, 1), "p": np.array([0, 1, 1, 0, 0, 2, 2, 0]), "axes": np.array([1, 2]),
    }  # fmt: skip
    spec = check(save(tmp_path / "m.onnx", nodes, constants, shape=(2, 6, 7, 3)), (2, 6, 7, 3))
    assert ops(spec) == [
        "conv2d",
        "mul",
        "add",
        "relu",
        "conv2d",
        "add",
        "concat",
        "pad",
        "global_avg_pool",
        "softmax",
    ]
    assert spec.inputs["x"].layout == "NHWC"


def test_a_transpose_that_others_need_stays(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "a", perm=[0, 2, 3, 1]), node("Relu", "a", "b"), node("MatMul", "a m", "c"),
        node("Add", "b c", "y"),
    ]  # fmt: skip
    spec = check(save(tmp_path / "m.onnx", nodes, {"m": rand(3, 3)}))
    assert ops(spec) == ["transpose", "relu", "linear", "add"]


def test_attention_keeps_its_batch(tmp_path: Path) -> None:
    """The parts of a product, as torch exports them, stand before the batch."""
    parts = [node("Gather", f"b i{k}", name, axis=0) for k, name in enumerate("qkv")]
    nodes = [
        node("MatMul", "x w", "a"), node("Reshape", "a s", "r"), node("Transpose", "r", "b", perm=[2, 0, 3, 1, 4]),
        *parts, node("Transpose", "k", "t", perm=[0, 1, 3, 2]), node("MatMul", "q t", "m"), node("Softmax", "m", "p"),
        node("MatMul", "p v", "o"), node("Transpose", "o", "u", perm=[0, 2, 1, 3]), node("Reshape", "u z", "y"),
    ]  # fmt: skip
    constants = {"w": rand(8, 24), "s": np.array([2, 5, 3, 2, 4]), "z": np.array([2, 5, 8])}
    constants |= {f"i{k}": np.array(k) for k in range(3)}
    spec = check(save(tmp_path / "m.onnx", nodes, constants, shape=(2, 5, 8)), (2, 5, 8))
    assert spec.batched
    assert ops(spec).count("transpose") == 4
    assert next(layer for layer in layers(spec) if "matmul" in layer).endswith("transpose_b: true}")


def test_focus_as_torch_exports_it(tmp_path: Path) -> None:
    """Slices along one axis, and of each two along the other."""
    constants = {
        name: np.array([value])
        for name, value in {"zero": 0, "one": 1, "two": 2, "three": 3, "end": 99}.items()
    }
    nodes = [node("Slice", f"x {start} end two two", f"{start}r") for start in ("zero", "one")]
    for row, column, name in (
        ("zero", "zero", "a"),
        ("one", "zero", "b"),
        ("zero", "one", "c"),
        ("one", "one", "d"),
    ):
        nodes.append(node("Slice", f"{row}r {column} end three two", name))
    nodes.append(node("Concat", "a b c d", "y", axis=1))
    assert ops(check(save(tmp_path / "m.onnx", nodes, constants))) == ["space_to_depth", "gather"]


def test_slices_of_slices_are_one(tmp_path: Path) -> None:
    nodes = [
        node("Slice", "x one five two", "a"), node("Slice", "a one five three", "b"),
        node("Slice", "b one two two", "y"),
    ]  # fmt: skip
    constants = {
        name: np.array([value]) for name, value in {"one": 1, "two": 2, "three": 3, "five": 5}.items()
    }
    assert ops(check(save(tmp_path / "m.onnx", nodes, constants))) == ["slice", "slice"]


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
