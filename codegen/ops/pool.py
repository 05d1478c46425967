"""Pools over windows, adaptive and global pools, max_unpool."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.interpret import pool
from cnngen.codegen.node_ops import Pointwise, Pool
from cnngen.codegen.ops.powers import lower_norm, power, reference_norm, root
from cnngen.codegen.ops.registry import OpRules
from cnngen.codegen.ops.spatial import flat, image, pair, plane, sides
from cnngen.spec.ops.pool import (
    AdaptivePool,
    AvgPool1d,
    AvgPool2d,
    GlobalLpPool,
    GlobalPool,
    LpPool1d,
    LpPool2d,
    MaxUnpool,
    WindowPool,
)

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering

KINDS: dict[str, Literal["max", "avg", "sum", "argmax"]] = {
    "max_pool1d": "max",
    "max_pool2d": "max",
    "max_pool1d_indices": "argmax",
    "max_pool2d_indices": "argmax",
    "avg_pool1d": "avg",
    "avg_pool2d": "avg",
    "lp_pool1d": "sum",
    "lp_pool2d": "sum",
}


def _window(layer: WindowPool, x: Shape) -> Pool:
    counts = isinstance(layer, AvgPool1d | AvgPool2d) and layer.count_include_pad
    return Pool(
        KINDS[layer.op],
        pair(layer.kernel),
        pair(layer.stride),
        sides(layer.pads(x)),
        pair(layer.dilation),
        counts,
    )


def reference_pool(
    layer: WindowPool, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    x, window = flat(inputs[0]), _window(layer, inputs[0].shape)
    if isinstance(layer, LpPool1d | LpPool2d):
        return np.asarray(pool(np.abs(x) ** layer.p, window, plane(shape)) ** (1 / layer.p)).reshape(shape)
    return pool(x, window, plane(shape)).reshape(shape)


def lower_pool(low: Lowering, layer: WindowPool, inputs: list[str], shape: Shape) -> str:
    window = _window(layer, low.shape(inputs[0]))
    x = image(low, inputs[0])
    if isinstance(layer, LpPool1d | LpPool2d):
        x = low.map([x], low.shape(x), power(low.here(low.values[x]), layer.p), dtype="float32")
        total = low.emit(window, [x], plane(shape), dtype="float32")
        y = low.map([total], plane(shape), root(low.here(low.values[total]), layer.p))
    else:
        y = low.emit(window, [x], plane(shape), dtype="int32" if window.kind == "argmax" else None)
    return low.reshape(y, shape)


# --- max_unpool ------------------------------------------------------------------------------------------------------


def reference_unpool(
    layer: MaxUnpool, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    x, indices = (array.reshape(*array.shape[:2], -1) for array in inputs)
    y = np.zeros((*shape[:2], int(np.prod(shape[2:]))), x.dtype)
    for place in range(x.shape[2]):
        np.put_along_axis(y, indices[:, :, place : place + 1].astype(int), x[:, :, place : place + 1], 2)
    return y.reshape(shape)


def lower_unpool(low: Lowering, layer: MaxUnpool, inputs: list[str], shape: Shape) -> str:
    """Each pixel looks at the windows that reach it, first to last, for one whose maximum stood there."""
    x = image(low, inputs[0])
    indices = low.reshape(low.channels_last(inputs[1]), low.shape(x))
    _, _, height, width = low.shape(x)
    target = plane(shape)
    here = ex.call("iadd", ex.call("imul", Coord(2), Int(target[3])), Coord(3))
    top, left, _, _ = sides(layer.padding)
    (r, s), (down, right) = pair(layer.kernel), pair(layer.stride)
    value: Expr = Float(0.0)
    for row, in_rows in _windows_at(Coord(2), height, r, down, top):
        for column, in_columns in _windows_at(Coord(3), width, s, right, left):
            place = (Coord(0), Coord(1), row, column)
            found = ex.call("equal", Load(1, place), ex.call("to_float", here))
            held = ex.select(found, Load(0, place), value)
            value = ex.select(ex.call("and", in_rows, in_columns), held, value)
    return low.reshape(low.map([x, indices], target, value), shape)


def _windows_at(position: Expr, count: int, kernel: int, stride: int, before: int) -> list[tuple[Expr, Expr]]:
    """The windows that can hold a position, in order, and the condition that each exists."""
    if count == 1:
        return [(Int(0), ex.TRUE)]
    last = ex.call("idiv", ex.call("iadd", position, Int(before)), Int(stride))
    found = [(last, ex.call("lt", last, Int(count)))]
    for back in range(1, -(-kernel // stride)):
        window = ex.call("iadd", last, Int(-back))
        exists = ex.call("and", ex.call("ge", window, Int(0)), ex.call("lt", window, Int(count)))
        found.insert(0, (window, exists))
    return found


# --- adaptive pools --------------------------------------------------------------------------------------------------


def _parts(size: int, count: int) -> tuple[Array, Array]:
    """Where each of `count` windows over `size` elements begins and ends."""
    places = np.arange(count)
    return places * size // count, -(-(places + 1) * size // count)


def _averages(layer: AdaptivePool) -> bool:
    return "avg" in layer.op


def reference_adaptive(
    layer: AdaptivePool, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    y = flat(inputs[0])
    reduce = np.mean if _averages(layer) else np.max
    for axis in (2, 3):
        parts = zip(*_parts(y.shape[axis], plane(shape)[axis]), strict=True)
        windows = [reduce(y.take(range(start, end), axis), axis, keepdims=True) for start, end in parts]
        y = np.concatenate(windows, axis)
    return y.reshape(shape)


def lower_adaptive(low: Lowering, layer: AdaptivePool, inputs: list[str], shape: Shape) -> str:
    """A plain pool over the axes whose windows are alike, then one axis after the other."""
    y = image(low, inputs[0])
    kind: Literal["avg", "max"] = "avg" if _averages(layer) else "max"
    steps = [_equal_windows(low.shape(y)[axis], plane(shape)[axis]) for axis in (2, 3)]
    kernel, stride = zip(*(step or (1, 1) for step in steps), strict=True)
    window = Pool(kind, pair(kernel), pair(stride), (0, 0, 0, 0))
    n, c, *space = low.shape(y)
    space = [
        count if step else size for step, size, count in zip(steps, space, plane(shape)[2:], strict=True)
    ]
    if kernel != (1, 1) or stride != (1, 1):
        y = low.emit(window, [y], (n, c, *space), dtype="float32" if None in steps else None)
    for axis, step in zip((2, 3), steps, strict=True):
        if step is None:
            y = _unequal(low, y, axis, plane(shape)[axis], kind, last=axis == 3 or steps[1] is not None)
    return low.reshape(y, shape)


def _equal_windows(size: int, count: int) -> tuple[int, int] | None:
    """Kernel and stride of a plain pool with these windows, or None where there is none."""
    starts, ends = _parts(size, count)
    lengths, steps = set((ends - starts).tolist()), set(np.diff(starts).tolist())
    if len(lengths) > 1 or len(steps) > 1:
        return None
    (length,) = lengths
    return length, steps.pop() if steps else length


def _unequal(low: Lowering, x: str, axis: int, count: int, kind: Literal["avg", "max"], *, last: bool) -> str:
    """Windows of several lengths along one axis: as many loads as the longest has elements."""
    source = low.values[x]
    size = source.shape[axis]
    starts, ends = _parts(size, count)
    start = ex.call("idiv", ex.call("imul", Coord(axis), Int(size)), Int(count))
    over = ex.call("iadd", ex.call("imul", Coord(axis), Int(size)), Int(size + count - 1))
    end = ex.call("idiv", over, Int(count))
    elements: list[Expr] = []
    for tap in range(int((ends - starts).max())):
        place = ex.call("iadd", start, Int(tap))
        if kind == "max":
            place = ex.call("imin", place, ex.call("iadd", end, Int(-1)))
        index = [*ex.coords(4)]
        index[axis] = place
        element: Expr = Load(0, tuple(index))
        if kind == "avg" and tap >= int((ends - starts).min()):
            element = ex.select(ex.call("lt", place, end), element, Float(0.0))
        elements.append(element)
    value = functools.reduce(partial(ex.call, "max" if kind == "max" else "add"), elements)
    if kind == "avg":
        length = ex.call("to_float", ex.call("isub", end, start))
        value = ex.call("div", value, length)
    shape = (*source.shape[:axis], count, *source.shape[axis + 1 :])
    return low.emit(Pointwise(), [x], shape, value, dtype=None if last else "float32")


# --- global pools ----------------------------------------------------------------------------------------------------


def reference_global(
    layer: GlobalPool, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    axes = tuple(range(2, inputs[0].ndim))
    if isinstance(layer, GlobalLpPool):
        return reference_norm(inputs[0], axes, layer.p).reshape(shape)
    reduce = np.mean if layer.op == "global_avg_pool" else np.max
    return np.asarray(reduce(inputs[0], axis=axes)).reshape(shape)


def lower_global(low: Lowering, layer: GlobalPool, inputs: list[str], shape: Shape) -> str:
    x = low.floats(inputs[0])
    axes = range(2, len(low.shape(x)))
    if isinstance(layer, GlobalLpPool):
        return low.reshape(lower_norm(low, x, axes, layer.p), shape)
    return low.reshape(low.reduce("mean" if layer.op == "global_avg_pool" else "max", x, axes), shape)


RULES = {
    **{op: OpRules(reference_pool, lower_pool) for op in KINDS},
    **{op: OpRules(reference_unpool, lower_unpool) for op in ("max_unpool1d", "max_unpool2d")},
    **{
        f"adaptive_{kind}_pool{axes}": OpRules(reference_adaptive, lower_adaptive)
        for kind in ("avg", "max")
        for axes in ("1d", "2d")
    },
    **{f"global_{kind}_pool": OpRules(reference_global, lower_global) for kind in ("avg", "max", "lp")},
}
