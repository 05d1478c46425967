"""slice, gather, flip, roll: parts of a tensor, and its elements in another place along an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Int, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.moves import affine, move, rotated
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.errors import Problem, SpecError
from cnngen.spec.ops.indexing import Flip, Gather, Roll, Slice, axes_of

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def reference_slice(
    layer: Slice, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    index = [slice(None)] * inputs[0].ndim
    steps = layer.steps or (None,) * len(layer.axes)
    for axis, start, end, step in zip(layer.axes, layer.starts, layer.ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return inputs[0][tuple(index)]


def lower_slice(low: Lowering, layer: Slice, inputs: list[str], shape: Shape) -> str:
    index = [*ex.coords(len(shape))]
    for axis, taken in layer.ranges(low.shape(inputs[0])).items():
        index[axis] = Int(taken[0]) if len(taken) == 1 else affine(axis, taken[0], taken.step)
    return move(low, inputs, shape, Load(0, tuple(index)))


def reference_gather(
    layer: Gather, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    indices = np.asarray(weights.get("indices", layer.indices)).astype(np.int64)
    return np.take(inputs[0], indices, layer.axis).reshape(shape)


def lower_gather(low: Lowering, layer: Gather, inputs: list[str], shape: Shape) -> str:
    source = low.shape(inputs[0])
    axis, rank = layer.axis % len(source), len(layer.shape_of_indices())
    places = _places(low, layer, source[axis])
    names = [*inputs]
    steps = np.diff(places) if rank == 1 else np.zeros(2)
    if rank == 0:
        place: Expr = Int(int(places))
    elif rank == 1 and (len(places) == 1 or (steps == steps[0]).all()):
        place = affine(axis, int(places[0]), int(steps[0]) if len(places) > 1 else 1)
    else:
        names.append(low.constant(f"{low.layer}.indices", places, "float32"))
        place = ex.call("to_int", Load(1, tuple(Coord(axis + k) for k in range(rank))))
    before = [Coord(k) for k in range(axis)]
    behind = [Coord(k + rank - 1) for k in range(axis + 1, len(source))]
    return move(low, names, shape, Load(0, (*before, place, *behind)))


def _places(low: Lowering, layer: Gather, extent: int) -> Array:
    """The indices counted from the front; those of a tensor are seen here for the first time."""
    values = layer.indices if layer.indices_parameter is None else low.weight("indices")
    places = np.asarray(values)
    wrong = places[(places < -extent) | (places >= extent) | (places != np.trunc(places))]
    if wrong.size:
        text = f"{layer.indices_parameter!r} holds {wrong[0]:g}, which is no index of an axis of {extent}"
        raise SpecError(Problem(text, layer=layer.name, field="indices_parameter"))
    return np.where(places < 0, places + extent, places)


def reference_flip(layer: Flip, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape) -> Array:
    return np.flip(inputs[0], layer.axes)


def lower_flip(low: Lowering, layer: Flip, inputs: list[str], shape: Shape) -> str:
    index = [*ex.coords(len(shape))]
    for axis in axes_of(layer.axes, shape):
        index[axis] = affine(axis, shape[axis] - 1, -1)
    return move(low, inputs, shape, Load(0, tuple(index)))


def reference_roll(layer: Roll, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape) -> Array:
    return np.roll(inputs[0], layer.shifts, layer.axes)


def lower_roll(low: Lowering, layer: Roll, inputs: list[str], shape: Shape) -> str:
    index = [*ex.coords(len(shape))]
    for axis, shift in zip(axes_of(layer.axes, shape), layer.shifts, strict=True):
        index[axis] = rotated(axis, -shift, shape[axis])
    return move(low, inputs, shape, Load(0, tuple(index)))


RULES = {
    "slice": OpRules(reference_slice, lower_slice),
    "gather": OpRules(reference_gather, lower_gather),
    "flip": OpRules(reference_flip, lower_flip),
    "roll": OpRules(reference_roll, lower_roll),
}
