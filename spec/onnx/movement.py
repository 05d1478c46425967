"""Operators that move data, and those that ask for shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cnngen.spec.importing.draft import Draft, RefusalError, short
from cnngen.spec.manifest import Array
from cnngen.spec.onnx.walk import Node, reshape_to


def axes_within(axes: Sequence[int], rank: int) -> list[int]:
    """Axes counted from the front, each within the rank and once."""
    result = sorted(axis + rank if axis < 0 else axis for axis in axes)
    if len(set(result)) != len(result) or any(not 0 <= axis < rank for axis in result):
        raise RefusalError(f"axes {list(axes)} do not exist, or not once, in {rank} axes")
    return result


def concat(node: Node) -> Draft:
    """Concat."""
    tensors = [node.as_tensor(value) for value in node.values()]
    axis = node.integer("axis", 1)
    axis += len(tensors[0].shape) if axis < 0 else 0
    return (
        node.draft("concat", tensors, {} if axis == 1 else {"axis": axis}) if len(tensors) > 1 else tensors[0]
    )


def pad(node: Node) -> Draft:
    """Pad of height and width by a constant."""
    x, pads = node.tensor(), node.integers_of("pads", 1)
    mode, rank = node.text("mode", "constant"), len(x.shape)
    if mode != "constant":
        raise RefusalError(f"mode {mode!r} is not supported, only 'constant'")
    axes = node.integers_of("axes", 3) or list(range(rank))
    if pads is None or len(pads) != 2 * len(axes):
        raise RefusalError("its pads do not fit its input")
    before, after = [0] * rank, [0] * rank
    for k, axis in enumerate(axes):
        before[axis], after[axis] = pads[k], pads[k + len(axes)]
    if not any(before + after):
        return x
    if rank != 4 or any(before[:2] + after[:2]) or min(before + after) < 0:
        raise RefusalError(f"only height and width can be padded, and not cropped; its pads are {pads}")
    given = node.constant(2, "the value")
    value = float(given) if given is not None and given.size else node.real("value", 0.0)
    fields: dict[str, object] = {"padding": [before[2], before[3], after[2], after[3]]}
    return node.draft("pad", [x], fields | ({"value": short(value)} if value else {}))


def flatten(node: Node) -> Draft:
    """Flatten."""
    x = node.tensor()
    axis = node.integer("axis", 1)
    axis += len(x.shape) if axis < 0 else 0
    return reshape_to(node, x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def reshape(node: Node) -> Draft:
    """Reshape to a constant shape."""
    x, target = node.tensor(), node.constant(1, "the shape")
    if target is None:
        raise RefusalError("the shape is missing")
    sizes = [int(size) for size in target.reshape(-1)]
    if not node.integer("allowzero", 0):
        sizes = [x.shape[k] if size == 0 and k < len(x.shape) else size for k, size in enumerate(sizes)]
    total, known = math.prod(x.shape), math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known and total % known == 0:
        sizes[sizes.index(-1)] = total // known
    if math.prod(sizes) != total or min(sizes, default=1) < 1:
        raise RefusalError(f"{list(x.shape)} does not fill {target.reshape(-1).tolist()}")
    return reshape_to(node, x, tuple(sizes))


def squeeze(node: Node) -> Draft:
    """Squeeze."""
    x = node.tensor()
    ones = [axis for axis, size in enumerate(x.shape) if size == 1]
    axes = axes_within(node.integers_of("axes", 1) or ones, len(x.shape))
    if any(x.shape[axis] != 1 for axis in axes):
        raise RefusalError(f"axes {axes} of {list(x.shape)} are not all 1")
    return reshape_to(node, x, tuple(size for axis, size in enumerate(x.shape) if axis not in axes))


def unsqueeze(node: Node) -> Draft:
    """Unsqueeze."""
    x, axes = node.tensor(), node.integers_of("axes", 1) or []
    rank = len(x.shape) + len(axes)
    places = axes_within(axes, rank)
    sizes = iter(x.shape)
    return reshape_to(node, x, tuple(1 if axis in places else next(sizes) for axis in range(rank)))


def transpose(node: Node) -> Draft:
    """Transpose."""
    x = node.tensor()
    axes = node.integers("perm") or list(range(len(x.shape)))[::-1]
    return x if axes == sorted(axes) else node.draft("transpose", [x], {"axes": axes}, named=False)


def shape(node: Node) -> Array:
    """Shape."""
    x = node.tensor()
    return np.asarray(x.shape[node.integer("start", 0) : node.integer("end", len(x.shape))], np.int64)


def size(node: Node) -> Array:
    """Size."""
    return np.asarray(math.prod(node.tensor().shape), np.int64)
