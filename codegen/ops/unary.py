"""Functions of one element that are no activations, prelu, cast and identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.functions import FUNCTIONS
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops.base import LayerBase
from cnngen.spec.ops.unary import Cast, Identity, IsInf, PRelu
from cnngen.spec.types import ElementType

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering

# The ops that are functions of the pointwise language, under the same name.
FUNCTION_OPS = (
    "abs", "neg", "exp", "log", "sqrt", "rsqrt", "floor", "ceil", "round", "erf", "sign", "sin", "cos", "tan", "asin",
    "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
)  # fmt: skip


def reference_function(
    layer: LayerBase, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(FUNCTIONS[layer.op].numpy(inputs[0]))


def lower_function(low: Lowering, layer: LayerBase, inputs: list[str], shape: Shape) -> str:
    return low.map(inputs, shape, ex.call(layer.op, low.identity_load(0, inputs[0], len(shape))))


def reference_reciprocal(
    layer: LayerBase, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(1.0 / inputs[0])


def lower_reciprocal(low: Lowering, layer: LayerBase, inputs: list[str], shape: Shape) -> str:
    return low.map(inputs, shape, ex.call("div", Float(1.0), low.identity_load(0, inputs[0], len(shape))))


def reference_is_nan(
    layer: LayerBase, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return np.isnan(inputs[0]).astype(inputs[0].dtype)


def lower_is_nan(low: Lowering, layer: LayerBase, inputs: list[str], shape: Shape) -> str:
    found = ex.call("is_nan", low.identity_load(0, inputs[0], len(shape)))
    return low.map(inputs, shape, ex.truth(found), "bool")


def reference_is_inf(
    layer: IsInf, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    x = inputs[0]
    found = (np.isposinf(x) & layer.positive) | (np.isneginf(x) & layer.negative)
    return np.asarray(found, x.dtype)


def lower_is_inf(low: Lowering, layer: IsInf, inputs: list[str], shape: Shape) -> str:
    x = low.identity_load(0, inputs[0], len(shape))
    found: Expr = ex.FALSE
    for counts, number in ((layer.positive, np.inf), (layer.negative, -np.inf)):
        if counts:
            found = ex.call("or", found, ex.call("equal", x, Float(number)))
    return low.map(inputs, shape, ex.truth(found), "bool")


def reference_cast(layer: Cast, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape) -> Array:
    x = inputs[0]
    if layer.to == "bool":
        return np.asarray(x != 0, x.dtype)
    return np.asarray(np.trunc(x)) if layer.to in ("int32", "int64", "uint8") else x


def lower_cast(low: Lowering, layer: Cast, inputs: list[str], shape: Shape) -> str:
    source = low.values[inputs[0]].dtype
    target: ElementType = "int32" if layer.to == "int64" else layer.to
    if source == target:
        return inputs[0]
    value: Expr = low.identity_load(0, inputs[0], len(shape))
    if target == "bool":
        value = ex.truth(ex.holds(value))
    elif target in ("int32", "uint8") and source not in ("int32", "uint8", "bool"):
        value = ex.call("trunc", value)
    return low.map(inputs, shape, value, target)


def reference_prelu(
    layer: PRelu, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    slope = weights["weight"]
    if layer.shape is None:
        slope = slope.reshape((1, -1) + (1,) * (len(shape) - 2)) if len(shape) > 1 else slope
    return np.asarray(FUNCTIONS["prelu"].numpy(inputs[0], slope))


def lower_prelu(low: Lowering, layer: PRelu, inputs: list[str], shape: Shape) -> str:
    weight = low.parameter("weight", dtype="float32")
    value = low.identity_load(0, inputs[0], len(shape))
    slope = Load(1, (Int(0) if layer.shared else Coord(1),))
    if layer.shape is not None:
        slope = low.identity_load(1, weight, len(shape))
    return low.map([inputs[0], weight], shape, ex.call("prelu", value, slope))


def reference_identity(
    layer: Identity, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return inputs[0]


def lower_identity(low: Lowering, layer: Identity, inputs: list[str], shape: Shape) -> str:
    return inputs[0]


RULES = {
    **{op: OpRules(reference_function, lower_function) for op in FUNCTION_OPS},
    "reciprocal": OpRules(reference_reciprocal, lower_reciprocal),
    "is_nan": OpRules(reference_is_nan, lower_is_nan),
    "is_inf": OpRules(reference_is_inf, lower_is_inf),
    "cast": OpRules(reference_cast, lower_cast),
    "prelu": OpRules(reference_prelu, lower_prelu),
    "identity": OpRules(reference_identity, lower_identity),
}
