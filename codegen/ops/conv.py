"""conv2d and linear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import ACC, Coord, Expr, Load
from cnngen.codegen.graph import Array, Conv, Layout, MatMul, Shape
from cnngen.codegen.interpret import convolve
from cnngen.codegen.ops.activation import lower_activation, reference_activation
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops import Conv2d, Linear

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def _geometry(layer: Conv2d, x: Shape, tf32: bool = False) -> Conv:
    return Conv(layer.stride, layer.pads(x), layer.dilation, layer.groups, tf32)


def reference_conv2d(
    layer: Conv2d, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    y = convolve(inputs[0], weights["weight"], _geometry(layer, inputs[0].shape), shape)
    if "bias" in weights:
        y = y + weights["bias"].reshape(1, -1, 1, 1)
    return reference_activation(layer.activation, y, weights)


def lower_conv2d(low: Lowering, layer: Conv2d, inputs: list[str], shape: Shape) -> str:
    op = _geometry(layer, low.shape(inputs[0]), low.precision.tf32)
    operands, epilogue = _with_bias(low, [low.channels_last(inputs[0]), low.parameter("weight")], 1)
    return lower_activation(low, layer.activation, low.emit(op, operands, shape, epilogue))


def _with_bias(low: Lowering, operands: list[str], channel_axis: int) -> tuple[list[str], Expr]:
    """The operands and the epilogue of a layer that may have a bias."""
    if "bias" not in low.parameters:
        return operands, ACC
    return [*operands, low.parameter("bias")], ex.call("add", ACC, Load(2, (Coord(channel_axis),)))


def reference_linear(
    layer: Linear, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    y = np.asarray(inputs[0] @ weights["weight"].T)
    if "bias" in weights:
        y = y + weights["bias"]
    return reference_activation(layer.activation, y, weights)


def lower_linear(low: Lowering, layer: Linear, inputs: list[str], shape: Shape) -> str:
    operands, epilogue = _with_bias(low, [low.row_major(inputs[0]), low.parameter("weight")], len(shape) - 1)
    layout: Layout = "NCHW" if len(shape) == 4 else "packed"
    result = low.emit(MatMul(low.precision.tf32), operands, shape, epilogue, layout=layout)
    return lower_activation(low, layer.activation, result)


RULES = {
    "conv2d": OpRules(reference_conv2d, lower_conv2d),
    "linear": OpRules(reference_linear, lower_linear),
}
