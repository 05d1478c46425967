"""The pointwise, logical and data-moving ops: their lowering against their definition, and that against ONNX's."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from cnngen.codegen.graph import Array
from cnngen.codegen.lower import lower
from cnngen.codegen.ops import OPS as RULES
from cnngen.spec import SpecError
from cnngen.spec.ops import OPS

from .networks import network
from .single_layer import check, data
from .test_reference import assert_same, theirs

SEEDS = pytest.mark.parametrize("seed", range(8))


def test_every_op_has_rules() -> None:
    assert set(RULES) == set(OPS)


# --- functions of one element, arithmetic, logic ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "onnx_op", "low", "high"),
    [
        *(
            (op, op.capitalize(), -3, 3)
            for op in ("abs", "neg", "exp", "floor", "ceil", "round", "erf", "sign")
        ),
        *(
            (op, op.capitalize(), -3, 3)
            for op in ("sin", "cos", "tan", "atan", "sinh", "cosh", "asinh", "reciprocal")
        ),
        *((op, op.capitalize(), 0.1, 9) for op in ("log", "sqrt")),
        *((op, op.capitalize(), -1, 1) for op in ("asin", "acos")),
        ("atanh", "Atanh", -0.99, 0.99),
        ("acosh", "Acosh", 1, 9),
        ("identity", "Identity", -3, 3),
        ("softsign", "Softsign", -3, 3),
    ],
)
def test_functions(op: str, onnx_op: str, low: float, high: float) -> None:
    x = np.linspace(low, high, 60, dtype=np.float32).reshape(3, 5, 4)
    if op == "round":
        x[0, 0] = (-2.5, -0.5, 0.5, 1.5)
    assert_same(check(op, {}, x), theirs(onnx_op, {}, x))


def test_rsqrt() -> None:
    x = np.abs(data(3, 5)) + 0.1
    assert_same(check("rsqrt", {}, x), 1 / np.sqrt(x.astype(np.float64)))


@pytest.mark.parametrize(
    ("op", "fields", "onnx_op", "attributes"),
    [
        ("selu", {}, "Selu", {}),
        ("selu", {"alpha": 1.2, "gamma": 0.7}, "Selu", {"alpha": 1.2, "gamma": 0.7}),
        ("celu", {"alpha": 1.7}, "Celu", {"alpha": 1.7}),
        ("thresholded_relu", {"alpha": 0.6}, "ThresholdedRelu", {"alpha": 0.6}),
        ("shrink", {"bias": 0.2, "lambd": 0.7}, "Shrink", {"bias": 0.2, "lambd": 0.7}),
        ("swish", {"alpha": 1.3}, "Swish", {"alpha": 1.3}),
        ("swish", {}, "Swish", {}),
    ],
)
def test_activations(op: str, fields: Mapping[str, Any], onnx_op: str, attributes: Mapping[str, Any]) -> None:
    x = 2 * data(3, 50)
    assert_same(check(op, fields, x), theirs(onnx_op, attributes, x, opset=24))


def test_softplus_of_another_sharpness() -> None:
    x = 3 * data(4, 20)
    assert_same(check("softplus", {"beta": 2.5}, x), np.log1p(np.exp(2.5 * x.astype(np.float64))) / 2.5)


BINARY: dict[str, tuple[str, Callable[[Array, Array], Array]]] = {
    "add": ("Add", np.add),
    "sub": ("Sub", np.subtract),
    "mul": ("Mul", np.multiply),
    "div": ("Div", np.divide),
    "pow": ("Pow", np.power),
    "minimum": ("Min", np.minimum),
    "maximum": ("Max", np.maximum),
    "mod": ("", np.mod),
    "equal": ("Equal", np.equal),
    "greater": ("Greater", np.greater),
    "greater_or_equal": ("GreaterOrEqual", np.greater_equal),
    "less": ("Less", np.less),
    "less_or_equal": ("LessOrEqual", np.less_equal),
    "logical_and": ("", np.logical_and),
    "logical_or": ("", np.logical_or),
    "logical_xor": ("", np.logical_xor),
}


@pytest.mark.parametrize(("op", "onnx_op", "function"), [(op, *rest) for op, rest in BINARY.items()])
def test_two_operands(op: str, onnx_op: str, function: Callable[[Array, Array], Array]) -> None:
    # halves, so that some are equal and some are 0, which is false
    a, b = np.round(2 * data(2, 3, 4)) / 2, np.round(2 * data(3, 1, seed=1)) / 2
    if op in ("div", "pow", "mod"):
        a, b = np.abs(a) + 0.5, b + 3.25
    got = check(op, {}, a, b)
    assert_same(got, theirs(onnx_op, {}, a, b) if onnx_op else function(a, b))
    assert_same(check(op, {"parameter": "c", "parameter_shape": [3, 1]}, a, parameter=b), got)
    assert_same(check(op, {"value": 1.5}, a), function(a, np.float32(1.5)))
    if op in ("sub", "div", "pow", "mod"):
        assert_same(check(op, {"reverse": True}, b, a), got)


@pytest.mark.parametrize("exponent", [1, 2, 3, 0.5, -1, 1.7])
def test_powers(exponent: float) -> None:
    x = np.abs(data(4, 5)) + 0.2
    assert_same(check("pow", {"value": exponent}, x), x.astype(np.float64) ** exponent)


def test_the_remainder_has_the_sign_of_the_divisor_or_of_the_dividend() -> None:
    a, b = 5 * data(4, 30), 2 * data(4, 30, seed=1)
    assert_same(check("mod", {}, a, b), np.mod(a.astype(np.float64), b))
    assert_same(check("mod", {"fmod": True}, a, b), theirs("Mod", {"fmod": 1}, a, b))


@pytest.mark.parametrize(
    ("op", "onnx_op"), [("add", "Sum"), ("minimum", "Min"), ("maximum", "Max"), ("mean", "Mean")]
)
def test_many_operands(op: str, onnx_op: str) -> None:
    arrays = [data(2, 3, 4), data(3, 1, seed=1), data(2, 1, 4, seed=2)]
    assert_same(check(op, {}, *arrays), theirs(onnx_op, {}, *arrays))
    assert_same(check("mean", {}, arrays[0]), arrays[0])


def test_where_and_not() -> None:
    condition, a, b = np.round(data(2, 3, 4)), data(3, 1, seed=1), data(2, 1, 4, seed=2)
    assert_same(check("where", {}, condition, a, b), np.where(condition != 0, a, b))
    assert_same(check("logical_not", {}, condition), condition == 0)


def test_what_is_no_number() -> None:
    x = np.array([[1.0, np.nan, np.inf, -np.inf]], np.float32)
    assert check("is_nan", {}, x).tolist() == [[0, 1, 0, 0]]
    assert check("is_inf", {}, x).tolist() == [[0, 0, 1, 1]]
    assert check("is_inf", {"negative": False}, x).tolist() == [[0, 0, 1, 0]]
    assert check("is_inf", {"positive": False}, x).tolist() == [[0, 0, 0, 1]]
    for op in ("less", "greater", "less_or_equal", "greater_or_equal", "equal"):
        assert check(op, {}, x, np.full_like(x, np.nan)).max() == 0
    functions = [op for op, cls in OPS.items() if cls.model_fields.keys() <= OPS["relu"].model_fields.keys()]
    for op in set(functions) & {
        "relu",
        "relu6",
        "selu",
        "sign",
        "floor",
        "neg",
        "silu",
        "mish",
        "gelu",
        "round",
    }:
        assert np.isnan(check(op, {}, x)[0, 1]), op


@pytest.mark.parametrize("to", ["float32", "float16", "int32", "int64", "uint8", "bool"])
def test_cast(to: str) -> None:
    x = np.array([[0.0, 0.4, 1.9, 2.0, 200.0]], np.float32)
    wanted = x.astype(to).astype(np.float64) if to in ("int32", "int64", "uint8", "bool") else x
    assert_same(check("cast", {"to": to}, x), wanted)
    if to in ("int32", "int64"):
        assert check("cast", {"to": to}, -x).tolist() == [[0, 0, -1, -2, -200]]


def test_prelu_of_any_shape() -> None:
    x = data(2, 3, 4)
    for shape in ((3, 1), (4,), (1, 3, 4)):
        slope = data(*shape, seed=1)
        assert_same(check("prelu", {"shape": shape}, x, weight=slope), theirs("PRelu", {}, x, slope))


# --- constants -------------------------------------------------------------------------------------------------------


def test_constants() -> None:
    tensor = data(3, 4)
    assert np.array_equal(check("constant", {"parameter": "c", "shape": [3, 4]}, parameter=tensor), tensor)
    assert check("fill", {"shape": [2, 3], "value": 1.5}).tolist() == [[1.5] * 3] * 2
    assert check("zeros", {"shape": [2]}).tolist() == [0, 0]
    assert check("fill", {"shape": [2], "value": -np.inf}).tolist() == [-np.inf, -np.inf]


# --- moving data -----------------------------------------------------------------------------------------------------


def shape_of(rng: random.Random, least: int = 1) -> list[int]:
    return [rng.randint(1, 5) for _ in range(rng.randint(least, 4))]


@SEEDS
def test_pad(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 (a seed that repeats)
    shape = [extent + 2 for extent in shape_of(rng)]
    x = data(*shape)
    for mode in ("constant", "reflect", "edge", "wrap"):
        most = {"reflect": 1, "wrap": 2}.get(mode, 3)
        pads = [[rng.randint(0, min(most, extent)) for _ in range(2)] for extent in shape]
        flat = np.array([before for before, _ in pads] + [after for _, after in pads], np.int64)
        fields = {"value": -0.5} if mode == "constant" else {"mode": mode}
        value = np.array(-0.5, np.float32) if mode == "constant" else None
        assert_same(check("pad", {"pads": pads, **fields}, x), theirs("Pad", {"mode": mode}, x, flat, value))


def test_pad_cuts_off_first() -> None:
    x = np.arange(6, dtype=np.float32)
    assert check("pad", {"pads": [[-2, 1]]}, x).tolist() == [2, 3, 4, 5, 0]
    assert check("pad", {"pads": [[2, -2]], "mode": "reflect"}, x).tolist() == [2, 1, 0, 1, 2, 3]
    assert check("pad", {"pads": [[-2, 2]], "mode": "wrap"}, x).tolist() == [2, 3, 4, 5, 2, 3]
    assert check("pad", {"pads": [[2, -3]], "mode": "edge"}, x).tolist() == [0, 0, 0, 1, 2]
    image = data(1, 2, 4, 3)
    want = np.pad(image, ((0, 0), (0, 0), (1, 2), (0, 2)), mode="reflect")
    assert_same(check("pad", {"padding": [1, 0, 2, 2], "mode": "reflect"}, image), want)


@SEEDS
def test_slice(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 (a seed that repeats)
    x = data(*(extent + 2 for extent in shape_of(rng)))
    axes = rng.sample(range(-x.ndim, 0), rng.randint(1, x.ndim))
    starts = [rng.choice((None, 0, 1, -2, -100, 100)) for _ in axes]
    ends = [rng.choice((None, 2, -1, 100, -100)) for _ in axes]
    steps = [rng.choice((1, 2, -1, -2, 3)) for _ in axes]
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    fields = {"axes": axes, "starts": starts, "ends": ends, "steps": steps}
    if not x[tuple(index)].size:
        fields |= {"starts": [None] * len(axes), "ends": [None] * len(axes)}
        index = [slice(None, None, k.step) for k in index]
    assert np.array_equal(check("slice", fields, x), x[tuple(index)])


@SEEDS
def test_gather(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 (a seed that repeats)
    x = data(*shape_of(rng))
    axis = rng.randrange(-x.ndim, x.ndim)
    extent = x.shape[axis]
    shape = [rng.randint(1, 3) for _ in range(rng.choice((0, 1, 1, 2)))]
    indices = np.random.default_rng(seed).integers(-extent, extent, shape)
    want = theirs("Gather", {"axis": axis}, x, indices) if shape or x.ndim > 1 else x[[int(indices)]]
    assert np.array_equal(check("gather", {"axis": axis, "indices": indices.tolist()}, x), want)
    if shape:
        fields = {"axis": axis, "indices_parameter": "places", "indices_shape": shape}
        assert np.array_equal(check("gather", fields, x, indices=indices), want)
    steps = list(range(extent))[:: rng.choice((-1, 1, 2))]  # what needs no table
    assert np.array_equal(check("gather", {"axis": axis, "indices": steps}, x), np.take(x, steps, axis))


def test_indices_of_a_weight_file_are_checked() -> None:
    layer = {"op": "gather", "axis": 0, "indices_parameter": "places", "indices_shape": [2]}
    net = network({"name": "g", **layer}, shape=(4,), batched=False, weights={"places": np.array([3, 5])})
    with pytest.raises(SpecError, match=r"'g': 'places' holds 5, which is no index of an axis of 4"):
        lower(net.spec, net.weights, 1)


@SEEDS
def test_flip_roll_tile_expand(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 (a seed that repeats)
    x = data(*shape_of(rng))
    axes = rng.sample(range(x.ndim), rng.randint(1, x.ndim))
    assert np.array_equal(check("flip", {"axes": axes}, x), np.flip(x, axes))
    shifts = [rng.randint(-7, 7) for _ in axes]
    assert np.array_equal(check("roll", {"axes": axes, "shifts": shifts}, x), np.roll(x, shifts, axes))
    repeats = [rng.randint(1, 3) for _ in x.shape]
    assert np.array_equal(check("tile", {"repeats": repeats}, x), np.tile(x, repeats))
    target = [2, *(rng.choice((1, 4)) if extent == 1 else extent for extent in x.shape)][rng.randint(0, 1) :]
    assert np.array_equal(check("expand", {"shape": target}, x), x * np.ones(target, np.float32))


@pytest.mark.parametrize("mode", ["dcr", "crd"])
def test_blocks(mode: str) -> None:
    x = data(2, 12, 4, 6)
    deep = check("depth_to_space", {"block": 2, "mode": mode}, x)
    assert_same(deep, theirs("DepthToSpace", {"blocksize": 2, "mode": mode.upper()}, x))
    assert_same(check("space_to_depth", {"block": 2, "mode": mode}, deep), x)
    if mode == "dcr":
        assert_same(check("space_to_depth", {"block": 2}, x), theirs("SpaceToDepth", {"blocksize": 2}, x))


def test_channel_shuffle() -> None:
    x = data(2, 12, 5)
    want = x.reshape(2, 3, 4, 5).swapaxes(1, 2).reshape(2, 12, 5)
    assert_same(check("channel_shuffle", {"groups": 3}, x), want)


@SEEDS
def test_unfold(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 (a seed that repeats)
    x = data(2, 3, rng.randint(5, 8), rng.randint(5, 8))
    kernel, stride = [rng.randint(1, 3), rng.randint(1, 3)], [rng.randint(1, 2), rng.randint(1, 3)]
    fields = {"kernel": kernel, "stride": stride, "padding": [rng.randint(0, 2) for _ in range(4)]}
    columns = check("unfold2d", {**fields, "dilation": rng.choice((1, 2))}, x)
    if seed < 4:  # a convolution is a product with the columns
        columns = check("unfold2d", fields, x)
        weight = data(4, 3, *kernel, seed=1)
        want = theirs("Conv", {"strides": stride, "pads": fields["padding"]}, x, weight)
        assert_same((weight.reshape(4, -1) @ columns).reshape(want.shape), want)
