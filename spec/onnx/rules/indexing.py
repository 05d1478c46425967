"""Operators that read elements by index: constant indices, or positions in an image."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cnngen.spec.importing.builder import element_type
from cnngen.spec.importing.draft import Constant, Draft, Parameter, RefusalError
from cnngen.spec.manifest import Array
from cnngen.spec.onnx.node import Node, axis_within, inputs_of
from cnngen.spec.onnx.rules.rule import Rule
from cnngen.spec.onnx.rules.slicing import cut_some

_MOST_LISTED = 64  # indices that stand in the spec; more are a tensor
_MOST_ROWS = 1 << 12  # of a table that is read by a product


def gather(node: Node) -> Draft:
    """Gather by constant indices; where they are evenly spaced it is a slice."""
    table, rows = node.required(0), node.required(1)
    if isinstance(table, Constant) and isinstance(rows, Draft):
        return _looked_up(node, table, rows)
    given = node.constant(1, "its indices")
    if given is None or given.size == 0 or given.dtype.kind not in "iu":
        raise RefusalError("its indices are missing or no whole numbers")
    x = node.tensor()
    axis = axis_within(node.integer("axis", 0), len(x.shape))
    size = x.shape[axis]
    indices = given.astype(np.int64)
    if indices.min() < -size or indices.max() >= size:
        raise RefusalError(f"its indices leave the {size} elements of axis {axis}")
    indices = np.where(indices < 0, indices + size, indices)
    flat = indices.reshape(-1)
    step = int(flat[1] - flat[0]) if flat.size > 1 else 1
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    if step and np.array_equal(np.diff(flat), np.full(flat.size - 1, step)):
        first, last = int(flat[0]), int(flat[-1])
        end = last + (1 if step > 0 else -1)
        part = cut_some(node, x, {axis: slice(first, end if end >= 0 else None, step)})
        y = node.reshape(part, shape)
        y.scalar = not shape
        return y
    return _gathered(node, x, axis, indices)


def _gathered(node: Node, x: Draft, axis: int, indices: npt.NDArray[np.int64]) -> Draft:
    fields: dict[str, object] = {"axis": axis}
    if indices.size <= _MOST_LISTED:
        return node.draft("gather", [x], fields | {"indices": indices.tolist()})
    fields |= {"indices_parameter": "indices", "indices_shape": list(indices.shape)}
    return node.draft("gather", [x], fields, {"indices": Parameter(indices)})


def _looked_up(node: Node, table: Constant, rows: Draft) -> Draft:
    """Rows of a constant matrix that data choose: a product with a matrix of zeros and ones."""
    array = table.array
    if array.ndim != 2 or array.shape[0] > _MOST_ROWS or axis_within(node.integer("axis", 0), 2) != 0:
        raise RefusalError("its indices are not constant", inputs_of(rows))
    places = Constant(np.arange(array.shape[0]))
    within = node.binary("mod", node.reshape(rows, (*rows.shape, 1)), float(array.shape[0]))
    hit = node.binary("equal", within, places, "bool")
    dtype = element_type(array)
    ones = node.draft("cast", [hit], {"to": dtype}, dtype=dtype, named=False)
    weight = Parameter(np.ascontiguousarray(array.T), table.origin)
    return node.draft("linear", [ones], {"out_features": array.shape[1], "bias": False}, {"weight": weight})


def gather_elements(node: Node) -> Draft | Array:
    """GatherElements: by constant indices, or by one index along the axis that data decide."""
    table, indices = node.required(0), node.required(1)
    if isinstance(table, Constant) and isinstance(indices, Constant):
        axis = axis_within(node.integer("axis", 0), table.array.ndim)
        if indices.array.dtype.kind not in "iu":
            raise RefusalError("its indices are no whole numbers")
        return np.take_along_axis(table.array, indices.array.astype(np.int64), axis)
    x = node.tensor()
    axis = axis_within(node.integer("axis", 0), len(x.shape))
    size = x.shape[axis]
    if isinstance(indices, Draft):
        if indices.shape != (*x.shape[:axis], 1, *x.shape[axis + 1 :]):
            raise RefusalError(f"its indices {list(indices.shape)} are not constant", inputs_of(indices))
        return _picked(node, x, indices, axis)
    if indices.array.dtype.kind not in "iu":
        raise RefusalError("its indices are no whole numbers")
    array = indices.array.astype(np.int64)
    if array.ndim != len(x.shape) or array.size == 0 or array.min() < -size or array.max() >= size:
        raise RefusalError(f"its indices {list(array.shape)} do not fit {list(x.shape)}")
    places = list[npt.NDArray[np.int64]](np.indices(array.shape))
    places[axis] = np.where(array < 0, array + size, array)
    flat = np.asarray(np.ravel_multi_index(tuple(places), x.shape), np.int64)
    return _gathered(node, node.reshape(x, (math.prod(x.shape),)), 0, flat)


def _picked(node: Node, x: Draft, indices: Draft, axis: int) -> Draft:
    """The element of each row that an index names: the sum of the row where all others are 0."""
    size, rank = x.shape[axis], len(x.shape)
    places = np.arange(size).reshape(-1, *(1,) * (rank - axis - 1))
    hit = node.binary("equal", node.binary("mod", indices, float(size)), Constant(places), "bool")
    nothing = node.walk.builder.tensor(Constant(np.zeros((1,) * rank, np.float32)))
    kept = node.draft("where", [hit, x, nothing], dtype=x.dtype, named=False)
    return node.draft("reduce_sum", [kept], {"axes": [axis]})


def grid_sample(node: Node) -> Draft:
    """GridSample of images."""
    x, grid = node.floats(0), node.floats(1)
    if len(x.shape) != 4:
        raise RefusalError(
            f"its input {list(x.shape)} is {len(x.shape) - 2}-D; only 2-D images are supported"
        )
    mode = node.text("mode", "bilinear" if node.opset < 20 else "linear")
    fields: dict[str, object] = {"mode": {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)}
    fields["padding"] = node.text("padding_mode", "zeros")
    fields["align_corners"] = node.flag("align_corners")
    return node.draft("grid_sample", [x, grid], fields)


def affine_grid(node: Node) -> Draft:
    """AffineGrid of images: a matrix product with the positions of an even grid."""
    theta, size = node.floats(0), node.constant(1, "the size")
    if (
        size is None
        or size.size != 4
        or theta.shape[1:] != (2, 3)
        or size.astype(np.int64).reshape(-1)[2:].min() < 1
    ):
        raise RefusalError("only the grids of 2-D images are supported")
    h, w = (int(number) for number in size.reshape(-1)[2:])
    if h * w > 1 << 26:
        raise RefusalError(f"a grid of {h} x {w} is too large")
    y, x = (_evenly(count, node.flag("align_corners")) for count in (h, w))
    grid = np.stack([*np.meshgrid(x, y), np.ones((h, w))], axis=-1).reshape(1, h * w, 3).astype(np.float32)
    even = node.walk.builder.tensor(Constant(grid))
    product = node.draft("matmul", [even, theta], {"transpose_b": True})
    return node.reshape(product, (theta.shape[0], h, w, 2))


def _evenly(count: int, align_corners: bool) -> npt.NDArray[np.float64]:
    if align_corners:
        return np.linspace(-1, 1, count)
    return (np.arange(count) * 2 + 1) / count - 1


def trilu(node: Node) -> Draft:
    """Trilu: zeros above or below a diagonal."""
    x, given = node.tensor(), node.constant(1, "the diagonal")
    if len(x.shape) < 2:
        raise RefusalError(f"its input {list(x.shape)} is no matrix")
    k = 0 if given is None else int(given.reshape(-1)[0])
    keep = np.tri(x.shape[-2], x.shape[-1], k - 1 if node.integer("upper", 1) else k, dtype=np.bool_)
    mask = ~keep if node.integer("upper", 1) else keep
    builder = node.walk.builder
    rank = len(x.shape)
    condition = builder.tensor(Constant(mask.reshape((1,) * (rank - 2) + mask.shape)))
    return node.draft("where", [condition, x, builder.tensor(Constant(np.zeros((1,) * rank, np.float32)))],
                      dtype=x.dtype)  # fmt: skip


def of_constants(node: Node) -> Draft:
    """What is only evaluated."""
    needs = [source for value in node.values() if isinstance(value, Draft) for source in inputs_of(value)]
    raise RefusalError("it is supported only where its inputs are constant", needs)


RULES: dict[str, Rule] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GridSample": grid_sample,
    "AffineGrid": affine_grid,
    "Trilu": trilu,
    **dict.fromkeys(("ConstantOfShape", "Range"), of_constants),
}
