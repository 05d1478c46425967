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


def _elu(x: Any, alpha: Any) -> Any:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def _shrink(x: Any, bias: Any, lambd: Any) -> Any:
    return np.where(x < -lambd, x + bias, np.where(x <= lambd, 0.0, x - bias))


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
    "iabs": Function(np.abs, "int", cpp="abs"),
    "to_int": Function(lambda a: np.trunc(a).astype(np.int64), "int", cpp="static_cast<int>"),  # not negative
    "to_float": Function(lambda a: np.asarray(a, np.float64), cpp="static_cast<float>"),
    # conditions: lt and ge of indices, the others of data, where a NaN meets none but not_equal
    "true": Function(lambda: True, "bool"),
    "false": Function(lambda: False, "bool"),
    "lt": Function(np.less, "bool", "<"),
    "ge": Function(np.greater_equal, "bool", ">="),
    "less": Function(np.less, "bool", "<"),
    "less_equal": Function(np.less_equal, "bool", "<="),
    "equal": Function(np.equal, "bool", "=="),
    "not_equal": Function(np.not_equal, "bool", "!="),
    "is_nan": Function(np.isnan, "bool"),
    "not": Function(np.logical_not, "bool", cpp="!"),
    "and": Function(np.logical_and, "bool", "&&"),
    "or": Function(np.logical_or, "bool", "||"),
    "xor": Function(np.logical_xor, "bool", "!="),
    "select": Function(np.where),
    # arithmetic
    "add": Function(lambda a, b: a + b, infix="+"),
    "sub": Function(lambda a, b: a - b, infix="-"),
    "mul": Function(lambda a, b: a * b, infix="*"),
    "div": Function(np.divide, infix="/"),
    "min": Function(np.minimum),
    "max": Function(np.maximum),
    "pow": Function(lambda a, b: np.power(np.asarray(a, np.float64), b)),
    "mod": Function(np.mod),  # with the divisor's sign
    "fmod": Function(np.fmod),  # with the dividend's
    # functions of a number
    "neg": Function(np.negative, cpp="-"),
    "abs": Function(np.abs),
    "sign": Function(np.sign),
    "sqrt": Function(np.sqrt),
    "rsqrt": Function(lambda x: 1.0 / np.sqrt(x)),
    "exp": Function(np.exp),
    "log": Function(np.log),
    "floor": Function(np.floor),
    "ceil": Function(np.ceil),
    "round": Function(np.rint),  # halves to even
    "trunc": Function(np.trunc),
    "erf": Function(_erf),
    "sin": Function(np.sin),
    "cos": Function(np.cos),
    "tan": Function(np.tan),
    "asin": Function(np.arcsin),
    "acos": Function(np.arccos),
    "atan": Function(np.arctan),
    "sinh": Function(np.sinh),
    "cosh": Function(np.cosh),
    "asinh": Function(np.arcsinh),
    "acosh": Function(np.arccosh),
    "atanh": Function(np.arctanh),
    # activations
    "relu": Function(lambda x: np.maximum(x, 0)),
    "clip": Function(np.clip),
    "leaky_relu": Function(lambda x, slope: np.where(x < 0, slope * x, x)),
    "prelu": Function(lambda x, slope: np.where(x < 0, slope * x, x)),
    "sigmoid": Function(_sigmoid),
    "tanh": Function(np.tanh),
    "elu": Function(_elu),
    "celu": Function(lambda x, alpha: _elu(x / alpha, 1.0) * alpha),
    "selu": Function(lambda x, alpha, gamma: gamma * _elu(x, alpha)),
    "gelu": Function(lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))),
    "gelu_tanh": Function(lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    "softplus": Function(_softplus),
    "scaled_softplus": Function(lambda x, beta: _softplus(beta * x) / beta),
    "softsign": Function(lambda x: x / (1.0 + np.abs(x))),
    "thresholded_relu": Function(lambda x, alpha: np.where(x <= alpha, 0.0, x)),
    "shrink": Function(_shrink),
    "silu": Function(lambda x: x * _sigmoid(x)),
    "swish": Function(lambda x, alpha: x * _sigmoid(alpha * x)),
    "hard_sigmoid": Function(_hard_sigmoid),
    "hard_swish": Function(lambda x: x * _hard_sigmoid(x, 1 / 6, 0.5)),
    "mish": Function(lambda x: x * np.tanh(_softplus(x))),
}
