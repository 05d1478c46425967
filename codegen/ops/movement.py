"""concat, pad, flatten, reshape, transpose, expand, tile: no arithmetic, only where elements come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.moves import affine, common_type, move, type_with
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops.movement import Concat, Expand, Flatten, Pad, Reshape, Tile, Transpose

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def reference_concat(
    layer: Concat, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return np.concatenate(inputs, layer.axis)


def lower_concat(low: Lowering, layer: Concat, inputs: list[str], shape: Shape) -> str:
    axis = layer.axis % len(shape)
    starts = np.cumsum([0, *(low.shape(name)[axis] for name in inputs)]).tolist()
    value: Expr = Float(0.0)
    for source in reversed(range(len(inputs))):
        index = [*ex.coords(len(shape))]
        index[axis] = ex.call("iadd", Coord(axis), Int(-starts[source]))
        part = Load(source, tuple(index))
        last = source == len(inputs) - 1
        value = part if last else ex.select(ex.call("lt", Coord(axis), Int(starts[source + 1])), part, value)
    return move(low, inputs, shape, value, common_type(low, inputs))


def reference_pad(layer: Pad, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape) -> Array:
    sides = layer.both_sides(inputs[0].shape)
    kept = inputs[0][
        tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(inputs[0].shape, sides, strict=True))
    ]
    widths = [(max(a, 0), max(b, 0)) for a, b in sides]
    if layer.mode == "constant":
        return np.pad(kept, widths, constant_values=layer.value)
    return np.pad(kept, widths, mode=layer.mode)


def lower_pad(low: Lowering, layer: Pad, inputs: list[str], shape: Shape) -> str:
    source = low.shape(inputs[0])
    index: list[Expr] = []
    inside: Expr = ex.TRUE
    for axis, (before, after) in enumerate(layer.both_sides(source)):
        if layer.mode == "constant":
            index.append(affine(axis, -before, 1))
            within = ex.within(Coord(axis), before, before + source[axis], shape[axis])
            inside = ex.call("and", inside, within)
        else:
            index.append(_in_border(layer.mode, axis, source[axis], before, after))
    value: Expr = Load(0, tuple(index))
    dtype = type_with(low, inputs[0], layer.value)
    return move(low, inputs, shape, ex.select(inside, value, Float(layer.value)), dtype)


def _in_border(mode: str, axis: int, extent: int, before: int, after: int) -> Expr:
    """Where along an axis the border of mode reflect, edge or wrap reads; what is cut off lies outside of it."""
    first, last = max(-before, 0), extent - 1 - max(-after, 0)
    size = last - first + 1
    place = affine(axis, -max(before, 0), 1)
    if mode == "wrap":
        shift = size if before > 0 else 0
        place = ex.call("iadd", place, Int(shift))
        place = ex.call("imod", place, Int(size)) if before > 0 or after > 0 else place
        return ex.call("iadd", place, Int(first))
    if before > 0:
        place = ex.call("iabs", place) if mode == "reflect" else ex.call("imax", place, Int(0))
    if after > 0:
        mirrored = ex.call("isub", Int(2 * (size - 1)), place) if mode == "reflect" else Int(size - 1)
        place = ex.call("imin", place, mirrored)
    return ex.call("iadd", place, Int(first))


def reference_reshape(
    layer: Reshape | Flatten, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return inputs[0].reshape(shape)


def lower_reshape(low: Lowering, layer: Reshape | Flatten, inputs: list[str], shape: Shape) -> str:
    return low.reshape(inputs[0], shape)


def reference_transpose(
    layer: Transpose, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return np.asarray(inputs[0].transpose(layer.axes))


def lower_transpose(low: Lowering, layer: Transpose, inputs: list[str], shape: Shape) -> str:
    index: list[Expr] = [Int(0)] * len(shape)
    for target, source in enumerate(layer.axes):
        index[source] = Coord(target)
    return low.map(inputs, shape, Load(0, tuple(index)), low.values[inputs[0]].dtype)


def reference_expand(
    layer: Expand, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return np.broadcast_to(inputs[0], shape)


def lower_expand(low: Lowering, layer: Expand, inputs: list[str], shape: Shape) -> str:
    if low.shape(inputs[0]) == shape:
        return inputs[0]
    return move(low, inputs, shape, low.identity_load(0, inputs[0], len(shape)))


def reference_tile(layer: Tile, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape) -> Array:
    return np.tile(inputs[0], layer.repeats)


def lower_tile(low: Lowering, layer: Tile, inputs: list[str], shape: Shape) -> str:
    index = [
        Coord(axis) if repeats == 1 else ex.call("imod", Coord(axis), Int(extent))
        for axis, (repeats, extent) in enumerate(zip(layer.repeats, low.shape(inputs[0]), strict=True))
    ]
    return move(low, inputs, shape, Load(0, tuple(index)))


RULES = {
    "concat": OpRules(reference_concat, lower_concat),
    "pad": OpRules(reference_pad, lower_pad),
    "flatten": OpRules(reference_reshape, lower_reshape),
    "reshape": OpRules(reference_reshape, lower_reshape),
    "transpose": OpRules(reference_transpose, lower_transpose),
    "expand": OpRules(reference_expand, lower_expand),
    "tile": OpRules(reference_tile, lower_tile),
}
