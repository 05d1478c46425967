"""Channels filled up with zeros to a count that the tensor cores read well.

The talk's rule was "multiples of eight"; on an H100 a 7x7 stem is 2.6 times faster with four channels than with
eight, so the counts are candidates and a cost decides. The filter's added channels are zero, so that what the
added channels hold never counts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.cost import ConvProblem
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.graph import ITEM_BYTES, Array, Constant, Graph, Node, Site, Value, unused, with_sites
from cnngen.codegen.node_ops import Conv, Pointwise
from cnngen.codegen.targets import CUDA, Target


def pad_channels(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each convolution by cuDNN whose input channels pay for being padded reads a padded copy of its input.

    `fuse_epilogues` then merges the copy with what writes the input, where that is pointwise.
    """
    if not target.pads_channels:
        return graph
    constants = dict(graph.constants)
    padded: dict[tuple[str, int], str] = {}
    nodes: list[Node] = []
    sites: list[Site] = []
    for node in graph.nodes:
        if isinstance(node.op, Conv) and node.op.groups == 1 and node.form == "cudnn":
            x, w = graph.values[node.inputs[0]], constants[node.inputs[1]]
            producer = graph.producers.get(x.name)
            merges = producer is not None and isinstance(producer.op, Pointwise)
            kernel = (w.value.shape[2], w.value.shape[3])
            prices = channel_prices(node.op, x, node.value, kernel, choices, copies=not merges)
            sites.append(choices.site("pad_channels", node, prices))
            channels = int(sites[-1].chosen)
            if channels != x.shape[1]:
                key = (x.name, channels)
                if key not in padded:
                    layers = producer.layers if producer is not None else node.layers[:1]
                    copy = _padded_copy(
                        unused(f"{x.name}.padded{channels}", graph.values), layers, x, channels
                    )
                    padded[key] = copy.name
                    nodes.append(copy)
                weight = _padded_filter(unused(f"{w.value.name}.padded{channels}", graph.values), w, channels)
                constants[weight.value.name] = weight
                node = replace(node, inputs=(padded[key], weight.value.name, *node.inputs[2:]))
        nodes.append(node)
    widest = dict(sorted(padded))
    for name, channels in widest.items():
        nodes = _read_padded(nodes, name, padded[name, channels], graph)
    return with_sites(graph.with_nodes(nodes, constants), sites)


def _read_padded(nodes: list[Node], x: str, copy: str, graph: Graph) -> list[Node]:
    """Where all that reads x can as well read its widest padded copy, x is written with that padding alone."""
    writer = graph.producers.get(x)
    others = [node for node in nodes if x in node.inputs and node.name != copy]
    if writer is None or not others or x in graph.outputs:
        return nodes
    if not all(isinstance(node.op, Pointwise) for node in (writer, *others)):
        return nodes
    padded = next(node for node in nodes if node.name == copy)
    found = []
    for node in nodes:
        if node.name != copy:
            inputs = tuple(copy if name == x else name for name in node.inputs)
            found.append(replace(node, inputs=inputs) if node in others else node)
        if node.name == x:
            found.append(padded)
    return found


def candidates(channels: int, item_bytes: int) -> list[int]:
    """The channel counts worth trying: as it is, four for stems, and full 16- and 64-byte groups."""
    counts = [channels]
    for group in (4, 16 // item_bytes, 64 // item_bytes):
        count = -(-channels // group) * group
        if group != 4 or channels <= 4:
            counts.append(count)
    return sorted(set(counts))


def channel_prices(
    op: Conv, x: Value, y: Value, kernel: tuple[int, int], choices: Choices, *, copies: bool
) -> dict[str, float]:
    """What each count of stored input channels costs, the fullest first. `copies`: padding takes a step."""

    def price(channels: int) -> float:
        shape = (x.shape[0], channels, *x.shape[2:])
        copy = choices.cost.copy(x, channels) if copies and channels != x.shape[1] else 0.0
        return copy + choices.cost.convolution(ConvProblem(shape, y.shape, kernel, op, x.dtype))

    counts = candidates(x.shape[1], ITEM_BYTES[x.dtype])
    return {str(channels): price(channels) for channels in reversed(counts)}


def _padded_copy(name: str, layers: tuple[str, ...], x: Value, channels: int) -> Node:
    load: Expr = ex.broadcast_load(0, x.shape, 4)
    if isinstance(load, Load):
        load = Load(0, (load.index[0], Coord(1), *load.index[2:]))
    value = ex.select(ex.call("lt", Coord(1), Int(x.shape[1])), load, Float(0.0))
    shape = (x.shape[0], channels, *x.shape[2:])
    return Node(
        replace(x, name=name, shape=shape, layout="NHWC", padding=channels - x.shape[1]),
        Pointwise(),
        (x.name,),
        layers,
        value,
    )


def _padded_filter(name: str, weight: Constant, channels: int) -> Constant:
    k, _, r, s = weight.value.shape
    value = replace(weight.value, name=name, shape=(k, channels, r, s))
    return Constant.derived(value, _with_zeros, [weight], (channels,))


def _with_zeros(w: Array, channels: int) -> Array:
    k, c, r, s = w.shape
    padded = np.zeros((k, channels, r, s), np.float32)
    padded[:, :c] = w
    return padded
