"""Every function that a pointwise expression may call: its meaning in numpy and its spelling in C++.

Activations follow ONNX's definitions; the C++ ones live in `include/cnngen/cuda/kernels/functions.cuh`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["int", "bool", "float"]


@dataclass(frozen=True, slots=True)
class Function:
    """One function: in numpy, what it gives, and its C++ spelling."""

    numpy: Callable[..., Any]  # of numbers and arrays, broadcasting
    result: Kind = "float"
    infix: str | None = None  # the C++ operator, where there is one
    cpp: str | None = None  # the C++ function, where it is not cnngen::fn::<name>


def _erf(x: Any) -> Any:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _sigmoid(x: Any) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _softplus(x: Any) -> Any:
    return np.logaddexp(x, 0.0)


def _hard_sigmoid(x: Any, alpha: Any, beta: Any) -> Any:
    return np.clip(alpha * x + beta, 0.0, 1.0)


FUNCTIONS: dict[str, Function] = {
    # indices
    "iadd": Function(lambda a, b: a + b, "int", "+"),
    "isub": Function(lambda a, b: a - b, "int", "-"),
    "imul": Function(lambda a, b: a * b, "int", "*"),
    "idiv": Function(lambda a, b: a // b, "int", "/"),  # of a number that is not negative
    "imod": Function(lambda a, b: a % b, "int", "%"),
    "imin": Function(np.minimum, "int", cpp="min"),
    "imax": Function(np.maximum, "int", cpp="max"),
    "to_int": Function(lambda a: np.floor(a).astype(np.int64), "int", cpp="static_cast<int>"),  # not negative
    "to_float": Function(lambda a: np.asarray(a, np.float64), cpp="static_cast<float>"),
    # conditions
    "true": Function(lambda: True, "bool"),
    "false": Function(lambda: False, "bool"),
    "lt": Function(np.less, "bool", "<"),
    "ge": Function(np.greater_equal, "bool", ">="),
    "and": Function(np.logical_and, "bool", "&&"),
    "select": Function(np.where),
    # arithmetic
    "add": Function(lambda a, b: a + b, infix="+"),
    "sub": Function(lambda a, b: a - b, infix="-"),
    "mul": Function(lambda a, b: a * b, infix="*"),
    "div": Function(lambda a, b: a / b, infix="/"),
    "min": Function(np.minimum),
    "max": Function(np.maximum),
    # activations
    "relu": Function(lambda x: np.maximum(x, 0)),
    "clip": Function(np.clip),
    "leaky_relu": Function(lambda x, slope: np.where(x < 0, slope * x, x)),
    "prelu": Function(lambda x, slope: np.where(x < 0, slope * x, x)),
    "sigmoid": Function(_sigmoid),
    "tanh": Function(np.tanh),
    "elu": Function(lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)),
    "gelu": Function(lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))),
    "gelu_tanh": Function(lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    "softplus": Function(_softplus),
    "silu": Function(lambda x: x * _sigmoid(x)),
    "hard_sigmoid": Function(_hard_sigmoid),
    "hard_swish": Function(lambda x: x * _hard_sigmoid(x, 1 / 6, 0.5)),
    "mish": Function(lambda x: x * np.tanh(_softplus(x))),
}
