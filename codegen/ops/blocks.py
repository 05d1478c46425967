"""depth_to_space, space_to_depth, channel_shuffle, unfold2d: channels and pixels change places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.moves import move
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops.blocks import ChannelShuffle, DepthToSpace, SpaceToDepth, Unfold2d

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering

N, C, H, W = (Coord(axis) for axis in range(4))


def _div(a: Expr, b: int) -> Expr:
    return ex.call("idiv", a, Int(b))


def _mod(a: Expr, b: int) -> Expr:
    return ex.call("imod", a, Int(b))


def _join(high: Expr, extent: int, low: Expr) -> Expr:
    """`high * extent + low`."""
    return ex.call("iadd", ex.call("imul", high, Int(extent)), low)


def reference_depth_to_space(
    layer: DepthToSpace, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    n, c, h, w = inputs[0].shape
    b = layer.block
    if layer.mode == "dcr":
        split = inputs[0].reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        split = inputs[0].reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return np.asarray(split.reshape(shape))


def lower_depth_to_space(low: Lowering, layer: DepthToSpace, inputs: list[str], shape: Shape) -> str:
    b, channels = layer.block, shape[1]
    in_block = _join(_mod(H, b), b, _mod(W, b))
    channel = _join(in_block, channels, C) if layer.mode == "dcr" else _join(C, b * b, in_block)
    return move(low, inputs, shape, Load(0, (N, channel, _div(H, b), _div(W, b))))


def reference_space_to_depth(
    layer: SpaceToDepth, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    n, c, h, w = inputs[0].shape
    b = layer.block
    split = inputs[0].reshape(n, c, h // b, b, w // b, b)
    order = (0, 3, 5, 1, 2, 4) if layer.mode == "dcr" else (0, 1, 3, 5, 2, 4)
    return np.asarray(split.transpose(order).reshape(shape))


def lower_space_to_depth(low: Lowering, layer: SpaceToDepth, inputs: list[str], shape: Shape) -> str:
    b, channels = layer.block, low.shape(inputs[0])[1]
    in_block = _div(C, channels) if layer.mode == "dcr" else _mod(C, b * b)
    channel = _mod(C, channels) if layer.mode == "dcr" else _div(C, b * b)
    row, column = _join(H, b, _div(in_block, b)), _join(W, b, _mod(in_block, b))
    return move(low, inputs, shape, Load(0, (N, channel, row, column)))


def reference_channel_shuffle(
    layer: ChannelShuffle, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    n, c, *rest = shape
    table = inputs[0].reshape(n, layer.groups, c // layer.groups, *rest)
    return np.asarray(table.swapaxes(1, 2).reshape(shape))


def lower_channel_shuffle(low: Lowering, layer: ChannelShuffle, inputs: list[str], shape: Shape) -> str:
    groups = layer.groups
    index = [*ex.coords(len(shape))]
    index[1] = _join(_mod(C, groups), shape[1] // groups, _div(C, groups))
    return move(low, inputs, shape, Load(0, tuple(index)))


def reference_unfold2d(
    layer: Unfold2d, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    n, c, _, _ = inputs[0].shape
    top, left, bottom, right = layer.pads(inputs[0].shape)
    down, across = layer.windows(inputs[0].shape)
    padded = np.pad(inputs[0], ((0, 0), (0, 0), (top, bottom), (left, right)))
    y = np.empty((n, c, *layer.kernel, down, across), padded.dtype)
    for i in range(layer.kernel[0]):
        for j in range(layer.kernel[1]):
            rows = i * layer.dilation[0] + np.arange(down) * layer.stride[0]
            columns = j * layer.dilation[1] + np.arange(across) * layer.stride[1]
            y[:, :, i, j] = padded[:, :, rows][:, :, :, columns]
    return y.reshape(shape)


def lower_unfold2d(low: Lowering, layer: Unfold2d, inputs: list[str], shape: Shape) -> str:
    source = low.shape(inputs[0])
    pads, (_, across) = layer.pads(source), layer.windows(source)
    channel, tap, window = _div(C, layer.kernel[0] * layer.kernel[1]), C, Coord(2)
    taps = (_mod(_div(tap, layer.kernel[1]), layer.kernel[0]), _mod(tap, layer.kernel[1]))
    places: list[Expr] = []
    inside: Expr = ex.TRUE
    for axis, (first, tap_along) in enumerate(
        zip((_div(window, across), _mod(window, across)), taps, strict=True)
    ):
        offset = ex.call("imul", tap_along, Int(layer.dilation[axis]))
        place = ex.call("iadd", ex.call("imul", first, Int(layer.stride[axis])), offset)
        place = ex.call("iadd", place, Int(-pads[axis]))
        if pads[axis]:
            inside = ex.call("and", inside, ex.call("ge", place, Int(0)))
        if pads[axis + 2]:
            inside = ex.call("and", inside, ex.call("lt", place, Int(source[axis + 2])))
        places.append(place)
    return move(low, inputs, shape, ex.select(inside, Load(0, (N, channel, *places)), Float(0.0)))


RULES = {
    "depth_to_space": OpRules(reference_depth_to_space, lower_depth_to_space),
    "space_to_depth": OpRules(reference_space_to_depth, lower_space_to_depth),
    "channel_shuffle": OpRules(reference_channel_shuffle, lower_channel_shuffle),
    "unfold2d": OpRules(reference_unfold2d, lower_unfold2d),
}
