"""Comparisons, logic and where. What is true is 1; any number but 0 is true."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Expr
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.arithmetic import lower_operands, reference_operands
from cnngen.codegen.ops.moves import common_type
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops.arithmetic import Binary
from cnngen.spec.ops.logic import LogicalNot, Where

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def _both(function: str) -> Callable[[Expr, Expr], Expr]:
    return lambda a, b: ex.call(function, ex.holds(a), ex.holds(b))


# op -> numpy's meaning, and the condition on two elements
CONDITIONS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Expr, Expr], Expr]]] = {
    "equal": (np.equal, lambda a, b: ex.call("equal", a, b)),
    "greater": (np.greater, lambda a, b: ex.call("less", b, a)),
    "greater_or_equal": (np.greater_equal, lambda a, b: ex.call("less_equal", b, a)),
    "less": (np.less, lambda a, b: ex.call("less", a, b)),
    "less_or_equal": (np.less_equal, lambda a, b: ex.call("less_equal", a, b)),
    "logical_and": (np.logical_and, _both("and")),
    "logical_or": (np.logical_or, _both("or")),
    "logical_xor": (np.logical_xor, _both("xor")),
}


def reference(layer: Binary, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape) -> Array:
    result = CONDITIONS[layer.op][0](*reference_operands(layer, inputs, weights))
    return np.asarray(result, inputs[0].dtype)


def lower(low: Lowering, layer: Binary, inputs: list[str], shape: Shape) -> str:
    names, operands = lower_operands(low, layer, inputs, shape)
    condition = CONDITIONS[layer.op][1](*operands)
    return low.map(names, shape, ex.truth(condition), "bool")


def reference_not(
    layer: LogicalNot, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return np.asarray(inputs[0] == 0, inputs[0].dtype)


def lower_not(low: Lowering, layer: LogicalNot, inputs: list[str], shape: Shape) -> str:
    condition = ex.call("not", ex.holds(low.identity_load(0, inputs[0], len(shape))))
    return low.map(inputs, shape, ex.truth(condition), "bool")


def reference_where(
    layer: Where, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    condition, then, otherwise = inputs
    return np.where(condition != 0, then, otherwise)


def lower_where(low: Lowering, layer: Where, inputs: list[str], shape: Shape) -> str:
    dtype = common_type(low, inputs[1:])
    condition, then, otherwise = (low.identity_load(i, name, len(shape)) for i, name in enumerate(inputs))
    return low.map(inputs, shape, ex.select(ex.holds(condition), then, otherwise), dtype)


RULES = {
    **{op: OpRules(reference, lower) for op in CONDITIONS},
    "logical_not": OpRules(reference_not, lower_not),
    "where": OpRules(reference_where, lower_where),
}
