"""Operations for one hand-written network on the CPU: each as C++ text, and what it is to give by its definition.

An operation reads a port and writes one; kernels of the network's own copy between the ports and the arena.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import erf
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Step = tuple[str, ...]  # of an epilogue: its function and its numbers


def _erf(x: Array) -> Array:
    return np.vectorize(erf)(x)  # type: ignore[no-any-return]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# What each function of cnngen/operation.hpp that has no operand is to give.
FUNCTIONS: dict[str, Callable[..., Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "clip": np.clip,
    "leaky_relu": lambda x, slope: np.where(x < 0, x * slope, x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "elu": lambda x, alpha: np.where(x < 0, alpha * np.expm1(x), x),
    "gelu": lambda x: x * 0.5 * (1 + _erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "softplus": lambda x: np.logaddexp(0, x),
    "silu": lambda x: x * _sigmoid(x),
    "hard_sigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
}


@dataclass(frozen=True)
class Operation:
    """A convolution (kind "conv"), or a product: "matmul", or "batch_matmul" of two inputs.

    Extents are of one item but for batch_matmul's, whose items are its matrices. `steps`: names of FUNCTIONS with their
    numbers, or bias, scale, residual, gate (the last two: an input added or multiplied).
    """

    name: str
    kind: str = "conv"
    c: int = 8
    k: int = 16
    h: int = 9
    w: int = 7
    r: int = 3
    s: int = 3
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    steps: tuple[tuple[Any, ...], ...] = ()
    dtype: str = "float32"
    in_place: bool = False  # the residual lies where the result is to lie
    weights: dict[str, Array] = field(default_factory=dict, compare=False)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Of the input x, one item, as it lies in memory."""
        if self.kind == "conv":
            return (self.h, self.w, self.c)
        return (self.c,) if self.kind == "matmul" else (self.h, self.c)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Of the result, likewise."""
        if self.kind != "conv":
            return (self.k,) if self.kind == "matmul" else (self.h, self.k)
        top, left, bottom, right = self.pad
        oh = (self.h + top + bottom - (self.r - 1) * self.dilation[0] - 1) // self.stride[0] + 1
        ow = (self.w + left + right - (self.s - 1) * self.dilation[1] - 1) // self.stride[1] + 1
        return (oh, ow, self.k)

    def inputs(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of each input: x, the other matrices, and what the steps add or multiply."""
        yield f"{self.name}_x", self.x_shape
        if self.kind == "batch_matmul":
            yield f"{self.name}_w", (self.c, self.k)
        for step in self.steps:
            if step[0] in ("residual", "gate"):
                yield f"{self.name}_{step[0]}", self.y_shape

    def draw(self, draw: np.random.Generator) -> None:
        """Makes the weights, rounded to the operation's type."""
        if self.kind == "conv":
            shape: tuple[int, ...] = (self.k, self.r, self.s, self.c // self.groups)
            self.weights["w"] = draw.normal(0, np.prod(shape[1:]) ** -0.5, shape)
        elif self.kind == "matmul":
            self.weights["w"] = draw.normal(0, self.c**-0.5, (self.k, self.c))
        for step in self.steps:
            if step[0] in ("bias", "scale"):
                self.weights[step[0]] = draw.normal(0, 1, self.k)
        for name, values in self.weights.items():
            self.weights[name] = rounded(values, self.dtype)

    def expected(self, given: dict[str, Array]) -> Array:
        """By the definition, in float64. `given`: every input with the batch first."""
        x = rounded(given[f"{self.name}_x"], self.dtype)
        if self.kind == "conv":
            y = self._convolved(x)
        elif self.kind == "matmul":
            y = x @ self.weights["w"].T
        else:
            y = x @ rounded(given[f"{self.name}_w"], self.dtype)
        for name, *numbers in self.steps:
            if name in ("bias", "scale"):
                y = y + self.weights[name] if name == "bias" else y * self.weights[name]
            elif name in ("residual", "gate"):
                operand = rounded(given[f"{self.name}_{name}"], self.dtype)
                y = y + operand if name == "residual" else y * operand
            else:
                y = FUNCTIONS[name](y, *numbers)
        return y

    def _convolved(self, x: Array) -> Array:
        top, left, bottom, right = self.pad
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        oh, ow, _ = self.y_shape
        y = np.zeros((len(x), oh, ow, self.k))
        c, k = self.c // self.groups, self.k // self.groups
        for group in range(self.groups):
            of, to = slice(group * c, group * c + c), slice(group * k, group * k + k)
            for r in range(self.r):
                for s in range(self.s):
                    h, w = r * self.dilation[0], s * self.dilation[1]
                    part = x[:, h : h + oh * self.stride[0] : self.stride[0]]
                    part = part[:, :oh, w : w + ow * self.stride[1] : self.stride[1]][:, :, :ow, of]
                    y[..., to] += np.einsum("nhwc,kc->nhwk", part, self.weights["w"][to, r, s])
        return y


def rounded(values: Array, dtype: str) -> Array:
    """As the type stores them, in float64."""
    single = values.astype(np.float32)
    if dtype == "bfloat16":
        bits = single.view(np.uint32).astype(np.uint64)
        kept = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        single = kept.astype(np.uint32).view(np.float32)
    return single.astype(np.float64)


def stored(values: Array, dtype: str) -> bytes:
    """The bytes of values that are already rounded."""
    single = values.astype(np.float32)
    if dtype == "bfloat16":
        return (single.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return single.tobytes()


RELU: tuple[tuple[Any, ...], ...] = (("bias",), ("relu",))
EVERY_OPERATION = (
    Operation("plain"),
    Operation("wide", c=64, k=96, h=14, w=14, pad=(1, 1, 1, 1), steps=RELU),
    Operation("stem", c=3, k=32, h=33, w=31, r=7, s=7, stride=(2, 2), pad=(3, 3, 3, 3), steps=RELU),
    Operation("pointwise", c=40, k=24, r=1, s=1, steps=RELU),
    Operation("strided_pointwise", c=40, k=24, h=10, w=12, r=1, s=1, stride=(2, 3), steps=RELU),
    Operation("asymmetric", h=12, w=10, r=5, s=2, stride=(2, 1), pad=(0, 1, 3, 0), steps=RELU),
    Operation("dilated", h=13, w=15, dilation=(2, 3), pad=(2, 3, 2, 3), steps=RELU),
    Operation("odd", c=5, k=7, pad=(1, 1, 1, 1), steps=RELU),
    Operation("grouped", c=24, k=48, groups=3, pad=(1, 1, 1, 1), steps=RELU),
    Operation("odd_groups", c=6, k=10, groups=2, pad=(1, 0, 1, 0), steps=RELU),
    Operation("depthwise", c=32, k=32, groups=32, pad=(1, 1, 1, 1), steps=(("bias",), ("clip", 0, 6))),
    Operation("strided_depthwise", c=20, k=20, groups=20, h=15, r=5, s=5, stride=(2, 2), pad=(2, 2, 2, 2)),
    Operation("line", h=1, w=50, r=1, s=9, pad=(0, 4, 0, 4), steps=RELU),
    Operation("scaled", steps=(("scale",), ("bias",), ("relu",))),
    Operation("late_bias", steps=(("relu",), ("bias",), ("scale",))),
    Operation("residual", c=16, k=16, pad=(1, 1, 1, 1), steps=(("bias",), ("residual",), ("relu",))),
    Operation(
        "summed", c=16, k=16, pad=(1, 1, 1, 1), steps=(("bias",), ("residual",), ("relu",)), in_place=True
    ),
    Operation("gated", steps=(("bias",), ("sigmoid",), ("gate",))),
    *(
        Operation(name, r=1, s=1, steps=(("bias",), (name, *numbers)))
        for name, numbers in {
            "clip": (-0.5, 0.75),
            "leaky_relu": (0.1,),
            "sigmoid": (),
            "tanh": (),
            "elu": (0.7,),
            "gelu": (),
            "gelu_tanh": (),
            "softplus": (),
            "silu": (),
            "hard_sigmoid": (0.2, 0.4),
            "hard_swish": (),
        }.items()
    ),
    Operation("classes", "matmul", c=130, k=70, steps=(("bias",), ("relu",))),
    Operation("mixed", "matmul", c=33, k=17, steps=(("bias",), ("scale",), ("residual",), ("silu",))),
    Operation("attention", "batch_matmul", h=6, c=20, k=11, steps=(("residual",), ("gelu",))),
    Operation(
        "half", c=32, k=32, pad=(1, 1, 1, 1), steps=(("bias",), ("residual",), ("relu",)), dtype="bfloat16"
    ),
    Operation("half_depthwise", c=32, k=32, groups=32, pad=(1, 1, 1, 1), steps=RELU, dtype="bfloat16"),
    Operation("half_classes", "matmul", c=128, k=40, steps=(("bias",), ("tanh",)), dtype="bfloat16"),
)
