"""Normalisation that several nodes spell out is one layer with its scale and bias; what is nearly so stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .onnx_models import F32, NUMBERS, check, layers, node, ops, rand, save


def norm(axes: list[int], square: str = "mul", divide: str = "sqrt", centred: bool = True) -> list[object]:
    """(x - mean) / sqrt(variance + eps), in one of the forms that models have; y is the result."""
    mean = [node("ReduceMean", "x", "mean", axes=axes), node("Sub", "x mean", "v")]
    power = node("Mul", "v v", "s") if square == "mul" else node("Pow", "v two", "s")
    rest = [power, node("ReduceMean", "s", "m", axes=axes), node("Add", "m eps", "e"), node("Sqrt", "e", "r")]
    if divide == "reciprocal":
        end = [node("Reciprocal", "r", "i"), node("Mul", "i v", "y")]
    elif divide == "one over":
        end = [node("Div", "one r", "i"), node("Mul", "v i", "y")]
    else:
        end = [node("Div", "v r", "y")]
    return [*(mean if centred else [node("Identity", "x", "v")]), *rest, *end]


@pytest.mark.parametrize(
    ("nodes", "weights", "expected"),
    [
        (norm([3]), {}, ["{name: layer_norm, op: layer_norm, affine: false}"]),
        (norm([-1], "pow", "reciprocal"), {"w": (10,), "b": (10,)}, ["{name: layer_norm, op: layer_norm}"]),
        (norm([3], divide="one over"), {"w": (10,)}, ["{name: layer_norm, op: layer_norm, bias: false}"]),
        (norm([1, 2, 3]), {"b": (3, 8, 10)}, ["{name: layer_norm, op: layer_norm, axis: 1}"]),
        (norm([2, 3]), {}, ["{name: instance_norm, op: instance_norm}"]),
        (norm([2, 3]), {"w": (3, 1, 1), "b": (3, 1, 1)}, ["{name: instance_norm, op: instance_norm, affine: true}"]),
        (norm([2, 3]), {"w": (3, 1, 1)}, ["{name: instance_norm, op: instance_norm, affine: true}"]),
        (norm([3], centred=False), {"w": (10,)}, ["{name: rms_norm, op: rms_norm}"]),
        (norm([3], "pow", centred=False), {}, ["{name: rms_norm, op: rms_norm, affine: false}"]),
    ],
)  # fmt: skip
def test_norms(
    tmp_path: Path, nodes: list[object], weights: dict[str, tuple[int, ...]], expected: list[str]
) -> None:
    spec = check(save(tmp_path / "m.onnx", *affine(nodes, weights), opset=13, returns="z"))
    assert layers(spec) == expected


def affine(
    nodes: list[object], weights: dict[str, tuple[int, ...]]
) -> tuple[list[object], dict[str, np.ndarray]]:
    """The norm and its scale and bias behind."""
    constants = {name: np.array(value, F32) for name, value in NUMBERS.items()}
    last = "y"
    for name, op in (("w", "Mul"), ("b", "Add")):
        if name in weights:
            constants[name] = rand(*weights[name])
            nodes = [*nodes, node(op, f"{last} {name}", f"{last}2")]
            last = f"{last}2"
    return [*nodes, node("Identity", last, "z")], constants


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        (norm([1]), {}),
        ([*norm([3])[:-1], node("Div", "x r", "y")], {}),
        ([*norm([3])[:3], node("ReduceMean", "s", "m", axes=[2]), *norm([3])[4:]], {}),
        ([*norm([3])[:5], node("Div", "v e", "y")], {}),
        ([*norm([3])[:2], node("Mul", "v x", "s"), *norm([3])[3:]], {}),
    ],
)  # fmt: skip
def test_what_is_nearly_a_norm_stays(
    tmp_path: Path, nodes: list[object], weights: dict[str, tuple[int, ...]]
) -> None:
    spec = check(save(tmp_path / "m.onnx", *affine(nodes, weights), opset=13, returns="z"))
    assert {"layer_norm", "instance_norm", "rms_norm"}.isdisjoint(ops(spec))


@pytest.mark.parametrize("shape", [(10, 1), (8, 1), (1,)])
def test_a_scale_of_another_shape_is_no_weight_of_the_norm(tmp_path: Path, shape: tuple[int, ...]) -> None:
    shape = (8, 10) if shape == (10, 1) else shape
    spec = check(save(tmp_path / "m.onnx", *affine(norm([3]), {"w": shape}), opset=13, returns="z"))
    assert ops(spec) == ["layer_norm", "mul"]


def test_a_norm_of_groups_by_reshapes(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", "x split", "a"), node("InstanceNormalization", "a ones zeros", "b"),
        node("Reshape", "b whole", "c"), node("Mul", "c w", "d"), node("Add", "d w", "y"),
    ]  # fmt: skip
    constants = {
        "split": np.array([0, 2, -1]), "whole": np.array([2, 6, 4, 5]), "ones": np.ones(2, F32),
        "zeros": np.zeros(2, F32), "w": rand(6, 1, 1),
    }  # fmt: skip
    spec = check(save(tmp_path / "m.onnx", nodes, constants, shape=(2, 6, 4, 5)), (2, 6, 4, 5))
    assert layers(spec) == ["{name: group_norm, op: group_norm, groups: 2}"]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("Sub", "x a", "s"), node("Mul", "s b", "m"), node("Add", "m c", "y")], ["batch_norm"]),
        ([node("Sub", "a x", "s"), node("Mul", "s b", "m"), node("Add", "m c", "y")], ["sub", "mul", "add"]),
        (
            [node("Sub", "x row", "s"), node("Mul", "s b", "m"), node("Add", "m c", "y")],
            ["sub", "mul", "add"],
        ),
        ([node("Sub", "x a", "s"), node("Mul", "s b", "m"), node("Add", "m s", "y")], ["sub", "mul", "add"]),
    ],
)
def test_a_shift_and_scale_a_channel_is_a_batch_norm(
    tmp_path: Path, nodes: list[object], expected: list[str]
) -> None:
    constants = {name: rand(3, 1, 1, seed=k) for k, name in enumerate("abc")} | {"row": rand(10)}
    assert ops(check(save(tmp_path / "m.onnx", nodes, constants))) == expected
