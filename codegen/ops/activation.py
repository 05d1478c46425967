"""Activations: as layers of their own and as the `activation:` field of conv2d and linear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Float
from cnngen.codegen.functions import FUNCTIONS
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops import Activation

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
    "softplus": lambda a: ("softplus", ()) if a.beta == 1 else ("scaled_softplus", (a.beta,)),
    "silu": lambda a: ("silu", ()),
    "hard_sigmoid": lambda a: ("hard_sigmoid", (a.alpha, a.beta)),
    "hard_swish": lambda a: ("hard_swish", ()),
    "mish": lambda a: ("mish", ()),
    "selu": lambda a: ("selu", (a.alpha, a.gamma)),
    "celu": lambda a: ("celu", (a.alpha,)),
    "softsign": lambda a: ("softsign", ()),
    "thresholded_relu": lambda a: ("thresholded_relu", (a.alpha,)),
    "shrink": lambda a: ("shrink", (a.bias, a.lambd)),
    "swish": lambda a: ("silu", ()) if a.alpha == 1 else ("swish", (a.alpha,)),
}


def reference_activation(activation: Activation | None, x: Array, weights: Mapping[str, Array]) -> Array:
    if activation is None:
        return x
    function, arguments = CALLS[activation.op](activation)
    with np.errstate(all="ignore"):
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


RULES = {op: OpRules(_reference, _lower) for op in CALLS}
