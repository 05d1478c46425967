"""linear and matmul."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen.expr import Coord, Expr, Int, Load
from cnngen.codegen.graph import Array, Layout, Shape
from cnngen.codegen.node_ops import BatchMatMul, Pointwise
from cnngen.codegen.node_ops import MatMul as MatMulForm
from cnngen.codegen.ops.activation import lower_activation, reference_activation
from cnngen.codegen.ops.conv import with_bias
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops.base import broadcast
from cnngen.spec.ops.linear import Linear, MatMul

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def reference_linear(
    layer: Linear, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    y = np.asarray(inputs[0] @ weights["weight"].T)
    if "bias" in weights:
        y = y + weights["bias"]
    return reference_activation(layer.activation, y, weights)


def lower_linear(low: Lowering, layer: Linear, inputs: list[str], shape: Shape) -> str:
    x = low.row_major(low.floats(inputs[0]))
    operands, epilogue = with_bias(low, [x, low.parameter("weight")], len(shape) - 1)
    layout: Layout = "NCHW" if len(shape) == 4 else "packed"
    result = low.emit(MatMulForm(low.precision.tf32), operands, shape, epilogue, layout=layout)
    return lower_activation(low, layer.activation, result)


def reference_matmul(
    layer: MatMul, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    a, b = inputs
    a = a.swapaxes(-1, -2) if layer.transpose_a and a.ndim > 1 else a
    b = b.swapaxes(-1, -2) if layer.transpose_b and b.ndim > 1 else b
    return np.asarray(a @ b).reshape(shape)


def lower_matmul(low: Lowering, layer: MatMul, inputs: list[str], shape: Shape) -> str:
    a, b = layer.matrices([low.shape(name) for name in inputs])
    left, right = (low.floats(name) for name in inputs)
    lead = broadcast(a[:-2], b[:-2])
    if math.prod(b[:-2]) == 1:  # one matrix for all rows
        rows = math.prod(a[:-1])
        left = low.reshape(_matrices(low, left, a, a[:-2], layer.transpose_a), (1, rows, a[-1]))
        right = low.reshape(_matrices(low, right, b, b[:-2], layer.transpose_b), (1, *b[-2:]))
        product = (1, rows, b[-1])
    else:
        count = math.prod(lead)
        left = low.reshape(_matrices(low, left, a, lead, layer.transpose_a), (count, *a[-2:]))
        right = low.reshape(_matrices(low, right, b, lead, layer.transpose_b), (count, *b[-2:]))
        product = (count, a[-2], b[-1])
    result = low.emit(
        BatchMatMul(low.precision.tf32), [low.row_major(left), low.row_major(right)], product, layout="packed"
    )
    return low.reshape(result, shape)


def _matrices(low: Lowering, name: str, shape: Shape, lead: Shape, transpose: bool) -> str:
    """The value [..., M, K] (one axis: as in `shape`) row-major, its leading axes broadcast to `lead`."""
    source = low.shape(name)
    if len(source) == 1:
        source, transpose = shape, False
        name = low.reshape(name, source)
    target = (*lead, *shape[-2:])
    if target == source and not transpose:
        return low.row_major(name)
    rank, missing = len(target), len(target) - len(source)
    index: list[Expr] = [
        Int(0) if source[axis] == 1 and lead[missing + axis] != 1 else Coord(missing + axis)
        for axis in range(len(source) - 2)
    ]
    last: tuple[Expr, Expr] = (Coord(rank - 2), Coord(rank - 1))
    index.extend(reversed(last) if transpose else last)
    layout: Layout = "NCHW" if rank == 4 else "packed"
    return low.emit(Pointwise(), [name], target, Load(0, tuple(index)), layout=layout)


RULES = {
    "linear": OpRules(reference_linear, lower_linear),
    "matmul": OpRules(reference_matmul, lower_matmul),
}
