"""Arithmetic with numpy's broadcasting, between layers or with a constant; minimum, maximum, mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Expr, Float
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops.arithmetic import Binary, Div, Mean, Mod, Pow, Sub

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering

Function = Callable[[Array, Array], Array]

# op -> numpy's meaning and the function of the pointwise language
FUNCTIONS: dict[str, tuple[Function, str]] = {
    "add": (np.add, "add"),
    "sub": (np.subtract, "sub"),
    "mul": (np.multiply, "mul"),
    "div": (np.divide, "div"),
    "pow": (np.power, "pow"),
    "mod": (np.mod, "mod"),
    "minimum": (np.minimum, "min"),
    "maximum": (np.maximum, "max"),
}


def reference_operands(layer: Binary, inputs: Sequence[Array], weights: Mapping[str, Array]) -> list[Array]:
    """The operands in the order in which the op takes them."""
    operands = [*inputs, *weights.values()]
    if layer.value is not None:
        operands.append(np.asarray(layer.value))
    return operands[::-1] if _reversed(layer) else operands


def lower_operands(
    low: Lowering, layer: Binary, inputs: list[str], shape: Shape
) -> tuple[list[str], list[Expr]]:
    """What a pointwise step reads, and the operands in the order in which the op takes them."""
    names = [*inputs, *(low.parameter(role, dtype="float32") for role in low.parameters)]
    operands: list[Expr] = [low.identity_load(i, name, len(shape)) for i, name in enumerate(names)]
    if layer.value is not None:
        operands.append(Float(layer.value))
    return names, operands[::-1] if _reversed(layer) else operands


def reference(layer: Binary, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape) -> Array:
    function = np.fmod if isinstance(layer, Mod) and layer.fmod else FUNCTIONS[layer.op][0]
    with np.errstate(all="ignore"):
        return np.asarray(reduce(function, reference_operands(layer, inputs, weights)))


def lower(low: Lowering, layer: Binary, inputs: list[str], shape: Shape) -> str:
    names, operands = lower_operands(low, layer, inputs, shape)
    function = "fmod" if isinstance(layer, Mod) and layer.fmod else FUNCTIONS[layer.op][1]
    if function == "pow":
        return low.map(names, shape, _power(*operands))
    return low.map(names, shape, reduce(lambda a, b: ex.call(function, a, b), operands))


def _reversed(layer: Binary) -> bool:
    return isinstance(layer, Sub | Div | Pow | Mod) and layer.reverse


def _power(base: Expr, exponent: Expr) -> Expr:
    """Common powers without the general function, which is slow."""
    match exponent:
        case Float(1.0):
            return base
        case Float(2.0):
            return ex.call("mul", base, base)
        case Float(3.0):
            return ex.call("mul", ex.call("mul", base, base), base)
        case Float(0.5):
            return ex.call("sqrt", base)
        case Float(-1.0):
            return ex.call("div", Float(1.0), base)
    return ex.call("pow", base, exponent)


def reference_mean(layer: Mean, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape) -> Array:
    return np.asarray(sum(inputs[1:], inputs[0]) / len(inputs))


def lower_mean(low: Lowering, layer: Mean, inputs: list[str], shape: Shape) -> str:
    values: list[Expr] = [low.identity_load(i, name, len(shape)) for i, name in enumerate(inputs)]
    total = reduce(lambda a, b: ex.call("add", a, b), values)
    return low.map(inputs, shape, ex.call("div", total, Float(len(inputs))))


RULES = {
    **{op: OpRules(reference, lower) for op in FUNCTIONS},
    "mean": OpRules(reference_mean, lower_mean),
}
