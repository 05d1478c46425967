"""Reductions along axes: a function of each element, a sum (or another kind), a function of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Expr, Float
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.interpret import REDUCTIONS, arg_reduce
from cnngen.codegen.node_ops import ArgReduce, ReduceKind
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops.reduce import ArgMax, ArgMin, Reduction

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering

INFINITY = float("inf")

# op -> function of each element, kind, function of the result
KINDS: dict[str, tuple[str | None, ReduceKind, str | None]] = {
    "reduce_mean": (None, "mean", None),
    "reduce_sum": (None, "sum", None),
    "reduce_max": (None, "max", None),
    "reduce_min": (None, "min", None),
    "reduce_prod": (None, "prod", None),
    "reduce_l1": ("abs", "sum", None),
    "reduce_l2": (None, "sum_squares", "sqrt"),
    "reduce_sum_square": (None, "sum_squares", None),
    "reduce_log_sum": (None, "sum", "log"),
}


def reference_reduce(
    layer: Reduction, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    before, kind, after = KINDS[layer.op]
    x = np.abs(inputs[0]) if before == "abs" else inputs[0]
    y = REDUCTIONS[kind](x, axis=layer.reduced(x.shape), keepdims=True)
    with np.errstate(all="ignore"):
        y = np.sqrt(y) if after == "sqrt" else np.log(y) if after == "log" else y
    return np.asarray(y).reshape(shape)


def lower_reduce(low: Lowering, layer: Reduction, inputs: list[str], shape: Shape) -> str:
    before, kind, after = KINDS[layer.op]
    x = low.floats(inputs[0])
    axes = layer.reduced(low.shape(x))
    if before is not None:
        x = low.map([x], low.shape(x), ex.call(before, low.here(low.values[x])))
    y = low.reduce(kind, x, axes, "float32" if after else None)
    if after is not None:
        y = low.map([y], low.shape(y), ex.call(after, low.here(low.values[y])))
    return low.reshape(y, shape)


def reference_log_sum_exp(
    layer: Reduction, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    axes = layer.reduced(inputs[0].shape)
    largest = inputs[0].max(axis=axes, keepdims=True)
    with np.errstate(all="ignore"):
        largest = np.where(np.isfinite(largest), largest, 0.0)
        total = np.exp(inputs[0] - largest).sum(axis=axes, keepdims=True)
        return np.asarray(np.log(total) + largest).reshape(shape)


def lower_log_sum_exp(low: Lowering, layer: Reduction, inputs: list[str], shape: Shape) -> str:
    """log(sum(exp(x - largest))) + largest, where the largest is finite: then nothing overflows."""
    x = low.floats(inputs[0])
    rank, axes = len(low.shape(x)), layer.reduced(low.shape(x))
    largest = low.reduce("max", x, axes, "float32")
    powers = ex.call(
        "exp", ex.call("sub", low.here(low.values[x]), _finite(low.identity_load(1, largest, rank)))
    )
    total = low.reduce("sum", low.map([x, largest], low.shape(x), powers, dtype="float32"), axes, "float32")
    logarithm = ex.call("log", low.here(low.values[total]))
    y = ex.call("add", logarithm, _finite(low.here(low.values[largest], 1)))
    return low.reshape(low.map([total, largest], low.shape(total), y), shape)


def _finite(x: Expr) -> Expr:
    infinite = ex.call("equal", ex.call("abs", x), Float(INFINITY))
    return ex.select(infinite, Float(0.0), x)


def _place(layer: ArgMax | ArgMin, shape: Shape) -> ArgReduce:
    return ArgReduce("max" if isinstance(layer, ArgMax) else "min", layer.axis % len(shape), layer.last)


def reference_arg(
    layer: ArgMax | ArgMin, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return arg_reduce(inputs[0], _place(layer, inputs[0].shape)).reshape(shape)


def lower_arg(low: Lowering, layer: ArgMax | ArgMin, inputs: list[str], shape: Shape) -> str:
    x = low.floats(inputs[0])
    op = _place(layer, low.shape(x))
    kept = tuple(1 if axis == op.axis else size for axis, size in enumerate(low.shape(x)))
    if kept == low.shape(x):  # one element is all there is
        return low.reshape(low.map([], kept, Float(0.0), "int32"), shape)
    y = low.emit(op, [x], kept, dtype="int32", layout=low.values[x].layout)
    return low.reshape(y, shape)


RULES = {
    **{op: OpRules(reference_reduce, lower_reduce) for op in KINDS},
    "reduce_log_sum_exp": OpRules(reference_log_sum_exp, lower_log_sum_exp),
    "argmax": OpRules(reference_arg, lower_arg),
    "argmin": OpRules(reference_arg, lower_arg),
}
