"""conv_transpose1d, conv_transpose2d: a convolution with stride 1 for all phases, then their pixels interleaved.

Along an axis of stride s the results at r, s + r, 2 s + r, ... are a convolution of their own, of phase r, with every
s-th tap of the filter. Here one convolution over the taps of all phases computes them as channels, [phase, filter],
and a pointwise step puts each where it belongs. Stride 1 has one phase: a convolution with the filter turned round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import ACC, Coord, Expr, Int, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.node_ops import Conv
from cnngen.codegen.ops.activation import lower_activation, reference_activation
from cnngen.codegen.ops.registry import OpRules
from cnngen.codegen.ops.spatial import flat, image, pair, plane, sides
from cnngen.spec.ops.conv import TransposedConvolution

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


@dataclass(frozen=True)
class Axis:
    """How an axis is computed. Result o of the uncropped axis is of phase o % stride, at place o // stride."""

    stride: int  # and so the number of phases
    taps: int  # of the convolution for all phases
    dilation: int  # of these taps
    before: int  # padding of the convolution
    after: int
    outputs: int  # of the convolution: places
    offset: int  # the result's first element in the uncropped axis, less the first place's

    @property
    def reach(self) -> int:
        """How far a window reaches beyond its first element."""
        return (self.taps - 1) * self.dilation


def axis_of(size: int, outputs: int, kernel: int, stride: int, dilation: int, crop: int) -> Axis:
    """The axis of `size` inputs whose results are the `outputs` from `crop` on."""
    reach = (kernel - 1) * dilation // stride
    first = min(crop // stride, reach)  # place
    before = reach - first
    after = max(0, (crop + outputs - 1) // stride + 1 - size)
    taps, step = (kernel, dilation) if stride == 1 else (reach + 1, 1)
    places = size + before + after - reach
    return Axis(stride, taps, step, before, after, places, crop - first * stride)


def _axes(layer: TransposedConvolution, x: Shape, y: Shape) -> tuple[Axis, Axis]:
    top, left, _, _ = sides(layer.padding)
    fields = zip(
        plane(x)[2:],
        plane(y)[2:],
        pair(layer.kernel),
        pair(layer.stride),
        pair(layer.dilation),
        (top, left),
        strict=True,
    )
    rows, columns = (axis_of(*field) for field in fields)
    return rows, columns


def phase_filters(w: Array, groups: int, dilation: tuple[int, int], rows: Axis, columns: Axis) -> Array:
    """The filters of all phases, [group, phase, filter] as one axis, from w (C, K / groups, R, S).

    -> (K * phases, C / groups, rows.taps, columns.taps); a tap that a phase lacks is 0.
    """
    c, per_group, r, s = w.shape
    w = w.reshape(groups, c // groups, per_group, r, s).transpose(0, 2, 1, 3, 4)
    shape = (groups, rows.stride, columns.stride, per_group, c // groups, rows.taps, columns.taps)
    filters = np.zeros(shape, w.dtype)
    for i in range(r):
        row, u = _tap(i, dilation[0], rows)
        for j in range(s):
            column, v = _tap(j, dilation[1], columns)
            filters[:, row, column, :, :, u, v] = w[:, :, :, i, j]
    return filters.reshape(-1, c // groups, rows.taps, columns.taps)


def _tap(tap: int, dilation: int, axis: Axis) -> tuple[int, int]:
    """The phase that a tap of the filter belongs to, and its place among the convolution's taps."""
    phase = tap * dilation % axis.stride
    return phase, (axis.reach - tap * dilation // axis.stride) // axis.dilation


def lower_conv_transpose(low: Lowering, layer: TransposedConvolution, inputs: list[str], shape: Shape) -> str:
    x = image(low, inputs[0])
    rows, columns = _axes(layer, low.shape(inputs[0]), shape)
    phases = rows.stride * columns.stride
    filters = phase_filters(flat(low.weight("weight")), layer.groups, pair(layer.dilation), rows, columns)
    operands = [x, low.constant(f"{low.parameters['weight']}.phases", filters)]
    epilogue: Expr = ACC
    if "bias" in low.parameters:
        grouped = low.weight("bias").reshape(layer.groups, 1, -1)
        bias = np.repeat(grouped, phases, axis=1).reshape(-1)
        operands.append(low.constant(f"{low.parameters['bias']}.phases", bias))
        epilogue = ex.call("add", ACC, Load(2, (Coord(1),)))
    op = Conv(
        (1, 1),
        (rows.before, columns.before, rows.after, columns.after),
        (rows.dilation, columns.dilation),
        layer.groups,
        low.precision.tf32,
    )
    target = plane(shape)
    whole = (target[0], phases * target[1], rows.outputs, columns.outputs)
    y = lower_activation(low, layer.activation, low.emit(op, operands, whole, epilogue))
    if whole != target or rows.offset or columns.offset:
        y = low.map([y], target, _interleaved(layer, rows, columns))
    return low.reshape(y, shape)


def _interleaved(layer: TransposedConvolution, rows: Axis, columns: Axis) -> Load:
    """Each pixel of the result where the convolution over all phases has it."""
    per_group = layer.out_channels // layer.groups
    h, w = ex.call("iadd", Coord(2), Int(rows.offset)), ex.call("iadd", Coord(3), Int(columns.offset))
    phase = ex.call(
        "iadd",
        ex.call("imul", ex.call("imod", h, Int(rows.stride)), Int(columns.stride)),
        ex.call("imod", w, Int(columns.stride)),
    )
    channel: Expr = Coord(1)
    if layer.groups > 1:
        phase = ex.call(
            "iadd",
            ex.call("imul", ex.call("idiv", Coord(1), Int(per_group)), Int(rows.stride * columns.stride)),
            phase,
        )
        channel = ex.call("imod", Coord(1), Int(per_group))
    channel = ex.call("iadd", ex.call("imul", phase, Int(per_group)), channel)
    place = (ex.call("idiv", h, Int(rows.stride)), ex.call("idiv", w, Int(columns.stride)))
    return Load(0, (Coord(0), channel, *place))


def reference_conv_transpose(
    layer: TransposedConvolution, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    x, w, target = flat(inputs[0]), flat(weights["weight"]), plane(shape)
    (n, c, height, width), (_, per_group, r, s) = x.shape, w.shape
    (down, right), (dy, dx) = pair(layer.stride), pair(layer.dilation)
    top, left, _, _ = sides(layer.padding)
    whole = np.zeros(
        (n, target[1], height * down + r * dy + target[2], width * right + s * dx + target[3]), x.dtype
    )
    groups = layer.groups
    x = x.reshape(n, groups, c // groups, height, width)
    w = w.reshape(groups, c // groups, per_group, r, s)
    for i in range(r):
        for j in range(s):
            part = np.einsum("ngchw,gck->ngkhw", x, w[..., i, j]).reshape(n, -1, height, width)
            whole[:, :, i * dy : i * dy + height * down : down, j * dx : j * dx + width * right : right] += (
                part
            )
    y = whole[:, :, top : top + target[2], left : left + target[3]]
    if "bias" in weights:
        y = y + weights["bias"].reshape(1, -1, 1, 1)
    return reference_activation(layer.activation, y, weights).reshape(shape)


RULES = {
    op: OpRules(reference_conv_transpose, lower_conv_transpose)
    for op in ("conv_transpose1d", "conv_transpose2d")
}
