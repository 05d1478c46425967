# ruff: noqa: ISC004 (messages stand here as the user reads them)
"""One ONNX model imported for several shapes: one spec with profiles, or exactly what cannot be the same in all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnngen.codegen.interpret import outputs
from cnngen.codegen.lower import lower
from cnngen.spec import ImportModelError, NetworkSpec, dump_spec, parse_spec
from cnngen.spec.onnx import import_onnx

from .onnx_models import W, node, onnx, rand, save

SMALL, LARGE = (1, 3, 8, 10), (1, 3, 12, 20)
DYNAMIC = ("N", 3, "H", "W")
CONV = node("Conv", "x c.weight c.bias", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def ints(*values: int) -> Any:  # noqa: ANN401
    return np.array(values, np.int64)


def check(file: Path, shapes: Sequence[tuple[int, ...]] = (SMALL, LARGE)) -> NetworkSpec:
    """Imports for all shapes, and compares each profile with ONNX's reference."""
    spec, weights = import_onnx(file, shapes={"x": shapes})
    assert parse_spec(dump_spec(spec)) == spec
    assert spec.profiles == tuple({"x": shape} for shape in shapes[1:])
    reference = onnx.reference.ReferenceEvaluator(str(file))
    for profile, shape in enumerate(shapes):
        x = rand(2, *shape[1:], seed=profile)
        graph = lower(spec, weights, 2, profile)
        (y,) = outputs(graph, {graph.inputs[0].name: x}).values()
        (expected,) = reference.run(None, {"x": x})
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    return spec


def refused(file: Path, shapes: Any = (SMALL, LARGE)) -> list[str]:  # noqa: ANN401
    with pytest.raises(ImportModelError) as caught:
        import_onnx(file, shapes=shapes if isinstance(shapes, (dict, list)) else {"x": shapes})
    return [str(problem).replace(f"{file}: ", "") for problem in caught.value.problems]


def test_a_fully_convolutional_network_has_the_same_layers_for_every_shape(tmp_path: Path) -> None:
    nodes = [
        CONV,
        node("MaxPool", "c", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", "p  two", "r", mode="linear", coordinate_transformation_mode="half_pixel"),
        node("Concat", "r c", "k", axis=1),
        node("Relu", "k", "y"),
    ]
    file = save(tmp_path / "m.onnx", nodes, {**W, "two": np.array([1, 1, 2, 2], np.float32)}, DYNAMIC)
    spec = check(file)
    assert [layer.op for layer in spec.layers] == ["conv2d", "max_pool2d", "upsample", "concat", "relu"]
    assert spec.profile_count == 2


def test_shapes_that_the_model_computes_become_relative(tmp_path: Path) -> None:
    """Shape arithmetic gives absolute sizes: of reshapes, resizes and slices."""
    nodes = [
        CONV,
        node("Shape", "c", "s"),
        node("Gather", "s hw", "size"),
        node("Mul", "size three", "triple"),
        node("Gather", "s nc", "first"),
        node("Concat", "first triple", "sizes", axis=0),
        node("Resize", "c   sizes", "r", mode="cubic"),
        node("Slice", "r one minus axes", "t"),
        node("Gather", "s first_one", "n"),
        node("Concat", "n channels rest", "target", axis=0),
        node("Reshape", "t target", "y"),
    ]
    constants = {
        **W, "hw": ints(2, 3), "nc": ints(0, 1), "three": ints(3), "one": ints(1, 2), "minus": ints(-2, -3),
        "axes": ints(2, 3), "first_one": ints(0), "channels": ints(4), "rest": ints(-1),
    }  # fmt: skip
    spec = check(save(tmp_path / "m.onnx", nodes, constants, DYNAMIC))
    fields = [layer.model_dump(exclude_unset=True) for layer in spec.layers[1:]]
    assert fields[0]["scales"] == (3.0, 3.0)
    assert fields[1]["ends"] == (-2, -3)
    assert fields[2]["shape"] == (0, 4, -1)


def test_three_profiles_and_mappings(tmp_path: Path) -> None:
    file = save(tmp_path / "m.onnx", [CONV, node("Relu", "c", "y")], W, DYNAMIC)
    check(file, [SMALL, LARGE, (1, 3, 16, 16)])
    spec, _ = import_onnx(file, shapes=[{"x": SMALL}, {"x": LARGE}])
    assert spec.profiles == ({"x": LARGE},)
    spec, _ = import_onnx(file, shapes={"x": SMALL})
    assert spec.profiles == ()


def test_what_cannot_be_the_same_is_named(tmp_path: Path) -> None:
    nodes = [
        CONV,
        node("Shape", "c", "s"),
        node("Gather", "s hw", "size"),
        node("GlobalAveragePool", "c", "g"),
        node("Gather", "s nc", "first"),
        node("Concat", "first size", "sizes", axis=0),
        node("Resize", "g   sizes", "y", mode="nearest"),
    ]
    file = save(tmp_path / "m.onnx", nodes, {**W, "hw": ints(2, 3), "nc": ints(0, 1)}, DYNAMIC)
    assert refused(file) == [
        "layer 'upsample': upsample: depends on the input's size, but profiles share their layers: "
        "scale [8, 10] with x 1x3x8x10; scale [12, 20] with x 1x3x12x20"
    ]


def test_layers_that_only_one_shape_has(tmp_path: Path) -> None:
    """The model crops to 8 x 10, which is nothing to do for images of that size."""
    nodes = [CONV, node("Slice", "c start end axes", "s"), node("Relu", "s", "y")]
    constants = {**W, "start": ints(0, 0), "end": ints(8, 10), "axes": ints(2, 3)}
    assert refused(save(tmp_path / "m.onnx", nodes, constants, DYNAMIC)) == [
        "it has other layers with x 1x3x12x20 than with x 1x3x8x10, after 'c' slice in place of none; "
        "profiles share their layers"
    ]


def test_weights_that_depend_on_the_size(tmp_path: Path) -> None:
    nodes = [
        CONV,
        node("Shape", "c", "s"),
        node("ConstantOfShape", "s", "ones", value=onnx.numpy_helper.from_array(np.ones(1, np.float32))),
        node("CumSum", "ones axis", "grid"),
        node("Add", "c grid", "y"),
    ]
    file = save(tmp_path / "m.onnx", nodes, {**W, "axis": np.array(2, np.int64)}, DYNAMIC)
    (problem,) = refused(file)
    assert "depends on the input's size, but profiles share their" in problem


def test_wrong_shapes(tmp_path: Path) -> None:
    file = save(tmp_path / "m.onnx", [CONV, node("Relu", "c", "y")], W, DYNAMIC)
    assert "profile 1 is profile 0 (the inputs' own shapes) again" in refused(file, (SMALL, SMALL))[0]
    assert "does not fit" in refused(file, (SMALL, (1, 4, 8, 8)))[0]
    assert refused(file, {"x": [SMALL, LARGE], "z": [SMALL, LARGE, SMALL]}) == [
        "several shapes are as many profiles, so each input needs one shape or as many as others, "
        "got 2 for 'x', 3 for 'z'"
    ]
