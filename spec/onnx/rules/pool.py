"""Pooling."""

from __future__ import annotations

import math

import numpy as np

from cnngen.spec.importing.draft import Constant, Draft, RefusalError
from cnngen.spec.manifest import Array
from cnngen.spec.onnx.node import Node
from cnngen.spec.onnx.rules.conv import window
from cnngen.spec.onnx.rules.rule import Result, Rule, sizes, spatial_axes
from cnngen.spec.types import Shape


def _pool(node: Node, x: Draft) -> dict[str, object]:
    axes = 3 if len(x.shape) == 5 else spatial_axes(x)
    fields = window(node, axes, node.integers("kernel_shape") or [], stride=True)
    return fields | ({"ceil_mode": True} if node.flag("ceil_mode") else {})


def _pooled(node: Node, kind: str, x: Draft, fields: dict[str, object]) -> Draft:
    """A pool over one or two axes; one over three is one over the last two, and then one over the first."""
    if len(x.shape) != 5:
        return node.draft(f"{kind}{spatial_axes(x)}d", [x], fields)
    n, c, d, h, w = x.shape
    planes = node.reshape(x, (n, c * d, h, w))
    inner = node.draft(f"{kind}2d", [planes], _of_axes(fields, (1, 2)))
    h, w = inner.shape[2:]
    columns = node.reshape(inner, (n, c, d, h * w))
    outer = node.draft(f"{kind}2d", [columns], _of_axes(fields, (0,)))
    return node.reshape(outer, (n, c, outer.shape[2], h, w))


def _of_axes(fields: dict[str, object], axes: tuple[int, ...]) -> dict[str, object]:
    """The fields of a pool over three axes for some of them; the others have windows of 1."""

    def taken(numbers: list[int], rest: int) -> list[int]:
        return [numbers[axis] for axis in axes] + [rest] * (2 - len(axes))

    result = dict(fields)
    for name in {"kernel", "stride", "dilation"}.intersection(fields):
        result[name] = taken(fields[name], 1)  # type: ignore[arg-type]
    padding = fields.get("padding")
    if isinstance(padding, list):
        result["padding"] = taken(padding[:3], 0) + taken(padding[3:], 0)
    return result


def max_pool(node: Node) -> Result:
    """MaxPool; its indices count through the whole input."""
    x = node.floats()
    fields = _pool(node, x)
    y = _pooled(node, "max_pool", x, fields)
    if not node.uses(1):
        return y
    axes = spatial_axes(x)
    places = node.draft(f"max_pool{axes}d_indices", [x], fields, dtype="int64", named=False)
    if node.integer("storage_order", 0) and axes == 2:  # column by column within the image
        h, w = x.shape[2:]
        rows = _rows(node, places, w)
        columns = node.binary("mod", places, float(w))
        places = node.binary("add", node.binary("mul", columns, float(h)), rows)
    offsets = _offsets(x.shape)
    return [y, node.binary("add", places, Constant(offsets)) if np.any(offsets) else places]


def _rows(node: Node, places: Draft, width: int) -> Draft:
    whole = node.binary("sub", places, node.binary("mod", places, float(width)))
    return node.binary("div", whole, float(width))


def _offsets(shape: Shape) -> Array:
    """Where each image begins in the whole tensor: [N, C, 1, ...]."""
    images = math.prod(shape[:2])
    size = math.prod(shape[2:])
    return (np.arange(images) * size).reshape(*shape[:2], *(1,) * (len(shape) - 2))


def max_unpool(node: Node) -> Draft:
    """MaxUnpool; its indices count through the whole output."""
    x, places = node.floats(), node.tensor(1)
    axes = spatial_axes(x)
    kernel, strides = node.integers("kernel_shape") or [], node.integers("strides") or [1] * axes
    pads = node.integers("pads") or [0] * (2 * axes)
    fields: dict[str, object] = {
        "kernel": sizes(kernel, axes, "kernel sizes"),
        "stride": sizes(strides, axes, "strides"),
    }
    space = [
        (size - 1) * step - before - after + taps
        for size, step, before, after, taps in zip(
            x.shape[2:], strides, pads[:axes], pads[axes:], kernel, strict=True
        )
    ]
    whole = (*x.shape[:2], *space)
    if any(pads):
        fields["output_size"] = sizes(space, axes, "output sizes")
    y = node.draft(f"max_unpool{axes}d", [x, _within_images(node, places, whole)], fields)
    given = node.constant(2, "the output shape")
    target = list(whole) if given is None else [int(size) for size in given.reshape(-1)]
    if len(target) != len(whole) or any(a < b for a, b in zip(target, whole, strict=True)):
        raise RefusalError(f"its output shape {target} is smaller than {list(whole)}")
    if target == list(whole):
        return y
    pairs = [[0, a - b] for a, b in zip(target, whole, strict=True)]
    return node.draft("pad", [y], {"pads": pairs}, named=False)


def _within_images(node: Node, places: Draft, whole: Shape) -> Draft:
    """Indices that count from the beginning of each image."""
    offsets = _offsets(whole)
    added = places.parameters.get("parameter")
    known = added is not None and np.array_equal(added.array.reshape(-1), offsets.reshape(-1))
    if known and places.op == "add" and places.inputs[0].op.endswith("_indices"):
        return places.inputs[0]
    if places.op.endswith("_indices") or not np.any(offsets):
        return places
    return node.binary("sub", places, Constant(offsets))


def average_pool(node: Node) -> Draft:
    """AveragePool."""
    x = node.floats()
    fields = _pool(node, x)
    if node.flag("count_include_pad"):
        fields["count_include_pad"] = True
    return _pooled(node, "avg_pool", x, fields)


def lp_pool(node: Node) -> Draft:
    """LpPool."""
    x = node.floats()
    p = node.integer("p", 2)
    fields = _pool(node, x) | ({"p": float(p)} if p != 2 else {})
    return _pooled(node, "lp_pool", x, fields)


def global_pool(node: Node) -> Draft:
    """GlobalAveragePool, GlobalMaxPool and GlobalLpPool."""
    x = node.floats()
    op = {"GlobalAveragePool": "avg", "GlobalMaxPool": "max", "GlobalLpPool": "lp"}[node.op]
    p = node.integer("p", 2) if op == "lp" else 2
    return node.draft(f"global_{op}_pool", [x], {"p": float(p)} if p != 2 else {})


RULES: dict[str, Rule] = {
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), global_pool),
}
