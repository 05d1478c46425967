"""Operators that give tensors another shape or order."""

from __future__ import annotations

import math

from cnngen.spec.importing.draft import Draft, RefusalError
from cnngen.spec.onnx.node import Node, axes_within, axis_within
from cnngen.spec.onnx.rules.rule import Rule, same_type


def concat(node: Node) -> Draft:
    """Concat."""
    values = [value for value in node.values() if isinstance(value, Draft) or value.array.size]
    tensors = [node.walk.builder.tensor(value) for value in values]
    if not tensors:
        raise RefusalError("it has no inputs")
    same_type(tensors)
    axis = axis_within(node.integer("axis", 1), len(tensors[0].shape))
    if len(tensors) == 1:
        return tensors[0]
    return node.draft("concat", tensors, {} if axis == 1 else {"axis": axis})


def flatten(node: Node) -> Draft:
    """Flatten."""
    x = node.tensor()
    rank = 0 if x.scalar else len(x.shape)
    axis = node.integer("axis", 1)
    if not -rank <= axis <= rank:
        raise RefusalError(f"axis {axis} does not exist in {rank} axes")
    axis += rank if axis < 0 else 0
    return node.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def reshape(node: Node) -> Draft:
    """Reshape to a constant shape."""
    x, target = node.tensor(), node.integers_of("shape", 1)
    if target is None:
        raise RefusalError("the shape is missing")
    sizes = target
    if not node.flag("allowzero"):
        sizes = [x.shape[k] if size == 0 and k < len(x.shape) else size for k, size in enumerate(sizes)]
    total, known = math.prod(x.shape), math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known and total % known == 0:
        sizes[sizes.index(-1)] = total // known
    if math.prod(sizes) != total or min(sizes, default=1) < 1:
        raise RefusalError(f"{list(x.shape)} does not fill {target}")
    return _reshaped(node, x, sizes)


def _reshaped(node: Node, x: Draft, sizes: list[int]) -> Draft:
    """`x` under another shape; one without axes is [1]."""
    scalar = not sizes
    y = node.reshape(x, tuple(sizes))
    if y is x and scalar != x.scalar:
        y = node.draft("identity", [x], named=False)
    y.scalar = scalar
    return y


def squeeze(node: Node) -> Draft:
    """Squeeze."""
    x = node.tensor()
    if x.scalar:
        return x
    given = node.integers_of("axes", 1)
    ones = [axis for axis, size in enumerate(x.shape) if size == 1]
    axes = ones if given is None else axes_within(given, len(x.shape))
    if any(x.shape[axis] != 1 for axis in axes):
        raise RefusalError(f"axes {axes} of {list(x.shape)} are not all 1")
    return _reshaped(node, x, [size for axis, size in enumerate(x.shape) if axis not in axes])


def unsqueeze(node: Node) -> Draft:
    """Unsqueeze."""
    x, axes = node.tensor(), node.integers_of("axes", 1) or []
    shape = () if x.scalar else x.shape
    rank = len(shape) + len(axes)
    places = axes_within(axes, rank)
    sizes = iter(shape)
    return _reshaped(node, x, [1 if axis in places else next(sizes) for axis in range(rank)])


def transpose(node: Node) -> Draft:
    """Transpose."""
    x = node.tensor()
    axes = node.integers("perm") or list(range(len(x.shape)))[::-1]
    return x if axes == sorted(axes) else node.draft("transpose", [x], {"axes": axes}, named=False)


def expand(node: Node) -> Draft:
    """Expand to a constant shape."""
    x, target = node.tensor(), node.integers_of("shape", 1) or []
    rank = max(len(target), len(x.shape))
    old = (1,) * (rank - len(x.shape)) + x.shape
    new = [1] * (rank - len(target)) + target
    if any(a != b and 1 not in (a, b) for a, b in zip(old, new, strict=True)) or min(new, default=1) < 1:
        raise RefusalError(f"{list(x.shape)} and {target} do not broadcast")
    if all(b in (1, a) for a, b in zip(old, new, strict=True)):
        return _reshaped(node, x, list(old)) if rank > len(x.shape) or (x.scalar and target) else x
    # 1 where the tensor has the size already, so that the batch stays free
    return node.draft("expand", [x], {"shape": [1 if a == b else b for a, b in zip(old, new, strict=True)]})


def tile(node: Node) -> Draft:
    """Tile by constant repeats."""
    x, repeats = node.tensor(), node.integers_of("repeats", 1)
    if len(node.proto.input) == 3 and node.opset < 6:
        raise RefusalError("the form of opset 1 is not supported")
    if repeats is None or len(repeats) != len(x.shape) or min(repeats) < 1:
        raise RefusalError(f"its repeats {repeats} do not fit {list(x.shape)}, or leave nothing")
    return node.draft("tile", [x], {"repeats": repeats}) if any(k != 1 for k in repeats) else x


def _blocks(op: str) -> Rule:
    """DepthToSpace and SpaceToDepth."""

    def rule(node: Node) -> Draft:
        fields: dict[str, object] = {"block": node.integer("blocksize", 0)}
        mode = node.text("mode", "DCR").lower()
        return node.draft(op, [node.tensor()], fields | ({"mode": mode} if mode != "dcr" else {}))

    return rule


RULES: dict[str, Rule] = {
    "Concat": concat,
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Tile": tile,
    "DepthToSpace": _blocks("depth_to_space"),
    "SpaceToDepth": _blocks("space_to_depth"),
}
