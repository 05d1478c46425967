"""Operators that cut tensors, and that pad them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnngen.spec.importing.draft import Draft, RefusalError, short
from cnngen.spec.manifest import ELEMENT_TYPES, Array
from cnngen.spec.onnx.node import Node, axes_within, axis_within
from cnngen.spec.onnx.rules.rule import Result, Rule

_MODES = ("constant", "reflect", "edge", "wrap")


def cut(node: Node, x: Draft, ranges: Mapping[int, slice], named: bool = True) -> Draft | Array:
    """The elements of `x` in the range of each axis, as numpy says it; an array where none is left."""
    lengths = [len(range(*ranges.get(axis, slice(None)).indices(size))) for axis, size in enumerate(x.shape)]
    if 0 in lengths:
        return np.zeros(lengths, ELEMENT_TYPES.get(x.dtype, x.dtype))
    return cut_some(node, x, ranges, named)


def cut_some(node: Node, x: Draft, ranges: Mapping[int, slice], named: bool = True) -> Draft:
    """The same where something is left."""
    axes, starts, ends, steps = list[int](), list[int](), list["int | None"](), list[int]()
    for axis, wanted in sorted(ranges.items()):
        start, end, step = wanted.indices(x.shape[axis])
        count = len(range(start, end, step))
        if count == x.shape[axis] and step == 1:
            continue
        axes.append(axis)
        starts.append(start)
        ends.append(end if end >= 0 else None)
        steps.append(step)
    if not axes:
        return x
    fields: dict[str, object] = {"axes": axes, "starts": starts, "ends": ends}
    if any(step != 1 for step in steps):
        fields["steps"] = steps
    return node.draft("slice", [x], fields, named=named)


def slice_rule(node: Node) -> Draft | Array:
    """Slice by constant bounds: attributes before opset 10, inputs since."""
    x = node.tensor()
    starts, ends = node.integers_of("starts", 1), node.integers_of("ends", 2)
    if starts is None or ends is None or len(starts) != len(ends):
        raise RefusalError("its starts and ends are missing, or not equally many")
    axes = axes_within(node.integers_of("axes", 3) or range(len(starts)), len(x.shape))
    steps = node.integers_of("steps", 4) or [1] * len(starts)
    if len(axes) != len(starts) or len(steps) != len(starts) or 0 in steps:
        raise RefusalError(f"its axes {axes} and steps {steps} do not fit its starts {starts}")
    return cut(
        node, x, {axis: slice(*bounds) for axis, *bounds in zip(axes, starts, ends, steps, strict=True)}
    )


def split(node: Node) -> Result:
    """Split: a slice for each part that is used."""
    x = node.tensor()
    axis, parts = axis_within(node.integer("axis", 0), len(x.shape)), len(node.proto.output)
    lengths = node.integers_of("split", 1)
    if not lengths:
        count = node.integer("num_outputs", parts)
        if not 1 <= count <= max(parts, x.shape[axis]):
            raise RefusalError(f"it is split into {count} parts")
        each = -(-x.shape[axis] // count)
        lengths = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    if sum(lengths) != x.shape[axis] or min(lengths) < 0 or len(lengths) < parts:
        raise RefusalError(f"parts of {lengths} do not fill the {x.shape[axis]} of axis {axis}")
    results: list[Draft | Array | None] = []
    start = 0
    for k, length in enumerate(lengths[:parts]):
        wanted = {axis: slice(start, start + length)}
        results.append(cut(node, x, wanted, named=False) if node.uses(k) else None)
        start += length
    return results


def pad(node: Node) -> Draft:
    """Pad by constant amounts; negative ones cut."""
    x, pads = node.tensor(), node.integers_of("pads", 1) or node.integers("paddings")
    mode, rank = node.text("mode", "constant"), len(x.shape)
    if mode not in _MODES:
        raise RefusalError(f"mode {mode!r} is not known, only {', '.join(_MODES)}")
    axes = axes_within(node.integers_of("axes", 3) or range(rank), rank)
    if pads is None or len(pads) != 2 * len(axes):
        raise RefusalError(f"its pads {pads} do not fit its input {list(x.shape)}")
    pairs = [[0, 0] for _ in range(rank)]
    for k, axis in enumerate(axes):
        pairs[axis] = [pads[k], pads[k + len(axes)]]
    if not any(map(any, pairs)):
        return x
    given = node.constant(2, "the value")
    value = float(given.reshape(())) if given is not None and given.size else node.real("value", 0.0)
    fields: dict[str, object] = {"pads": pairs}
    if rank == 4 and not any(map(any, pairs[:2])) and min(map(min, pairs)) >= 0:
        (top, bottom), (left, right) = pairs[2:]
        fields = {"padding": [top, left, bottom, right]}
    fields |= {"mode": mode} if mode != "constant" else {"value": short(value)} if value else {}
    return node.draft("pad", [x], fields)


def center_crop_pad(node: Node) -> Draft:
    """CenterCropPad to a constant shape."""
    x, target = node.tensor(), node.integers_of("shape", 1)
    axes = axes_within(node.integers("axes") or range(len(x.shape)), len(x.shape))
    if target is None or len(target) != len(axes) or min(target) < 1:
        raise RefusalError(f"its shape {target} does not fit axes {axes}, or is empty")
    ranges, pairs = {}, [[0, 0] for _ in x.shape]
    for axis, size in zip(axes, target, strict=True):
        more = size - x.shape[axis]
        if more < 0:
            start = -more // 2
            ranges[axis] = slice(start, start + size)
        elif more > 0:
            pairs[axis] = [more // 2, more - more // 2]
    y = cut_some(node, x, ranges)
    return node.draft("pad", [y], {"pads": pairs}) if any(map(any, pairs)) else y


RULES: dict[str, Rule] = {"Slice": slice_rule, "Split": split, "Pad": pad, "CenterCropPad": center_crop_pad}
