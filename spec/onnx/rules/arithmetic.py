"""Arithmetic, comparisons and choice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnngen.spec.importing.draft import FLOATS, Constant, Draft, RefusalError, Value
from cnngen.spec.onnx.node import Node
from cnngen.spec.onnx.rules.rule import Rule

_NUMBERS = (*FLOATS, "int32", "int64")  # sums of uint8 would wrap around


def _numbers(node: Node, index: int) -> Value:
    value = node.required(index)
    if _type(value) not in _NUMBERS:
        raise RefusalError(
            f"it computes with {_type(value)}; only floats, int32 and int64 are supported here"
        )
    return value


def _floats(node: Node, index: int) -> Value:
    value = node.required(index)
    if isinstance(value, Constant) and _type(value) not in FLOATS:
        raise RefusalError(f"it computes with {_type(value)}; only floats are supported here")
    return node.floats(index) if isinstance(value, Draft) else value


def _bools(node: Node, index: int) -> Value:
    value = node.required(index)
    if _type(value) != "bool":
        raise RefusalError(f"it reads {_type(value)} as truth; only bool can be")
    return value


def _type(value: Value) -> str:
    return value.dtype if isinstance(value, Draft) else value.array.dtype.name


def _of_one_type(values: Sequence[Value]) -> None:
    """Refuses operands of different types."""
    types = sorted({_type(value) for value in values})
    if len(types) > 1:
        raise RefusalError(f"its inputs are of different types: {', '.join(types)}")


def _aligned(node: Node, second: Value, rank: int) -> Value:
    """The second operand where it lies before opset 7: from the axis that `axis` names on."""
    axis = node.integer("axis", -1)
    if node.opset >= 7 or axis < 0:
        return second
    shape = second.shape if isinstance(second, Draft) else second.array.shape
    shape = (*shape, *(1,) * (rank - axis - len(shape)))
    if isinstance(second, Draft):
        return node.reshape(second, shape)
    return Constant(second.array.reshape(shape), second.origin)


def _binary(op: str, integers: bool = True, dtype: str | None = None) -> Rule:
    def rule(node: Node) -> Draft:
        read = _numbers if integers else _floats
        a, b = read(node, 0), read(node, 1)
        _of_one_type([a, b])
        rank = len(a.shape) if isinstance(a, Draft) else a.array.ndim
        return node.binary(op, a, _aligned(node, b, rank), dtype)

    return rule


def power(node: Node) -> Draft:
    """Pow, with the type of its base."""
    base, exponent = _floats(node, 0), _numbers(node, 1)
    number = exponent.array if isinstance(exponent, Constant) else np.zeros(2)
    if isinstance(base, Draft) and number.ndim <= len(base.shape) and number.tolist() in (2, [2]):
        return node.draft("mul", [base, base])
    dtype = base.dtype if isinstance(base, Draft) else "float32"
    return node.binary("pow", base, _aligned(node, exponent, 0), dtype)


def modulo(node: Node) -> Draft:
    """Mod."""
    a, b = _numbers(node, 0), _numbers(node, 1)
    _of_one_type([a, b])
    layer = node.binary("mod", a, b)
    if node.flag("fmod"):
        layer.fields["fmod"] = True
    return layer


def _variadic(op: str) -> Rule:
    """Sum, Max and Min of any number of inputs."""

    def rule(node: Node) -> Draft:
        values = [_numbers(node, index) for index in range(len(node.proto.input))]
        _of_one_type(values)
        tensors = [value for value in values if isinstance(value, Draft)]
        constants = [value for value in values if isinstance(value, Constant)]
        if not tensors:
            tensors, constants = [node.tensor()], constants[1:]
        result = node.draft(op, tensors) if len(tensors) > 1 else tensors[0]
        for constant in constants:
            result = node.binary(op, result, constant)
        return result

    return rule


def mean(node: Node) -> Draft:
    """Mean of any number of inputs."""
    tensors = [node.floats(index) for index in range(len(node.proto.input))]
    return node.draft("mean", tensors) if len(tensors) > 1 else tensors[0]


def _compared(op: str) -> Rule:
    """A comparison, or logic, of two tensors."""

    def rule(node: Node) -> Draft:
        read = _bools if op.startswith("logical") else Node.required
        a, b = read(node, 0), read(node, 1)
        _of_one_type([a, b])
        rank = len(a.shape) if isinstance(a, Draft) else a.array.ndim
        return node.binary(op, a, _aligned(node, b, rank), "bool")

    return rule


def where(node: Node) -> Draft:
    """Where."""
    _bools(node, 0)
    inputs = [node.tensor(index) for index in range(3)]
    _of_one_type(inputs[1:])
    return node.draft("where", inputs, dtype=inputs[1].dtype)


_COMPARISONS = {
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_or_equal",
    "Less": "less",
    "LessOrEqual": "less_or_equal",
    "And": "logical_and",
    "Or": "logical_or",
    "Xor": "logical_xor",
}

RULES: dict[str, Rule] = {
    "Add": _binary("add"),
    "Sub": _binary("sub"),
    "Mul": _binary("mul"),
    "Div": _binary("div", integers=False),
    "Pow": power,
    "Mod": modulo,
    "Sum": _variadic("add"),
    "Max": _variadic("maximum"),
    "Min": _variadic("minimum"),
    "Mean": mean,
    **{name: _compared(op) for name, op in _COMPARISONS.items()},
    "Where": where,
}
