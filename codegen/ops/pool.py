"""max_pool2d, avg_pool2d, global_avg_pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen.graph import Array, Pool, Shape
from cnngen.codegen.interpret import pool
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops import AvgPool2d, GlobalAvgPool, MaxPool2d

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def _window(layer: MaxPool2d | AvgPool2d, x: Shape) -> Pool:
    if isinstance(layer, MaxPool2d):
        return Pool("max", layer.kernel, layer.stride, layer.pads(x), layer.dilation)
    return Pool("avg", layer.kernel, layer.stride, layer.pads(x), (1, 1), layer.count_include_pad)


def reference_pool(
    layer: MaxPool2d | AvgPool2d, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return pool(inputs[0], _window(layer, inputs[0].shape), shape)


def lower_pool(low: Lowering, layer: MaxPool2d | AvgPool2d, inputs: list[str], shape: Shape) -> str:
    return low.emit(_window(layer, low.shape(inputs[0])), [low.channels_last(inputs[0])], shape)


def reference_global(
    layer: GlobalAvgPool, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return np.asarray(inputs[0].mean(axis=tuple(range(2, inputs[0].ndim)))).reshape(shape)


def lower_global(low: Lowering, layer: GlobalAvgPool, inputs: list[str], shape: Shape) -> str:
    return low.reshape(low.reduce("mean", inputs[0], range(2, len(low.shape(inputs[0])))), shape)


RULES = {
    "max_pool2d": OpRules(reference_pool, lower_pool),
    "avg_pool2d": OpRules(reference_pool, lower_pool),
    "global_avg_pool": OpRules(reference_global, lower_global),
}
