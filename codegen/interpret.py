"""The reference interpreter: a graph in numpy, slow and obvious, every value in logical order and one precision.

It defines what each primitive form means. Passes may not change what it computes; the plan's interpreter
(`cnngen.codegen.interpret_plan`) and the GPU are held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import ACC
from cnngen.codegen.graph import FLOATS, Array, Graph, Node, Value
from cnngen.codegen.node_ops import (
    Affine,
    ArgReduce,
    BatchMatMul,
    Conv,
    Join,
    MatMul,
    MaxPools,
    Pointwise,
    Pool,
    ProductSoftmax,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    SqueezeExcite,
)


def interpret(graph: Graph, inputs: Mapping[str, Array], precision: type = np.float64) -> dict[str, Array]:
    """Every value of the graph by name, for inputs in logical order."""
    values: dict[str, Array] = {name: np.asarray(array, precision) for name, array in inputs.items()}
    for name, constant in graph.constants.items():
        values[name] = (
            constant.array.astype(precision) if constant.array.strides.count(0) == 0 else constant.array
        )
    for node in graph.nodes:
        values[node.name] = run_node(node, [values[name] for name in node.inputs])
    return values


def outputs(graph: Graph, inputs: Mapping[str, Array], precision: type = np.float64) -> dict[str, Array]:
    """The graph's outputs by name."""
    values = interpret(graph, inputs, precision)
    return {name: values[name] for name in graph.outputs}


def run_node(node: Node, inputs: list[Array]) -> Array:
    """What a node writes, in logical order."""
    acc = None if isinstance(node.op, Pointwise) else run_op(node, inputs)
    if node.epilogue != ACC or acc is None:
        acc = ex.evaluate(node.epilogue, node.value.shape, inputs, acc)
    return stored(acc, node.value)


def stored(array: Array, value: Value) -> Array:
    """What a store to the value's type keeps: the whole part, or whether it is not 0; of floats all."""
    if value.dtype in FLOATS:
        return array
    return np.asarray(array != 0, array.dtype) if value.dtype == "bool" else np.trunc(array)


def run_op(node: Node, inputs: list[Array]) -> Array:
    """The result of a node's op before its epilogue."""
    shape = node.value.shape
    match node.op:
        case Conv() as op:
            return convolve_phases(inputs[0], inputs[1], op, shape)
        case MatMul() | BatchMatMul() as op:
            return np.asarray(inputs[0] @ (inputs[1].T if isinstance(op, MatMul) else inputs[1]))
        case Pool() | MaxPools() as op:
            return pool(inputs[0], op, shape) if isinstance(op, Pool) else max_pools(inputs[0], op)
        case Reduce(kind, axes):
            return REDUCTIONS[kind](inputs[0], axis=axes, keepdims=True)
        case ArgReduce() as op:
            return arg_reduce(inputs[0], op)
        case Softmax() as op:
            return softmax(inputs[0], op)
        case ProductSoftmax() as op:
            return product_softmax(node, op, inputs)
        case SqueezeExcite() as op:
            return squeeze_excite(op, inputs, shape)
        case Affine():
            x, scale, shift = inputs[:3]
            channels = (1, -1) + (1,) * (x.ndim - 2)
            return x * scale.reshape(channels) + shift.reshape(channels)
        case Reshape():
            return inputs[0].reshape(shape)
        case Join() | Slice():
            first, last = node.value.first, node.value.first + shape[1]
            return np.concatenate(inputs, axis=1) if isinstance(node.op, Join) else inputs[0][:, first:last]
    raise TypeError(f"no meaning for {type(node.op).__name__}")


def convolve_phases(x: Array, w: Array, op: Conv, shape: tuple[int, ...]) -> Array:
    """A convolution, whose phases, where it has some, lie where their pixels are. -> `shape`, (N, K, OH, OW)."""
    rows, columns = (-(-shape[axis] // op.phases[axis - 2]) for axis in (2, 3))
    y = convolve(x, w, op, (shape[0], w.shape[0], rows, columns))
    return y if op.phases == (1, 1) else interleave(y, op.phases)[:, :, : shape[2], : shape[3]]


def convolve(x: Array, w: Array, op: Conv, shape: tuple[int, ...]) -> Array:
    """Cross-correlation, one filter tap at a time. x (N, C, H, W), w (K, C / groups, R, S) -> (N, K, OH, OW)."""
    top, left, bottom, right = op.padding
    x = np.pad(x, ((0, 0), (0, 0), (top, max(bottom, 0)), (left, max(right, 0))))
    n, k, oh, ow = shape
    per_group = w.shape[1]
    y = np.zeros(shape, x.dtype)
    for group in range(op.groups):
        filters = slice(group * k // op.groups, (group + 1) * k // op.groups)
        channels = x[:, group * per_group : (group + 1) * per_group]
        for r in range(w.shape[2]):
            for s in range(w.shape[3]):
                rows = slice(
                    r * op.dilation[0], r * op.dilation[0] + (oh - 1) * op.stride[0] + 1, op.stride[0]
                )
                columns = slice(
                    s * op.dilation[1], s * op.dilation[1] + (ow - 1) * op.stride[1] + 1, op.stride[1]
                )
                taps = channels[:, :, rows, columns].reshape(n, per_group, oh * ow)
                y[:, filters] += (w[filters, :, r, s] @ taps).reshape(n, -1, oh, ow)
    return y


def max_pools(x: Array, op: MaxPools) -> Array:
    """(N, C, H, W) -> (N, (count + 1) C, H, W)."""
    one = Pool("max", (op.kernel, op.kernel), (1, 1), (op.kernel // 2,) * 4)
    levels = [x]
    for _ in range(op.count):
        levels.append(pool(levels[-1], one, x.shape))
    return np.concatenate(levels, axis=1)


def softmax(x: Array, op: Softmax) -> Array:
    """Along the op's axis, less the largest first, so that no exponential overflows. Of the shape of x."""
    shifted = x - x.max(axis=op.axis, keepdims=True)
    total = np.exp(shifted).sum(axis=op.axis, keepdims=True)
    return np.asarray(shifted - np.log(total) if op.log else np.exp(shifted) / total)


def product_softmax(node: Node, op: ProductSoftmax, inputs: list[Array]) -> Array:
    """As the product with the logits as its epilogue, and then the softmax along axis 1."""
    sums = run_op(replace(node, op=op.product), inputs)
    return softmax(ex.evaluate(op.logits, node.value.shape, inputs, sums), Softmax(1, op.log))


def squeeze_excite(op: SqueezeExcite, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    """X (N, C, ...), w1 (hidden, C, ...), w2 (C, hidden, ...) -> what the op says, of `shape`."""
    x, w1, w2 = inputs[:3]
    n, c = x.shape[:2]
    sums = x.reshape(n, c, -1).mean(axis=2) @ w1.reshape(-1, c).T
    sums = ex.evaluate(op.hidden, sums.shape, inputs, sums) @ w2.reshape(c, -1).T
    if op.gate is None:
        return np.asarray(sums).reshape(shape)
    gates = ex.evaluate(op.gate, sums.shape, inputs, sums)
    return np.asarray(x * gates.reshape(n, c, *[1] * (x.ndim - 2)))


def interleave(y: Array, phases: tuple[int, int]) -> Array:
    """(N, rows of phases x columns of phases x C, H, W) -> (N, C, H x rows, W x columns)."""
    n, k, h, w = y.shape
    filters = k // (phases[0] * phases[1])
    parts = y.reshape(n, *phases, filters, h, w).transpose(0, 3, 4, 1, 5, 2)
    return np.asarray(parts.reshape(n, filters, h * phases[0], w * phases[1]))


REDUCTIONS: dict[str, Callable[..., Array]] = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "sum_squares": lambda x, **axes: np.sum(x * x, **axes),
    "variance": np.var,
}


def arg_reduce(x: Array, op: ArgReduce) -> Array:
    """Where the largest or smallest element along an axis is."""
    find = np.argmax if op.kind == "max" else np.argmin
    if not op.last:
        return np.asarray(find(x, axis=op.axis, keepdims=True), x.dtype)
    place = find(np.flip(x, op.axis), axis=op.axis, keepdims=True)
    return np.asarray(x.shape[op.axis] - 1 - place, x.dtype)


def pool(x: Array, op: Pool, shape: tuple[int, ...]) -> Array:
    """Windowed maximum, its place, sum or mean. x (N, C, H, W) -> (N, C, OH, OW)."""
    (n, c, h, w), (_, _, oh, ow) = x.shape, shape
    top, left, bottom, right = op.padding
    y = np.empty(shape, x.dtype)
    for i in range(oh):
        for j in range(ow):
            rows = np.arange(op.kernel[0]) * op.dilation[0] + i * op.stride[0] - top
            columns = np.arange(op.kernel[1]) * op.dilation[1] + j * op.stride[1] - left
            inside_rows = rows[(rows >= 0) & (rows < h)]
            inside_columns = columns[(columns >= 0) & (columns < w)]
            window = x[:, :, inside_rows][:, :, :, inside_columns]
            match op.kind:
                case "max":  # taps may straddle a small input
                    y[:, :, i, j] = window.max(axis=(2, 3), initial=-np.inf)
                case "argmax":
                    places = (inside_rows[:, None] * w + inside_columns).reshape(-1)
                    best = window.reshape(n, c, -1).argmax(axis=2) if places.size else None
                    y[:, :, i, j] = 0 if best is None else places[best]
                case "sum":
                    y[:, :, i, j] = window.sum(axis=(2, 3))
                case "avg":
                    padded = int((rows < h + bottom).sum() * (columns < w + right).sum())
                    inside = inside_rows.size * inside_columns.size
                    y[:, :, i, j] = window.sum(axis=(2, 3)) / (padded if op.count_include_pad else inside)
    return y
