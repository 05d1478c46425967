"""add, sub, mul, div with numpy's broadcasting, between layers or with a constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Expr, Float
from cnngen.codegen.functions import FUNCTIONS
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops import Add, Div, Mul, Sub

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering

Arithmetic = Add | Sub | Mul | Div


def reference(
    layer: Arithmetic, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    operands: list[Array | float] = [*inputs, *weights.values()]
    if layer.value is not None:
        operands.append(layer.value)
    return np.asarray(FUNCTIONS[layer.op].numpy(*(reversed(operands) if _reversed(layer) else operands)))


def lower(low: Lowering, layer: Arithmetic, inputs: list[str], shape: Shape) -> str:
    names = [*inputs, *(low.parameter(role, dtype="float32") for role in low.parameters)]
    operands: list[Expr] = [low.identity_load(i, name, len(shape)) for i, name in enumerate(names)]
    if layer.value is not None:
        operands.append(Float(layer.value))
    return low.map(names, shape, ex.call(layer.op, *(reversed(operands) if _reversed(layer) else operands)))


def _reversed(layer: Arithmetic) -> bool:
    return isinstance(layer, Sub | Div) and layer.reverse


RULES = {op: OpRules(reference, lower) for op in ("add", "sub", "mul", "div")}
