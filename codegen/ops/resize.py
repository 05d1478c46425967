"""upsample, resize: places and weights along each axis, as index maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.moves import move, type_with
from cnngen.codegen.ops.registry import OpRules
from cnngen.codegen.ops.tables import Tables, clamped
from cnngen.spec.ops.resize import Resize, Upsample

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


# --- resize ----------------------------------------------------------------------------------------------------------

MOST_TAPS = 16  # elements that one step reads for each of its own; beyond, every axis gets a step


@dataclass(frozen=True)
class Axis:
    """One resized axis."""

    axis: int
    size: int
    target: int
    scale: float
    roi: tuple[float, float] | None

    @property
    def ratios(self) -> tuple[Fraction, ...]:
        """What neighbours' places may differ by: pixels as areas, or as points with the corners fixed."""
        corners = Fraction(self.size - 1, self.target - 1) if self.target > 1 else Fraction(0)
        return (Fraction(self.size, self.target), corners)


def resized_axes(layer: Resize, source: Shape, shape: Shape) -> list[Axis]:
    """The axes that change, or that a region of interest moves."""
    found = []
    axes = layer.resized(source)
    for k, axis in enumerate(axes):
        scale = shape[axis] / source[axis] if layer.scales is None else layer.scales[k]
        roi = None if layer.roi is None else (layer.roi[k], layer.roi[len(axes) + k])
        if shape[axis] != source[axis] or scale != 1 or roi is not None:
            found.append(Axis(axis, source[axis], shape[axis], scale, roi))
    return found


def places(layer: Resize, along: Axis) -> Array:
    """Where each output element lies between the input's, by ONNX's definitions (float64)."""
    y = np.arange(along.target, dtype=np.float64)
    length, exact = along.size, along.scale * along.size  # `exact`: the target before it was rounded down
    match layer.coordinates:
        case "half_pixel":
            return (y + 0.5) / along.scale - 0.5
        case "pytorch_half_pixel":
            return (y + 0.5) / along.scale - 0.5 if along.target > 1 else y
        case "half_pixel_symmetric":
            return length / 2 * (1 - along.target / exact) + (y + 0.5) / along.scale - 0.5
        case "align_corners":
            return y * ((length - 1) / (exact - 1) if exact != 1 else 0.0)
        case "asymmetric":
            return y / along.scale
        case "tf_half_pixel_for_nn":
            return (y + 0.5) / along.scale
        case "tf_crop_and_resize":
            start, end = along.roi or (0.0, 1.0)
            if along.target == 1:
                return np.array([0.5 * (start + end) * (length - 1)])
            return (start + y * ((end - start) / (along.target - 1))) * (length - 1)


def nearest(layer: Resize, x: Array) -> Array:
    """The whole number that each place is rounded to."""
    match layer.nearest:
        case "round_prefer_floor":
            return np.ceil(x - 0.5).astype(np.int64)
        case "round_prefer_ceil":
            return np.floor(x + 0.5).astype(np.int64)
        case "floor":
            return np.floor(x).astype(np.int64)
        case "ceil":
            return np.ceil(x).astype(np.int64)


def filter_weight(layer: Resize, distance: Array) -> Array:
    """The weight of an element at that distance."""
    d, a = np.abs(distance), layer.cubic_coeff
    if layer.mode == "linear":
        return np.asarray(np.maximum(1 - d, 0))
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def taps(layer: Resize, along: Axis) -> tuple[Array, Array]:
    """The first element that each output element reads, and the weights (target, taps) of it and those behind.

    They may lie outside the input, which repeats its edge there.
    """
    x = places(layer, along)
    if layer.mode == "nearest":
        return nearest(layer, x), np.ones((len(x), 1))
    narrow = min(along.scale, 1.0) if layer.antialias else 1.0
    reach = (1 if layer.mode == "linear" else 2) / narrow
    base = np.floor(x).astype(np.int64)
    offsets = np.arange(math.floor(-reach) + 1, math.ceil(reach) + 1)
    weights = filter_weight(layer, (offsets - (x - base)[:, None]) * narrow)
    if layer.exclude_outside:
        read = base[:, None] + offsets
        weights = np.where((read >= 0) & (read < along.size), weights, 0)
    used = np.flatnonzero((weights != 0).any(axis=0))
    weights, offsets = weights[:, used[0] : used[-1] + 1], offsets[used[0] : used[-1] + 1]
    if layer.exclude_outside or layer.antialias:
        total = weights.sum(axis=1, keepdims=True)
        weights = weights / np.where(total == 0, 1, total)
    return base + offsets[0], weights


def reference_resize(
    layer: Resize, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    """Axis by axis, as a product with the matrix (target, size) of all weights."""
    x = inputs[0]
    outside = np.zeros(shape, bool)
    for along in resized_axes(layer, x.shape, shape):
        matrix = np.zeros((along.target, along.size))
        first, factors = taps(layer, along)
        for row in range(along.target):
            for tap, factor in enumerate(factors[row]):
                matrix[row, np.clip(first[row] + tap, 0, along.size - 1)] += factor
        x = np.moveaxis(np.tensordot(matrix, x, (1, along.axis)), 0, along.axis)
        if along.roi is not None:
            there = places(layer, along)
            beyond = (there < 0) | (there > along.size - 1)
            outside |= beyond.reshape([-1 if k == along.axis else 1 for k in range(len(shape))])
    return np.where(outside, layer.extrapolation, x)


def lower_resize(low: Lowering, layer: Resize, inputs: list[str], shape: Shape) -> str:
    axes = resized_axes(layer, low.shape(inputs[0]), shape)
    read = {along: taps(layer, along) for along in axes}
    if math.prod(weights.shape[1] for _, weights in read.values()) <= MOST_TAPS:
        return _interpolate(low, layer, inputs[0], axes, read)
    # What shrinks most goes first, so that the steps behind have less to do.
    name = inputs[0]
    for along in sorted(axes, key=lambda along: along.target / along.size):
        name = _interpolate(low, layer, name, [along], read)
    return name


def _interpolate(
    low: Lowering, layer: Resize, x: str, axes: list[Axis], read: Mapping[Axis, tuple[Array, Array]]
) -> str:
    """One step that resizes along `axes`."""
    if not axes:
        return x
    shape = [*low.shape(x)]
    tables = Tables(low, [x])
    reads: list[tuple[int, list[tuple[Expr, Expr]]]] = []
    inside: Expr = ex.TRUE
    for along in axes:
        shape[along.axis] = along.target
        first, weights = read[along]
        place, factors = tables.places(along.axis, first, along.ratios), tables.weights(along.axis, weights)
        read_here = [
            (
                clamped(
                    ex.call("iadd", place, Int(tap)),
                    int(first.min()) + tap,
                    int(first.max()) + tap,
                    along.size,
                ),
                factor,
            )
            for tap, factor in enumerate(factors)
            if factor != Float(0.0)
        ]
        reads.append((along.axis, read_here))
        inside = ex.call("and", inside, _inside(tables, layer, along))
    value = _weighted(0, [*ex.coords(len(shape))], reads)
    value = ex.select(inside, value, Float(layer.extrapolation))
    whole = layer.mode == "nearest"
    dtype = type_with(low, x, layer.extrapolation) if whole else low.precision.storage
    return move(low, tables.names, tuple(shape), value, dtype)


def _inside(tables: Tables, layer: Resize, along: Axis) -> Expr:
    """Whether a coordinate of a region of interest lies in the input."""
    there = places(layer, along)
    inside = (there >= 0) & (there <= along.size - 1)
    if along.roi is None or inside.all():
        return ex.TRUE
    if not inside.any():
        return ex.FALSE
    return ex.holds(tables.load("inside", inside, (Coord(along.axis),)))


def _weighted(source: int, index: list[Expr], reads: list[tuple[int, list[tuple[Expr, Expr]]]]) -> Expr:
    """The sum of what is read along the first of the axes, of each the sum along the next."""
    if not reads:
        return Load(source, tuple(index))
    (axis, here), *rest = reads
    parts = []
    for place, weight in here:
        index[axis] = place
        parts.append(ex.call("mul", _weighted(source, index, rest), weight))
    return reduce(lambda a, b: ex.call("add", a, b), parts)


RULES = {
    "upsample": OpRules(reference_upsample, lower_upsample),
    "resize": OpRules(reference_resize, lower_resize),
}
