"""Functions of one element: activations and elementary functions."""

from __future__ import annotations

import math

import torch

from cnngen.spec.importing.draft import Draft, Parameter, RefusalError, short
from cnngen.spec.torch.call import Call, Rule, Value, array
from cnngen.spec.torch.export import Tensor


def _function(op: str, **fields: object) -> Rule:
    """An op without parameters of its own."""
    return lambda call: call.draft(op, [call.tensor()], dict(fields))


def _with(op: str, **names: tuple[str, float | None]) -> Rule:
    """An op whose fields are numbers: field=(torch's name, the spec's default)."""

    def rule(call: Call) -> Draft:
        fields = {field: short(call.real(name)) for field, (name, _) in names.items()}
        changed = {field: value for field, value in fields.items() if value != names[field][1]}
        return call.draft(op, [call.tensor()], changed)

    return rule


def clamp(call: Call) -> Draft:
    """clamp, clamp_min, clamp_max, by numbers or tensors; hardtanh."""
    names = ("min_val", "max_val") if call.op == "hardtanh" else ("min", "max")
    low, high = (call.get(name) for name in names)
    if isinstance(low, (Draft, Tensor)) or isinstance(high, (Draft, Tensor)):
        x: Value = call.value()
        for op, bound in (("maximum", low), ("minimum", high)):
            if isinstance(bound, (Draft, Tensor)):
                x = call.binary(op, x, bound)
        return call.layer(x)
    bounds = {
        field: short(float(bound))
        for field, bound in (("min", low), ("max", high))
        if isinstance(bound, (int, float)) and math.isfinite(bound)
    }
    x = call.tensor()
    if bounds == {"min": 0.0, "max": 6.0}:
        return call.draft("relu6", [x])
    if bounds == {"min": 0.0}:
        return call.draft("relu", [x])
    if bounds.get("min", -math.inf) > bounds.get("max", math.inf):
        bounds["min"] = bounds["max"]  # torch's: the upper bound wins
    return call.draft("clip", [x], dict(bounds)) if bounds else x


def elu(call: Call) -> Draft:
    """elu, and selu and celu, which are elu with factors."""
    alpha, scale, inner = (call.real(name) for name in ("alpha", "scale", "input_scale"))
    x = call.tensor()
    if inner != 1 and (scale != 1 or not math.isclose(alpha * inner, 1)):
        x = call.step("leaky_relu", [x], {"slope": inner})
        inner = 1.0
    if inner != 1:
        return call.draft("celu", [x], {"alpha": short(alpha)})
    if scale != 1:
        return call.draft("selu", [x], {"alpha": alpha, "gamma": scale})
    return call.draft("elu", [x], {} if alpha == 1 else {"alpha": short(alpha)})


def gelu(call: Call) -> Draft:
    """Gelu."""
    approximate = call.get("approximate")
    return call.draft("gelu", [call.tensor()], {} if approximate == "none" else {"approximate": approximate})


def softplus(call: Call) -> Draft:
    """softplus; above its threshold torch takes x, which differs by less than exp(-threshold) / beta."""
    beta, threshold = call.real("beta"), call.real("threshold")
    if threshold < 15:
        return _softplus_with_threshold(call, beta, threshold)
    return call.draft("softplus", [call.tensor()], {} if beta == 1 else {"beta": short(beta)})


def _softplus_with_threshold(call: Call, beta: float, threshold: float) -> Draft:
    x = call.tensor()
    smooth = call.step("softplus", [x], {"beta": beta})
    linear = call.step("greater", [x], {"value": threshold / beta}, dtype="bool")
    return call.draft("where", [linear, x, smooth])


def log_sigmoid(call: Call) -> Draft:
    """log_sigmoid: -softplus(-x)."""
    inner = call.step("softplus", [call.step("neg", [call.tensor()])])
    return call.draft("neg", [inner])


def threshold(call: Call) -> Draft:
    """threshold: x where it is above, else a value."""
    x, bound, value = call.tensor(), call.real("threshold"), call.real("value")
    if value == 0:
        return call.draft(
            "relu" if bound == 0 else "thresholded_relu", [x], {"alpha": bound} if bound else {}
        )
    above = call.step("greater", [x], {"value": bound}, dtype="bool")
    return call.draft("where", [above, x, call.layer(Tensor(torch.full((1,) * len(x.shape), value)))])


def soft_shrink(call: Call) -> Draft:
    """Softshrink."""
    lambd = short(call.real("lambd"))
    return call.draft("shrink", [call.tensor()], {"lambd": lambd, "bias": lambd})


def prelu(call: Call) -> Draft:
    """Prelu with a slope a channel, one for all, or any that broadcasts."""
    x = call.tensor()
    slope = call.known("weight", "the slope")
    if slope is None:
        raise RefusalError("the slope is missing")
    weights = array(slope.data)
    if weights.size == 1:
        return call.draft(
            "prelu", [x], {"shared": True}, {"weight": Parameter(weights.reshape(1), slope.origin)}
        )
    channels = weights.ndim == 1 and call.op == "prelu"
    if channels or weights.shape == (1, x.shape[1], *(1,) * (len(x.shape) - 2)):
        return call.draft("prelu", [x], {}, {"weight": Parameter(weights.reshape(-1), slope.origin)})
    return call.draft(
        "prelu", [x], {"shape": list(weights.shape)}, {"weight": Parameter(weights, slope.origin)}
    )


def rrelu(call: Call) -> Draft:
    """rrelu: at inference a leaky_relu of the mean slope."""
    if call.get("training"):
        raise RefusalError("it is in training mode")
    slope = (call.real("lower") + call.real("upper")) / 2
    return call.draft("leaky_relu", [call.tensor()], {"slope": short(slope)})


def glu(call: Call) -> Draft:
    """glu: the first half times the sigmoid of the second."""
    x = call.tensor()
    axis = call.axis("dim", len(x.shape))
    half = x.shape[axis] // 2
    first, second = (
        call.step("slice", [x], {"axes": [axis], "starts": [start], "ends": [start + half]})
        for start in (0, half)
    )
    return call.draft("mul", [first, call.step("sigmoid", [second])])


def erfc(call: Call) -> Draft:
    """erfc: 1 - erf(x)."""
    return call.draft("sub", [call.step("erf", [call.tensor()])], {"value": 1.0, "reverse": True})


def log_base(base: float) -> Rule:
    """The logarithm to another base."""
    return lambda call: call.draft("mul", [call.step("log", [call.tensor()])], {"value": 1 / math.log(base)})


def round_to_whole(call: Call) -> Draft:
    """round, to decimals too."""
    x, factor = call.tensor(), 10.0 ** (call.integer("decimals") if "decimals" in call.arguments else 0)
    if factor == 1:
        return call.draft("round", [x])
    scaled = call.step("round", [call.step("mul", [x], {"value": factor})])
    return call.draft("div", [scaled], {"value": factor})


def exp2(call: Call) -> Draft:
    """2 ** x."""
    return call.draft("pow", [call.tensor()], {"value": 2.0, "reverse": True})


def log1p(call: Call) -> Draft:
    """log(1 + x)."""
    return call.draft("log", [call.step("add", [call.tensor()], {"value": 1.0})])


def expm1(call: Call) -> Draft:
    """exp(x) - 1: on the left of 0 as an elu, which keeps its digits."""
    x = call.tensor()
    right = call.step("sub", [call.step("exp", [x])], {"value": 1.0})
    negative = call.step("less", [x], {"value": 0.0}, dtype="bool")
    return call.draft("where", [negative, call.step("elu", [x]), right])


# fmt: off
_SAME_NAME = (
    "abs", "neg", "exp", "log", "sqrt", "rsqrt", "reciprocal", "floor", "ceil", "erf", "sign", "sin", "cos", "tan",
    "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "relu", "relu6", "sigmoid", "tanh", "silu",
    "mish",
)
# fmt: on

RULES: dict[str, Rule] = {
    **{name: _function(name) for name in _SAME_NAME},
    "sgn": _function("sign"),
    "isnan": _function("is_nan"),
    "isinf": _function("is_inf"),
    "absolute": _function("abs"),
    "hardswish": _function("hard_swish"),
    "hardsigmoid": _function("hard_sigmoid"),
    "leaky_relu": _with("leaky_relu", slope=("negative_slope", 0.01)),
    "celu": _with("celu", alpha=("alpha", 1.0)),
    "selu": _function("selu"),
    "hardshrink": _with("shrink", lambd=("lambd", 0.5)),
    "softshrink": soft_shrink,
    "elu": elu,
    "gelu": gelu,
    "softplus": softplus,
    "log_sigmoid": log_sigmoid,
    "threshold": threshold,
    "hardtanh": clamp,
    "clamp": clamp,
    "clip": clamp,
    "clamp_min": clamp,
    "clamp_max": clamp,
    "prelu": prelu,
    "_prelu_kernel": prelu,
    "rrelu": rrelu,
    "glu": glu,
    "log2": log_base(2),
    "log10": log_base(10),
    "erfc": erfc,
    "exp2": exp2,
    "round": round_to_whole,
    "log1p": log1p,
    "expm1": expm1,
}
