"""zeros, fill, constant: values that are known beforehand, the same for every item of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen.expr import Coord, Float, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops.constants import Constant, Fill, Zeros

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def _number(layer: Zeros | Fill) -> float:
    return layer.value if isinstance(layer, Fill) else 0.0


def reference_fill(
    layer: Zeros | Fill, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return np.full(shape, _number(layer), np.float64)


def lower_fill(low: Lowering, layer: Zeros | Fill, inputs: list[str], shape: Shape) -> str:
    return low.map([], shape, Float(_number(layer)))


def reference_constant(
    layer: Constant, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return np.broadcast_to(weights["parameter"], shape)


def lower_constant(low: Lowering, layer: Constant, inputs: list[str], shape: Shape) -> str:
    first = len(shape) - len(layer.shape)  # 1 where there is a batch
    index = tuple(Coord(axis) for axis in range(first, len(shape)))
    return low.map([low.parameter("parameter", dtype="float32")], shape, Load(0, index))


RULES = {
    "zeros": OpRules(reference_fill, lower_fill),
    "fill": OpRules(reference_fill, lower_fill),
    "constant": OpRules(reference_constant, lower_constant),
}
