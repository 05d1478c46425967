"""softmax, log_softmax and dfl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.node_ops import Softmax as SoftmaxForm
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops.softmax import Dfl, LogSoftmax, Softmax

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def _softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def reference_softmax(
    layer: Softmax, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    return _softmax(inputs[0], layer.axis)


def reference_log_softmax(
    layer: LogSoftmax, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    x = inputs[0] - inputs[0].max(axis=layer.axis, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=layer.axis, keepdims=True)))


def lower_softmax(low: Lowering, layer: Softmax | LogSoftmax, inputs: list[str], shape: Shape) -> str:
    x = low.floats(inputs[0])
    op = SoftmaxForm(layer.axis % len(shape), log=isinstance(layer, LogSoftmax))
    return low.emit(op, [x], shape, layout=low.values[x].layout)


def reference_dfl(layer: Dfl, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape) -> Array:
    bins = inputs[0].reshape(shape[0], shape[1], layer.bins, shape[2])
    return np.asarray(np.einsum("nsba,b->nsa", _softmax(bins, 2), np.arange(layer.bins)))


def lower_dfl(low: Lowering, layer: Dfl, inputs: list[str], shape: Shape) -> str:
    bins = low.reshape(low.row_major(low.floats(inputs[0])), (*shape[:2], layer.bins, shape[2]))
    layout = low.values[bins].layout
    shares = low.emit(SoftmaxForm(2), [bins], low.shape(bins), layout=layout, dtype="float32")
    weighted = ex.call("mul", low.here(low.values[shares]), ex.call("to_float", Coord(2)))
    parts = low.map([shares], low.shape(bins), weighted, dtype="float32")
    return low.reshape(low.reduce("sum", parts, (2,)), shape)


RULES = {
    "softmax": OpRules(reference_softmax, lower_softmax),
    "log_softmax": OpRules(reference_log_softmax, lower_softmax),
    "dfl": OpRules(reference_dfl, lower_dfl),
}
