"""Arithmetic, comparison and choice with torch's broadcast, and casts."""

from __future__ import annotations

import torch

from cnngen.spec.importing.draft import FLOATS, Draft, RefusalError
from cnngen.spec.torch.call import ELEMENT_TYPES, Call, Result, Rule, Value
from cnngen.spec.torch.export import Tensor


def _binary(op: str) -> Rule:
    """An op of two operands: tensors, or a tensor and a number."""

    def rule(call: Call) -> Draft:
        first, second = list(call.arguments)[:2]
        return call.binary(op, call.value(first), call.value(second))

    return rule


def _scaled(call: Call, value: Value, factor: float) -> Value:
    """`value * factor`, nothing where that is 1."""
    if factor == 1:
        return value
    if isinstance(value, Tensor):
        return Tensor(value.data * factor)
    return call.binary("mul", value, Tensor(torch.tensor(factor)), last=False)


def add(call: Call) -> Draft:
    """add: self + alpha * other."""
    return _add_scaled(call, "add", call.value("self"), call.value("other"))


def sub(call: Call) -> Draft:
    """sub: self - alpha * other."""
    return _add_scaled(call, "sub", call.value("self"), call.value("other"))


def reversed_sub(call: Call) -> Draft:
    """rsub: other - alpha * self."""
    return _add_scaled(call, "sub", call.value("other"), call.value("self"))


def _add_scaled(call: Call, op: str, a: Value, b: Value) -> Draft:
    alpha = call.real("alpha") if "alpha" in call.arguments else 1.0
    return call.binary(op, a, _scaled(call, b, alpha))


def div(call: Call) -> Draft:
    """div, with its rounding."""
    a, b, rounding = call.value("self"), call.value("other"), call.get("rounding_mode")
    if rounding is None:
        return call.binary("div", a, b)
    return _rounded(call, call.binary("div", a, b, dtype="float32", last=False), str(rounding))


def floor_divide(call: Call) -> Draft:
    """floor_divide."""
    quotient = call.binary("div", call.value("self"), call.value("other"), dtype="float32", last=False)
    return _rounded(call, quotient, "floor")


def _rounded(call: Call, x: Draft, rounding: str) -> Draft:
    if rounding == "floor":
        return call.draft("floor", [x])
    return _truncated(call, x)


def truncate(call: Call) -> Draft:
    """trunc: towards 0."""
    return _truncated(call, call.tensor())


def _truncated(call: Call, x: Draft) -> Draft:
    sizes = call.step("floor", [call.step("abs", [x])])
    return call.draft("mul", [call.step("sign", [x]), sizes])


def remainder(call: Call) -> Draft:
    """remainder: with the sign of the divisor."""
    return call.binary("mod", call.value("self"), call.value("other"))


def fmod(call: Call) -> Draft:
    """fmod: with the sign of the dividend."""
    result = call.binary("mod", call.value("self"), call.value("other"))
    result.fields["fmod"] = True
    return result


def power(call: Call) -> Draft:
    """pow; the common exponents have names."""
    base, exponent = call.value("self"), call.value("exponent")
    if isinstance(base, Draft) and isinstance(exponent, Tensor) and exponent.data.numel() == 1:
        number = float(exponent.data.reshape(()))
        if number == 2:
            return call.draft("mul", [base, base])
        named = {0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}.get(number)
        if named is not None:
            return call.draft(named, [base])
    return call.binary("pow", base, exponent)


def square(call: Call) -> Draft:
    """Square."""
    x = call.tensor()
    return call.draft("mul", [x, x])


def hypot(call: Call) -> Draft:
    """hypot: sqrt(a^2 + b^2)."""
    a, b = call.tensor("self"), call.tensor("other")
    return call.draft("sqrt", [call.step("add", [call.step("mul", [a, a]), call.step("mul", [b, b])])])


def not_equal(call: Call) -> Draft:
    """Ne."""
    same = call.binary("equal", call.value("self"), call.value("other"), dtype="bool", last=False)
    return call.draft("logical_not", [same])


def logical_not(call: Call) -> Draft:
    """logical_not."""
    return call.draft("logical_not", [call.tensor()])


def bitwise(op: str) -> Rule:
    """A logical function; of whole numbers it is none."""

    def rule(call: Call) -> Result:
        if call.dtype != "bool":
            raise RefusalError(f"bitwise arithmetic of {call.dtype} is not supported")
        return logical_not(call) if op == "logical_not" else _binary(op)(call)

    return rule


def where(call: Call) -> Draft:
    """Where with three operands."""
    if "self" not in call.arguments:
        raise RefusalError("the shape of its result depends on data")
    condition, a, b = (call.value(name) for name in ("condition", "self", "other"))
    return _choose(call, condition, a, b)


def masked_fill(call: Call) -> Draft:
    """masked_fill."""
    x, mask, value = (call.value(name) for name in ("self", "mask", "value"))
    return _choose(call, mask, value, x)


def _choose(call: Call, condition: Value, a: Value, b: Value) -> Draft:
    """where; a scalar operand gets axes, so that it is the same for each item of a batch."""
    rank = len(call.shape)
    layers = []
    for value in (condition, a, b):
        if isinstance(value, Tensor) and value.data.dim() < rank:
            value = Tensor(value.data.reshape((1,) * (rank - value.data.dim()) + tuple(value.data.shape)))
        layers.append(call.layer(value))
    return call.draft("where", layers)


def cast(call: Call) -> Value:
    """to, _to_copy, type_as: another element type, or nothing. Devices and memory formats mean nothing here."""
    x = call.value()
    if isinstance(x, Tensor):
        return Tensor(x.data.to(getattr(torch, call.dtype)), x.origin)
    if call.dtype == x.dtype:
        return x
    if call.dtype not in ELEMENT_TYPES:
        raise RefusalError(f"it casts to {call.dtype}; allowed: {', '.join(ELEMENT_TYPES)}")
    if call.dtype in FLOATS and x.dtype in FLOATS:
        raise RefusalError(f"it casts from {x.dtype} to {call.dtype}; give the whole module one of them")
    return call.draft("cast", [x], {"to": call.dtype})


def nothing(call: Call) -> Value:
    """What computes nothing at inference."""
    return call.value()


def dropout(call: Call) -> Value:
    """Dropout at inference."""
    if call.get("train") and call.get("p"):
        raise RefusalError("it is in training mode")
    return call.value()


RULES: dict[str, Rule] = {
    "add": add,
    "sub": sub,
    "rsub": reversed_sub,
    "mul": _binary("mul"),
    "div": div,
    "true_divide": div,
    "floor_divide": floor_divide,
    "trunc": truncate,
    "remainder": remainder,
    "fmod": fmod,
    "pow": power,
    "square": square,
    "hypot": hypot,
    "maximum": _binary("maximum"),
    "minimum": _binary("minimum"),
    "eq": _binary("equal"),
    "ne": not_equal,
    "gt": _binary("greater"),
    "ge": _binary("greater_or_equal"),
    "lt": _binary("less"),
    "le": _binary("less_or_equal"),
    "logical_and": _binary("logical_and"),
    "logical_or": _binary("logical_or"),
    "logical_xor": _binary("logical_xor"),
    "logical_not": logical_not,
    "bitwise_and": bitwise("logical_and"),
    "bitwise_or": bitwise("logical_or"),
    "bitwise_xor": bitwise("logical_xor"),
    "bitwise_not": bitwise("logical_not"),
    "where": where,
    "masked_fill": masked_fill,
    "to": cast,
    "_to_copy": cast,
    "type_as": cast,
    "clone": nothing,
    "contiguous": nothing,
    "alias": nothing,
    "detach": nothing,
    "lift_fresh_copy": nothing,
    "feature_dropout": dropout,
    "dropout": dropout,
    "alpha_dropout": dropout,
}
