"""conv1d, conv2d."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import ACC, Coord, Expr, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.interpret import convolve
from cnngen.codegen.node_ops import Conv
from cnngen.codegen.ops.activation import lower_activation, reference_activation
from cnngen.codegen.ops.registry import OpRules
from cnngen.codegen.ops.spatial import flat, image, pair, plane, sides
from cnngen.spec.ops.conv import Convolution

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def _geometry(layer: Convolution, x: Shape, tf32: bool = False) -> Conv:
    return Conv(pair(layer.stride), sides(layer.pads(x)), pair(layer.dilation), layer.groups, tf32)


def reference_conv(
    layer: Convolution, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    geometry = _geometry(layer, inputs[0].shape)
    y = convolve(flat(inputs[0]), flat(weights["weight"]), geometry, plane(shape))
    if "bias" in weights:
        y = y + weights["bias"].reshape(1, -1, 1, 1)
    return reference_activation(layer.activation, y, weights).reshape(shape)


def lower_conv(low: Lowering, layer: Convolution, inputs: list[str], shape: Shape) -> str:
    op = _geometry(layer, low.shape(inputs[0]), low.precision.tf32)
    operands, epilogue = with_bias(low, [image(low, inputs[0]), low.parameter("weight", plane)], 1)
    y = lower_activation(low, layer.activation, low.emit(op, operands, plane(shape), epilogue))
    return low.reshape(y, shape)


def with_bias(low: Lowering, operands: list[str], channel_axis: int) -> tuple[list[str], Expr]:
    """The operands and the epilogue of a layer that may have a bias."""
    if "bias" not in low.parameters:
        return operands, ACC
    return [*operands, low.parameter("bias")], ex.call("add", ACC, Load(2, (Coord(channel_axis),)))


RULES = {op: OpRules(reference_conv, lower_conv) for op in ("conv1d", "conv2d")}
