"""Reductions along axes."""

from __future__ import annotations

import math

from cnngen.spec.importing.draft import Draft, RefusalError, short
from cnngen.spec.torch.call import Call, Result, Rule


def _axes(call: Call, x: Draft) -> list[int]:
    """The axes that are reduced; all where none is named."""
    named = call.integers("dim")
    rank = len(x.shape)
    return sorted({axis % rank for axis in named}) if named else list(range(rank))


def _fields(call: Call, x: Draft) -> dict[str, object]:
    fields: dict[str, object] = {"axes": _axes(call, x)}
    return fields if call.get("keepdim") else fields | {"keepdims": False}


def _reduce(op: str) -> Rule:
    """A reduction over `dim`."""

    def rule(call: Call) -> Draft:
        x = call.tensor()
        fields = _fields(call, x)
        if op == "reduce_mean" and len(x.shape) == 4 and fields["axes"] == [2, 3]:
            return call.draft("global_avg_pool", [x], {} if call.get("keepdim") else {"keepdims": False})
        return call.draft(op, [x], fields)

    return rule


def max_or_min(op: str, arg: str) -> Rule:
    """max, min: of two tensors, of all elements, or along an axis with the places."""
    kind = op.removeprefix("reduce_")

    def rule(call: Call) -> Result:
        if "other" in call.arguments:
            return call.binary(f"{kind}imum", call.value("self"), call.value("other"))
        x = call.tensor()
        if "dim" not in call.arguments:
            return call.draft(op, [x], _fields(call, x))
        axis = call.axis("dim", len(x.shape))
        keepdims = bool(call.get("keepdim"))
        largest = call.draft(op, [x], {"axes": [axis], "keepdims": keepdims})
        return (largest, call.step(arg, [x], {"axis": axis, "keepdims": keepdims}, dtype="int64"))

    return rule


def arg(op: str) -> Rule:
    """argmax, argmin; without an axis over all elements in order."""

    def rule(call: Call) -> Draft:
        x = call.tensor()
        if call.get("dim") is not None:
            fields = {"axis": call.axis("dim", len(x.shape)), "keepdims": bool(call.get("keepdim"))}
            return call.draft(op, [x], fields)
        flat = call.reshape(x, (math.prod(x.shape),))
        return call.reshape(call.draft(op, [flat], {"axis": 0, "keepdims": False}), call.shape)

    return rule


def norm(call: Call) -> Draft:
    """linalg_vector_norm, norm: the p-norm."""
    x = call.tensor()
    name = "ord" if "ord" in call.arguments else "p"
    power = 2.0 if call.get(name) is None else call.real(name)
    fields = _fields(call, x)
    if power in (1, 2):
        return call.draft(f"reduce_l{int(power)}", [x], fields)
    if math.isinf(power):
        return call.draft("reduce_max" if power > 0 else "reduce_min", [call.step("abs", [x])], fields)
    if power == 0:
        zero = call.step("equal", [x], {"value": 0.0}, dtype="bool")
        other = call.step("cast", [call.step("logical_not", [zero], dtype="bool")], {"to": call.dtype})
        return call.draft("reduce_sum", [other], fields)
    powers = call.step("pow", [call.step("abs", [x])], {"value": short(power)})
    total = call.step("reduce_sum", [powers], fields)
    return call.draft("pow", [total], {"value": 1 / power})


def variance(call: Call) -> Draft:
    """var, std, with torch's correction of the divisor."""
    x = call.tensor()
    axes = _axes(call, x)
    count = math.prod(x.shape[axis] for axis in axes)
    correction = 1.0
    if call.get("correction") is not None:
        correction = call.real("correction")
    elif "unbiased" in call.arguments:
        correction = float(bool(call.get("unbiased")))
    if count <= correction:
        raise RefusalError(f"the variance of {count} elements is not defined")
    mean = call.step("reduce_mean", [x], {"axes": axes})
    deviation = call.step("sub", [x, mean])
    total = call.step("reduce_sum", [call.step("mul", [deviation, deviation])], _fields(call, x))
    divisor = {"value": short(count - correction)}
    if call.op == "var":
        return call.draft("div", [total], divisor)
    return call.draft("sqrt", [call.step("div", [total], divisor)])


def variance_and_mean(op: str) -> Rule:
    """var_mean, std_mean."""

    def rule(call: Call) -> Result:
        x = call.tensor()
        spread = variance(Call(op, call.arguments, call.shape, call.dtype, call.name, call.builder))
        return (spread, call.step("reduce_mean", [x], _fields(call, x)))

    return rule


def any_or_all(op: str) -> Rule:
    """any, all: of what is not 0."""

    def rule(call: Call) -> Draft:
        x = call.tensor()
        zero = call.step("equal", [x], {"value": 0.0}, dtype="bool")
        true = call.step(
            "cast", [call.step("logical_not", [zero], dtype="bool")], {"to": "float32"}, dtype="float32"
        )
        total = call.step(op, [true], _fields(call, x), dtype="float32")
        return call.draft("cast", [total], {"to": "bool"})

    return rule


def aminmax(call: Call) -> Result:
    """Aminmax."""
    x = call.tensor()
    return (call.draft("reduce_min", [x], _fields(call, x)), call.step("reduce_max", [x], _fields(call, x)))


RULES: dict[str, Rule] = {
    "mean": _reduce("reduce_mean"),
    "sum": _reduce("reduce_sum"),
    "prod": _reduce("reduce_prod"),
    "amax": _reduce("reduce_max"),
    "amin": _reduce("reduce_min"),
    "logsumexp": _reduce("reduce_log_sum_exp"),
    "max": max_or_min("reduce_max", "argmax"),
    "min": max_or_min("reduce_min", "argmin"),
    "argmax": arg("argmax"),
    "argmin": arg("argmin"),
    "aminmax": aminmax,
    "norm": norm,
    "linalg_vector_norm": norm,
    "var": variance,
    "std": variance,
    "var_mean": variance_and_mean("var"),
    "std_mean": variance_and_mean("std"),
    "any": any_or_all("reduce_max"),
    "all": any_or_all("reduce_min"),
}
