"""Rearrangements that a model spells out by reshapes, transposes and slices, and heads that read distributions."""

from __future__ import annotations

import math
from itertools import pairwise

from cnngen.spec.importing.builder import Builder
from cnngen.spec.importing.draft import Draft
from cnngen.spec.importing.patterns.graph import Graph, is_range, numbers

_MOST_LISTED = 64


def name_blocks(graph: Graph) -> None:
    """channel_shuffle, depth_to_space, space_to_depth, unfold2d and dfl."""
    builder = Builder(graph.names)
    for layer in graph.layers:
        if layer.op == "reshape":
            _name_rearrangement(graph, layer)
            _name_dfl(graph, layer)
        elif layer.op == "concat" and layer.fields.get("axis", 1) == 1:
            _name_slices(graph, layer, builder)
        builder.layers.append(layer)
    graph.layers = builder.layers


def _name_rearrangement(graph: Graph, layer: Draft) -> None:
    """Reshape, transpose, reshape."""
    transposed = layer.inputs[0]
    split = transposed.inputs[0] if transposed.op == "transpose" else transposed
    if transposed.op != "transpose" or split.op != "reshape":
        return
    x, axes = split.inputs[0], numbers(transposed.fields["axes"])
    parts = [split, transposed, layer]
    if x.shape[0] != split.shape[0] or not all(graph.sole_user(*pair) for pair in pairwise(parts)):
        return
    if axes == [0, 2, 1, *range(3, len(axes))] and layer.shape == x.shape:
        groups, each = split.shape[1:3]
        if len(x.shape) > 2 and groups * each == x.shape[1] and 1 not in (groups, each):
            graph.become(layer, "channel_shuffle", [x], {"groups": groups}, parts)
    if len(split.shape) == 6 and len(x.shape) == len(layer.shape) == 4:
        for op, (order, expected, target) in _blocks(x.shape, split.shape).items():
            if axes == order and split.shape == expected and layer.shape == target:
                name, _, mode = op.partition(" ")
                block = split.shape[2] if name == "depth_to_space" else split.shape[3]
                fields: dict[str, object] = {"block": block} | ({"mode": mode} if mode != "dcr" else {})
                graph.become(layer, name, [x], fields, parts)
                return


_Block = tuple[list[int], tuple[int, ...], tuple[int, ...]]


def _blocks(x: tuple[int, ...], split: tuple[int, ...]) -> dict[str, _Block]:
    """The orders of axes of each rearrangement in blocks, and the shapes before and after."""
    n, c, h, w = x
    side, down = split[2], split[3]
    depth, up = c // (side * side), (h * side, w * side)
    small = (h // down, w // down)
    return {
        "depth_to_space dcr": ([0, 3, 4, 1, 5, 2], (n, side, side, depth, h, w), (n, depth, *up)),
        "depth_to_space crd": ([0, 1, 4, 2, 5, 3], (n, depth, side, side, h, w), (n, depth, *up)),
        "space_to_depth dcr": (
            [0, 3, 5, 1, 2, 4], (n, c, small[0], down, small[1], down), (n, c * down * down, *small),
        ),
        "space_to_depth crd": (
            [0, 1, 3, 5, 2, 4], (n, c, small[0], down, small[1], down), (n, c * down * down, *small),
        ),
    }  # fmt: skip


def _name_dfl(graph: Graph, layer: Draft) -> None:
    """The expected bin of distributions: softmax over the bins, then a product with 0, 1, ..., bins - 1."""
    product = layer.inputs[0]
    soft = product.inputs[0] if product.op == "conv2d" else product
    turned = soft.inputs[0] if soft.op == "softmax" else soft
    split = turned.inputs[0] if turned.op == "transpose" else turned
    if [product.op, soft.op, turned.op, split.op] != ["conv2d", "softmax", "transpose", "reshape"]:
        return
    x, parts = split.inputs[0], [split, turned, soft, product, layer]
    if len(x.shape) != 3 or len(split.shape) != 4:
        return
    n, sides, bins, anchors = split.shape
    plain = set(product.fields) <= {"out_channels", "kernel", "bias"} and product.fields.get("bias") is False
    sound = (
        (n, sides * bins, anchors) == x.shape
        and numbers(turned.fields["axes"]) == [0, 2, 1, 3]
        and soft.fields.get("axis", -1) in (1, -3)
        and plain
        and is_range(product.parameters["weight"].array, bins)
        and layer.shape == (n, sides, anchors)
    )
    if sound and all(graph.sole_user(*pair) for pair in pairwise(parts)):
        graph.become(layer, "dfl", [x], {"bins": bins}, parts)


def _name_slices(graph: Graph, layer: Draft, builder: Builder) -> None:
    """Slices of one image, side by side: its blocks, or its windows."""
    x = layer.inputs[0].inputs[0] if layer.inputs[0].op == "slice" else None
    if (
        x is None
        or len(x.shape) != 4
        or any(part.op != "slice" or part.inputs != [x] for part in layer.inputs)
    ):
        return
    ranges = [_ranges(part) for part in layer.inputs]
    first = ranges[0]
    steps = [spatial.step for spatial in first[2:]]
    lengths = [len(spatial) for spatial in first[2:]]
    for part in ranges:
        alike = [spatial.step for spatial in part[2:]] == steps and [
            len(spatial) for spatial in part[2:]
        ] == lengths
        if not alike or any(list(part[axis]) != list(range(x.shape[axis])) for axis in (0, 1)):
            return
    starts = [(part[2].start, part[3].start) for part in ranges]
    if not all(graph.sole_user(part, layer) for part in layer.inputs):
        return
    if _in_blocks(x, starts, steps):
        _become_blocks(graph, layer, x, starts, steps[0], builder)
    else:
        _become_windows(graph, layer, x, starts, steps, builder)


def _ranges(layer: Draft) -> list[range]:
    """The indices that a slice takes along each axis."""
    taken = [range(size) for size in layer.inputs[0].shape]
    axes, starts, ends = (layer.fields[name] for name in ("axes", "starts", "ends"))
    steps = layer.fields.get("steps") or [1] * len(numbers(axes))
    if isinstance(starts, list) and isinstance(ends, list) and isinstance(steps, list):
        for axis, *bounds in zip(numbers(axes), starts, ends, steps, strict=True):
            taken[axis] = range(*slice(*bounds).indices(len(taken[axis])))
    return taken


def _in_blocks(x: Draft, starts: list[tuple[int, int]], steps: list[int]) -> bool:
    """Whether the slices are the places of square blocks, each once."""
    side = steps[0]
    whole = all(size % side == 0 for size in x.shape[2:]) if side > 1 else False
    places = [(h, w) for h in range(side) for w in range(side)] if side <= _MOST_LISTED else []
    return whole and steps[1] == side and sorted(starts) == places


def _become_blocks(
    graph: Graph, layer: Draft, x: Draft, starts: list[tuple[int, int]], side: int, builder: Builder
) -> None:
    """space_to_depth, and the order of its channels where that is another."""
    channels = x.shape[1]
    order = [h * side + w for h, w in starts]
    parts = [*layer.inputs, layer]
    if order == sorted(order):
        graph.become(layer, "space_to_depth", [x], {"block": side}, parts)
    elif channels * len(order) <= _MOST_LISTED:
        blocks = builder.draft("space_to_depth", [x], {"block": side})
        graph.rewire(blocks, [x])
        indices = [place * channels + channel for place in order for channel in range(channels)]
        graph.become(layer, "gather", [blocks], {"indices": indices}, parts)


def _become_windows(
    graph: Graph,
    layer: Draft,
    x: Draft,
    starts: list[tuple[int, int]],
    steps: list[int],
    builder: Builder,
) -> None:
    """unfold2d, its taps before the channels, as the slices stand."""
    rows, columns = (sorted({start[axis] for start in starts}) for axis in (0, 1))
    if starts != [(row, column) for row in rows for column in columns] or min(steps) < 1:
        return
    kernel = [len(rows), len(columns)]
    dilation = [places[1] if len(places) > 1 else 1 for places in (rows, columns)]
    even = [list(range(0, step * count, step)) for step, count in zip(dilation, kernel, strict=True)]
    if [rows, columns] != even or min(dilation) < 1:
        return
    fields: dict[str, object] = {"kernel": kernel}
    if steps != [1, 1]:
        fields["stride"] = steps
    if dilation != [1, 1]:
        fields["dilation"] = dilation
    windows = builder.draft("unfold2d", [x], fields)
    parts, channels = [*layer.inputs, layer], x.shape[1]
    if windows.shape[1:] != (layer.shape[1], math.prod(layer.shape[2:])):
        builder.layers.remove(windows)
        return
    graph.rewire(windows, [x])
    shape = [0, *layer.shape[1:]]
    if channels == 1:
        graph.become(layer, "reshape", [windows], {"shape": shape}, parts)
    else:
        image = builder.draft("reshape", [windows], {"shape": shape})
        graph.rewire(image, [windows])
        graph.become(layer, "channel_shuffle", [image], {"groups": channels}, parts)
