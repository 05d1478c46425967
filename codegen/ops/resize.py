"""upsample: nearest and bilinear, as index maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops import Upsample

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def _positions(layer: Upsample, size: int, target: int) -> Array:
    """Where each output row (or column) lies between the input's, in input pixels."""
    places = np.arange(target, dtype=np.float64)
    if layer.align_corners:
        return places * ((size - 1) / (target - 1) if target > 1 else 0.0)
    return np.clip((places + 0.5) * size / target - 0.5, 0, None)


def reference_upsample(
    layer: Upsample, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    x = inputs[0]
    for axis in (2, 3):
        size, target = x.shape[axis], shape[axis]
        if layer.mode == "nearest":
            x = np.take(x, np.arange(target) * size // target, axis)
            continue
        places = _positions(layer, size, target)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, size - 1)
        weight = (places - low).reshape([-1 if i == axis else 1 for i in range(4)])
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x


def lower_upsample(low: Lowering, layer: Upsample, inputs: list[str], shape: Shape) -> str:
    source = low.shape(inputs[0])
    if layer.mode == "nearest":
        return low.map(
            inputs,
            shape,
            Load(0, (Coord(0), Coord(1), *(_nearest(axis, source[axis], shape[axis]) for axis in (2, 3)))),
        )
    (top, bottom, y), (left, right, x) = (
        _bilinear(layer, axis, source[axis], shape[axis]) for axis in (2, 3)
    )

    def along(row: Expr) -> Expr:
        return _mix(Load(0, (Coord(0), Coord(1), row, left)), Load(0, (Coord(0), Coord(1), row, right)), x)

    return low.map(inputs, shape, _mix(along(top), along(bottom), y))


def _nearest(axis: int, size: int, target: int) -> Expr:
    common = math.gcd(size, target)
    return ex.call("idiv", ex.call("imul", Coord(axis), Int(size // common)), Int(target // common))


def _bilinear(layer: Upsample, axis: int, size: int, target: int) -> tuple[Expr, Expr, Expr]:
    """The two source indices and the weight of the second."""
    if size == 1:
        return Int(0), Int(0), Float(0.0)
    place: Expr = ex.call("to_float", Coord(axis))
    if layer.align_corners:
        place = ex.call("mul", place, Float((size - 1) / (target - 1) if target > 1 else 0.0))
    else:
        scaled = ex.call("mul", ex.call("add", place, Float(0.5)), Float(size / target))
        place = ex.call("max", ex.call("sub", scaled, Float(0.5)), Float(0.0))
    first = ex.call("imin", ex.call("to_int", place), Int(size - 1))
    second = ex.call("imin", ex.call("iadd", first, Int(1)), Int(size - 1))
    return first, second, ex.call("sub", place, ex.call("to_float", first))


def _mix(a: Expr, b: Expr, weight: Expr) -> Expr:
    return a if a == b else ex.call("add", a, ex.call("mul", weight, ex.call("sub", b, a)))


RULES = {"upsample": OpRules(reference_upsample, lower_upsample)}
