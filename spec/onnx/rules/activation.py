"""Functions of one element, and the like."""

from __future__ import annotations

import math

import numpy as np

from cnngen.spec.importing.draft import FLOATS, Constant, Draft, Parameter, RefusalError, Value, short
from cnngen.spec.manifest import ELEMENT_TYPES, Array
from cnngen.spec.onnx.load import element_name
from cnngen.spec.onnx.node import Node, axis_within
from cnngen.spec.onnx.rules.rule import Rule
from cnngen.spec.types import Shape

_INTEGERS = ("int32", "int64", "uint8")


def _function(op: str, **attributes: tuple[str, float]) -> Rule:
    """A function of one element; `attributes`: the spec's field -> ONNX's name and default."""

    def rule(node: Node) -> Draft:
        fields = {field: node.real(name, default) for field, (name, default) in attributes.items()}
        return node.draft(op, [node.floats()], fields)

    return rule


def _of_numbers(op: str) -> Rule:
    """A function that integers have too."""

    def rule(node: Node) -> Draft:
        x = node.tensor()
        return node.draft(op, [x if x.dtype in _INTEGERS else node.floats()])

    return rule


def gelu(node: Node) -> Draft:
    """Gelu."""
    approximate = node.text("approximate", "none")
    return node.draft("gelu", [node.floats()], {} if approximate == "none" else {"approximate": approximate})


def swish(node: Node) -> Draft:
    """Swish; silu where alpha is 1."""
    alpha = node.real("alpha", 1.0)
    return node.draft(
        *(("silu", [node.floats()]) if alpha == 1 else ("swish", [node.floats()], {"alpha": alpha}))
    )


def selu(node: Node) -> Draft:
    """Selu; the usual constants are the spec's defaults."""
    usual = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
    given = {name: node.real(name, value) for name, value in usual.items()}
    same = all(math.isclose(given[name], value, rel_tol=1e-6) for name, value in usual.items())
    return node.draft("selu", [node.floats()], {} if same else given)


def clip(node: Node) -> Draft:
    """Clip, by attributes (before opset 11) or inputs, which may be tensors."""
    x = node.tensor()
    given = [node.value(index) for index in (1, 2)]
    if any(isinstance(bound, Draft) for bound in given):
        for op, bound in zip(("maximum", "minimum"), given, strict=True):
            x = x if bound is None else node.binary(op, x, bound)
        return x
    bounds: dict[str, object] = {}
    for name, index in (("min", 1), ("max", 2)):
        array = node.constant(index, name)
        if array is not None and array.size != 1:
            raise RefusalError(f"its {name} is {list(array.shape)}, not one number")
        value = node.real(name, math.inf) if array is None else float(array.reshape(()))
        if abs(value) < 3.4e38:
            bounds[name] = short(value)
    if "min" in bounds and "max" in bounds and bounds["min"] > bounds["max"]:  # type: ignore[operator]
        bounds["min"] = bounds["max"]
    if bounds == {"min": 0.0, "max": 6.0}:
        return node.draft("relu6", [x])
    if bounds == {"min": 0.0}:
        return node.draft("relu", [x])
    return node.draft("clip", [x], bounds) if bounds else x


def prelu(node: Node) -> Draft:
    """PRelu with a constant slope that broadcasts to the input, or that is a tensor."""
    x, given = node.floats(), node.required(1)
    if isinstance(given, Draft):
        negative = node.draft("clip", [x], {"max": 0.0}, named=False)
        return node.binary("add", node.draft("relu", [x], named=False), node.binary("mul", negative, given))
    array = given.array
    if array.size == 1:
        weight = Parameter(array.reshape(1), given.origin)
        return node.draft("prelu", [x], {"shared": True}, {"weight": weight})
    rank = len(x.shape)
    padded = (1,) * (rank - array.ndim) + array.shape
    if node.opset < 7 and array.ndim == 1:
        padded = (1, *array.shape, *(1,) * (rank - 2))
    if rank > 1 and padded == (1, x.shape[1], *(1,) * (rank - 2)):
        return node.draft("prelu", [x], {}, {"weight": Parameter(array.reshape(-1), given.origin)})
    shape: Shape = array.shape
    return node.draft("prelu", [x], {"shape": list(shape)}, {"weight": Parameter(array, given.origin)})


def is_inf(node: Node) -> Draft:
    """IsInf."""
    signs = (("positive", "detect_positive"), ("negative", "detect_negative"))
    fields = {field: False for field, name in signs if not node.integer(name, 1)}
    return node.draft("is_inf", [node.floats()], fields, dtype="bool")


def is_nan(node: Node) -> Draft:
    """IsNaN."""
    return node.draft("is_nan", [node.floats()], dtype="bool")


def logical_not(node: Node) -> Draft:
    """Not."""
    x = node.tensor()
    if x.dtype != "bool":
        raise RefusalError(f"it reads {x.dtype} as truth; only bool can be")
    return node.draft("logical_not", [x], dtype="bool")


def hardmax(node: Node) -> Draft:
    """Hardmax: 1 at the first largest element along the axis, else 0."""
    x = node.floats()
    rank = len(x.shape)
    axis = axis_within(node.integer("axis", -1 if node.opset >= 13 else 1), rank)
    flat = x if node.opset >= 13 else node.reshape(x, (*x.shape[:axis], math.prod(x.shape[axis:])))
    best = node.draft("argmax", [flat], {"axis": axis}, dtype="int64", named=False)
    places = np.arange(flat.shape[axis]).reshape(-1, *(1,) * (len(flat.shape) - axis - 1))
    fields = {"parameter": "constant", "parameter_shape": list(places.shape)}
    hit = node.draft("equal", [best], fields, {"parameter": Parameter(places)}, "bool", named=False)
    return node.reshape(node.draft("cast", [hit], {"to": x.dtype}, dtype=x.dtype), x.shape)


def softmax(node: Node) -> Draft:
    """Softmax and LogSoftmax; before opset 13 they are over all axes from `axis` on."""
    x, op = node.floats(), "softmax" if node.op == "Softmax" else "log_softmax"
    rank = len(x.shape)
    axis = axis_within(node.integer("axis", -1 if node.opset >= 13 else 1), rank)
    rest = math.prod(x.shape[axis + 1 :])
    if node.opset >= 13 or rest == 1:
        return node.draft(op, [x], {} if axis == rank - 1 else {"axis": axis})
    flat = node.reshape(x, (*x.shape[:axis], x.shape[axis] * rest))
    return node.reshape(node.draft(op, [flat]), x.shape)


def nothing(node: Node) -> Draft:
    """Identity."""
    return node.tensor()


def _type_of(value: Value) -> str:
    return value.dtype if isinstance(value, Draft) else str(value.array.dtype.name)


def cast(node: Node) -> Draft | Array:
    """Cast, and CastLike to the type of its second input."""
    target = _type_of(node.required(1)) if node.op == "CastLike" else element_name(node.integer("to", 1))
    given = node.required(0)
    if isinstance(given, Constant):
        return given.array.astype(ELEMENT_TYPES.get(target, target))
    x = node.tensor()
    if target not in (*FLOATS, *_INTEGERS, "bool"):
        raise RefusalError(f"a cast from {x.dtype} to {target} is not supported")
    if target == x.dtype:
        return x
    return node.draft("cast", [x], {"to": target}, dtype=target)


RULES: dict[str, Rule] = {
    "Relu": _of_numbers("relu"),
    "LeakyRelu": _function("leaky_relu", slope=("alpha", 0.01)),
    "Sigmoid": _function("sigmoid"),
    "Tanh": _function("tanh"),
    "Elu": _function("elu", alpha=("alpha", 1.0)),
    "Selu": selu,
    "Celu": _function("celu", alpha=("alpha", 1.0)),
    "Softplus": _function("softplus"),
    "Softsign": _function("softsign"),
    "ThresholdedRelu": _function("thresholded_relu", alpha=("alpha", 1.0)),
    "Shrink": _function("shrink", bias=("bias", 0.0), lambd=("lambd", 0.5)),
    "HardSigmoid": _function("hard_sigmoid", alpha=("alpha", 0.2), beta=("beta", 0.5)),
    "HardSwish": _function("hard_swish"),
    "Mish": _function("mish"),
    "Swish": swish,
    "Gelu": gelu,
    "Clip": clip,
    "PRelu": prelu,
    "Abs": _of_numbers("abs"),
    "Neg": _of_numbers("neg"),
    "Sign": _of_numbers("sign"),
    **{
        name: _function(name.lower())
        for name in ("Exp", "Log", "Sqrt", "Floor", "Ceil", "Round", "Erf", "Reciprocal")
    },
    **{name: _function(name.lower()) for name in ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan")},
    **{name: _function(name.lower()) for name in ("Sinh", "Cosh", "Asinh", "Acosh", "Atanh")},
    "IsInf": is_inf,
    "IsNaN": is_nan,
    "Not": logical_not,
    "Hardmax": hardmax,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "Identity": nothing,
    "Cast": cast,
    "CastLike": cast,
}
