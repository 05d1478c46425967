"""batch_norm at inference, and the norms by an input's own statistics, which are taken and kept in float32."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.node_ops import Affine
from cnngen.codegen.ops.powers import lower_powers, reference_norm, root
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops.norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LpNorm, Lrn, RmsNorm

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering

Weights = Mapping[str, Array]


# --- batch_norm: a scale and a shift a channel -----------------------------------------------------------------------


def _scale_and_shift(layer: BatchNorm, weights: Weights) -> tuple[Array, Array]:
    """Y = x * scale + shift, from the running statistics (in float64)."""
    mean, variance = (np.asarray(weights[role], np.float64) for role in ("running_mean", "running_var"))
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if "weight" in weights:
        scale = scale * weights["weight"]
    shift = -mean * scale
    if "bias" in weights:
        shift = shift + weights["bias"]
    return scale, shift


def _by_channel(array: Array, rank: int) -> Array:
    return array.reshape((1, -1) + (1,) * (rank - 2))


def reference_batch_norm(layer: BatchNorm, inputs: Sequence[Array], weights: Weights, shape: Shape) -> Array:
    scale, shift = _scale_and_shift(layer, weights)
    return np.asarray(inputs[0] * _by_channel(scale, len(shape)) + _by_channel(shift, len(shape)))


def lower_batch_norm(low: Lowering, layer: BatchNorm, inputs: list[str], shape: Shape) -> str:
    scale, shift = _scale_and_shift(layer, {role: low.weight(role) for role in low.parameters})
    names = [
        low.constant(f"{low.layer}.{part}", array, "float32")
        for part, array in (("scale", scale), ("shift", shift))
    ]
    x = low.floats(inputs[0])
    return low.emit(Affine(), [x, *names], shape, layout=low.values[x].layout)


# --- norms by the mean and variance of the input ---------------------------------------------------------------------


def _normalised(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return np.asarray((x - mean) / np.sqrt(variance + epsilon))


def _affine(y: Array, weights: Weights, rank: int) -> Array:
    """Times weight, plus bias, each of `rank` axes in front of which others may stand."""
    if "weight" in weights:
        y = y * weights["weight"].reshape((-1,) + (1,) * (rank - 1))
    if "bias" in weights:
        y = y + weights["bias"].reshape((-1,) + (1,) * (rank - 1))
    return y


def reference_instance_norm(
    layer: InstanceNorm, inputs: Sequence[Array], weights: Weights, shape: Shape
) -> Array:
    y = _normalised(inputs[0], tuple(range(2, len(shape))), layer.epsilon)
    return _affine(y, weights, len(shape) - 1)


def reference_group_norm(layer: GroupNorm, inputs: Sequence[Array], weights: Weights, shape: Shape) -> Array:
    groups = inputs[0].reshape(shape[0], layer.groups, -1)
    return _affine(_normalised(groups, (2,), layer.epsilon).reshape(shape), weights, len(shape) - 1)


def reference_layer_norm(layer: LayerNorm, inputs: Sequence[Array], weights: Weights, shape: Shape) -> Array:
    y = _normalised(inputs[0], _from(layer.axis, shape), layer.epsilon)
    return np.asarray(y * weights.get("weight", 1.0) + weights.get("bias", 0.0))


def reference_rms_norm(layer: RmsNorm, inputs: Sequence[Array], weights: Weights, shape: Shape) -> Array:
    square = (inputs[0] ** 2).mean(axis=_from(layer.axis, shape), keepdims=True)
    return np.asarray(inputs[0] / np.sqrt(square + layer.epsilon) * weights.get("weight", 1.0))


def _from(axis: int, shape: Shape) -> tuple[int, ...]:
    """The axes from `axis` on."""
    return tuple(range(axis % len(shape), len(shape)))


def _statistics(low: Lowering, x: str, axes: Iterable[int]) -> tuple[str, str]:
    """Mean and variance over axes, which stay with size 1."""
    axes = tuple(axes)
    return low.reduce("mean", x, axes, "float32"), low.reduce("variance", x, axes, "float32")


def _deviation(x: Expr, mean: Expr, variance: Expr, epsilon: float) -> Expr:
    """(x - mean) / sqrt(variance + epsilon)."""
    scale = ex.call("rsqrt", ex.call("add", variance, Float(epsilon)))
    return ex.call("mul", ex.call("sub", x, mean), scale)


def _lower_affine(low: Lowering, names: list[str], y: Expr, *, by_channel: bool) -> str:
    """`y`, an expression of `names` of the first one's shape, times weight and plus bias, where there are such."""
    shape = low.shape(names[0])
    for role, function in (("weight", "mul"), ("bias", "add")):
        if role in low.parameters:
            name = low.parameter(role, dtype="float32")
            place = Load(len(names), (Coord(1),))
            load = place if by_channel else low.identity_load(len(names), name, len(shape))
            y = ex.call(function, y, load)
            names = [*names, name]
    return low.map(names, shape, y)


def lower_instance_norm(low: Lowering, layer: InstanceNorm, inputs: list[str], shape: Shape) -> str:
    x = low.floats(inputs[0])
    return _lower_over(low, x, tuple(range(2, len(shape))), layer.epsilon, by_channel=True)


def lower_layer_norm(low: Lowering, layer: LayerNorm, inputs: list[str], shape: Shape) -> str:
    x = low.floats(inputs[0])
    return _lower_over(low, x, _from(layer.axis, shape), layer.epsilon, by_channel=False)


def _lower_over(low: Lowering, x: str, axes: tuple[int, ...], epsilon: float, *, by_channel: bool) -> str:
    names = [x, *_statistics(low, x, axes)]
    here, mean, variance = (low.identity_load(i, name, len(low.shape(x))) for i, name in enumerate(names))
    return _lower_affine(low, names, _deviation(here, mean, variance, epsilon), by_channel=by_channel)


def lower_group_norm(low: Lowering, layer: GroupNorm, inputs: list[str], shape: Shape) -> str:
    """The statistics of each channel first, of which those of a group are made: x may lie in memory as it does."""
    x = low.floats(inputs[0])
    members = shape[1] // layer.groups
    grouped = (shape[0], layer.groups, members)
    if len(shape) == 2:
        mean, variance = _statistics(low, low.reshape(x, grouped), (2,))
    else:
        means, variances = (low.reshape(part, grouped) for part in _statistics(low, x, range(2, len(shape))))
        mean = low.reduce("mean", means, (2,), "float32")
        own, group, within = (
            low.identity_load(i, name, 3) for i, name in enumerate((means, mean, variances))
        )
        distance = ex.call("sub", own, group)
        spread = ex.call("add", within, ex.call("mul", distance, distance))
        spreads = low.map([means, mean, variances], grouped, spread, dtype="float32")
        variance = low.reduce("mean", spreads, (2,), "float32")
    place = (Coord(0), ex.call("idiv", Coord(1), Int(members)), Int(0))
    y = _deviation(low.here(low.values[x]), Load(1, place), Load(2, place), layer.epsilon)
    return _lower_affine(low, [x, mean, variance], y, by_channel=True)


def lower_rms_norm(low: Lowering, layer: RmsNorm, inputs: list[str], shape: Shape) -> str:
    x, axes = low.floats(inputs[0]), _from(layer.axis, shape)
    total = low.reduce("sum_squares", x, axes, "float32")
    count = math.prod(shape[axis] for axis in axes)
    mean = ex.call("mul", low.identity_load(1, total, len(shape)), Float(1 / count))
    scale = ex.call("rsqrt", ex.call("add", mean, Float(layer.epsilon)))
    y = ex.call("mul", low.here(low.values[x]), scale)
    return _lower_affine(low, [x, total], y, by_channel=False)


# --- norms by sums of powers -----------------------------------------------------------------------------------------


def reference_lp_norm(layer: LpNorm, inputs: Sequence[Array], weights: Weights, shape: Shape) -> Array:
    size = reference_norm(inputs[0], (layer.axis,), layer.p)
    return np.asarray(inputs[0] / np.where(size == 0, 1.0, size))


def lower_lp_norm(low: Lowering, layer: LpNorm, inputs: list[str], shape: Shape) -> str:
    x = low.floats(inputs[0])
    total = lower_powers(low, x, (layer.axis % len(shape),), layer.p)
    size = root(low.identity_load(1, total, len(shape)), layer.p)
    quotient = ex.call("div", low.here(low.values[x]), size)
    return low.map([x, total], shape, ex.select(ex.call("equal", size, Float(0.0)), Float(0.0), quotient))


def _reach(layer: Lrn) -> tuple[int, int]:
    """The channels before and after that are summed with each."""
    return (layer.size - 1) // 2, layer.size // 2


def reference_lrn(layer: Lrn, inputs: Sequence[Array], weights: Weights, shape: Shape) -> Array:
    x, (before, after) = inputs[0], _reach(layer)
    channels = range(shape[1])
    square = np.stack([(x[:, max(0, c - before) : c + after + 1] ** 2).sum(axis=1) for c in channels], axis=1)
    return np.asarray(x / (layer.bias + layer.alpha / layer.size * square) ** layer.beta)


def lower_lrn(low: Lowering, layer: Lrn, inputs: list[str], shape: Shape) -> str:
    x, (before, after) = low.floats(inputs[0]), _reach(layer)
    here = low.here(low.values[x])
    squares: list[Expr] = []
    for step in range(max(-before, 1 - shape[1]), min(after, shape[1] - 1) + 1):
        channel = ex.call("iadd", Coord(1), Int(step))
        element = Load(0, (here.index[0], channel, *here.index[2:])) if step else here
        inside = ex.within(Coord(1), max(0, -step), min(shape[1], shape[1] - step), shape[1])
        squares.append(ex.select(inside, ex.call("mul", element, element), Float(0.0)))
    total = functools.reduce(partial(ex.call, "add"), squares)
    size = ex.call("add", ex.call("mul", total, Float(layer.alpha / layer.size)), Float(layer.bias))
    scale = ex.call("pow", size, Float(-layer.beta))
    return low.map([x], shape, ex.call("mul", here, scale))


RULES = {
    "batch_norm": OpRules(reference_batch_norm, lower_batch_norm),
    "instance_norm": OpRules(reference_instance_norm, lower_instance_norm),
    "group_norm": OpRules(reference_group_norm, lower_group_norm),
    "layer_norm": OpRules(reference_layer_norm, lower_layer_norm),
    "rms_norm": OpRules(reference_rms_norm, lower_rms_norm),
    "lrn": OpRules(reference_lrn, lower_lrn),
    "lp_norm": OpRules(reference_lp_norm, lower_lp_norm),
}
