"""Activations: as layers of their own and as the `activation:` field of conv2d and linear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Float, Int, Load
from cnngen.codegen.functions import FUNCTIONS
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops import Activation, Identity, PRelu

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering

INFINITY = float("inf")

# op -> the function and its constant arguments
CALLS: dict[str, Callable[[Any], tuple[str, tuple[float, ...]]]] = {
    "relu": lambda a: ("relu", ()),
    "relu6": lambda a: ("clip", (0.0, 6.0)),
    "clip": lambda a: ("clip", (-INFINITY if a.min is None else a.min, INFINITY if a.max is None else a.max)),
    "leaky_relu": lambda a: ("leaky_relu", (a.slope,)),
    "sigmoid": lambda a: ("sigmoid", ()),
    "tanh": lambda a: ("tanh", ()),
    "elu": lambda a: ("elu", (a.alpha,)),
    "gelu": lambda a: ("gelu_tanh" if a.approximate == "tanh" else "gelu", ()),
    "softplus": lambda a: ("softplus", ()),
    "silu": lambda a: ("silu", ()),
    "hard_sigmoid": lambda a: ("hard_sigmoid", (a.alpha, a.beta)),
    "hard_swish": lambda a: ("hard_swish", ()),
    "mish": lambda a: ("mish", ()),
}


def reference_activation(activation: Activation | None, x: Array, weights: Mapping[str, Array]) -> Array:
    if activation is None:
        return x
    function, arguments = CALLS[activation.op](activation)
    return np.asarray(FUNCTIONS[function].numpy(x, *arguments))


def lower_activation(low: Lowering, activation: Activation | None, x: str) -> str:
    if activation is None:
        return x
    function, arguments = CALLS[activation.op](activation)
    value = low.identity_load(0, x, len(low.shape(x)))
    return low.map([x], low.shape(x), ex.call(function, value, *map(Float, arguments)))


def _reference(
    layer: Activation, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return reference_activation(layer, inputs[0], weights)


def _lower(low: Lowering, layer: Activation, inputs: list[str], shape: Shape) -> str:
    return lower_activation(low, layer, inputs[0])


def reference_prelu(
    layer: PRelu, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    slope = weights["weight"].reshape((1, -1) + (1,) * (inputs[0].ndim - 2))
    return np.asarray(FUNCTIONS["prelu"].numpy(inputs[0], slope))


def lower_prelu(low: Lowering, layer: PRelu, inputs: list[str], shape: Shape) -> str:
    value = low.identity_load(0, inputs[0], len(shape))
    slope = Load(1, (Int(0) if layer.shared else Coord(1),))
    return low.map(
        [inputs[0], low.parameter("weight", dtype="float32")], shape, ex.call("prelu", value, slope)
    )


def reference_identity(
    layer: Identity, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return inputs[0]


def lower_identity(low: Lowering, layer: Identity, inputs: list[str], shape: Shape) -> str:
    return inputs[0]


RULES = {
    **{op: OpRules(_reference, _lower) for op in CALLS},
    "prelu": OpRules(reference_prelu, lower_prelu),
    "identity": OpRules(reference_identity, lower_identity),
}
