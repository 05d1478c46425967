"""concat, pad, flatten, reshape, transpose, zeros: no arithmetic, only where elements come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops import Concat, Flatten, Pad, Reshape, Transpose, Zeros

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
    return low.map(inputs, shape, value)


def reference_pad(layer: Pad, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape) -> Array:
    top, left, bottom, right = layer.padding
    return np.pad(inputs[0], ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=layer.value)


def lower_pad(low: Lowering, layer: Pad, inputs: list[str], shape: Shape) -> str:
    top, left, _, _ = layer.padding
    _, _, h, w = low.shape(inputs[0])
    inside = ex.call(
        "and", ex.within(Coord(2), top, top + h, shape[2]), ex.within(Coord(3), left, left + w, shape[3])
    )
    row, column = ex.call("iadd", Coord(2), Int(-top)), ex.call("iadd", Coord(3), Int(-left))
    return low.map(
        inputs, shape, ex.select(inside, Load(0, (Coord(0), Coord(1), row, column)), Float(layer.value))
    )


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
    return low.map(inputs, shape, Load(0, tuple(index)))


def reference_zeros(
    layer: Zeros, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return np.zeros(shape)


def lower_zeros(low: Lowering, layer: Zeros, inputs: list[str], shape: Shape) -> str:
    return low.map([], shape, Float(0.0))


RULES = {
    "concat": OpRules(reference_concat, lower_concat),
    "pad": OpRules(reference_pad, lower_pad),
    "flatten": OpRules(reference_reshape, lower_reshape),
    "reshape": OpRules(reference_reshape, lower_reshape),
    "transpose": OpRules(reference_transpose, lower_transpose),
    "zeros": OpRules(reference_zeros, lower_zeros),
}
