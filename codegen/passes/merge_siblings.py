"""Convolutions of one input and one geometry become one with their filters stacked.

SPADE's gamma and beta are two, the branches of an inception block several: the input is read once, and one launch is
larger. Who read one of them reads its channels of the whole, which a pointwise step does in place; for others they
are copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.graph import Array, Graph, Node, Value, add_inputs, tidy
from cnngen.codegen.node_ops import Conv, Pointwise
from cnngen.codegen.rewriting import Draft, all_layers, is_by_channel, problem_of
from cnngen.codegen.targets import CUDA, Target
from cnngen.spec.types import ElementType

APART, MERGED = "apart", "merged"


def merge_siblings(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each set of siblings as one convolution, where that is cheaper."""
    if not target.pads_channels:
        return graph
    draft = Draft(graph, choices)
    merged: dict[str, Node] = {}  # by member: what writes its channels
    first: dict[str, Node] = {}  # by the first member: the convolution of all
    for op, members in _siblings(graph):
        if _pays(draft, op, members):
            whole = _stacked(draft, members)
            first[members[0].name] = whole
            offset = 0
            for node in members:
                index = (Coord(0), ex.call("iadd", Coord(1), Int(offset)), Coord(2), Coord(3))
                merged[node.name] = Node(node.value, Pointwise(), (whole.name,), node.layers, Load(0, index))
                offset += node.value.shape[1]
    for node in graph.nodes:
        if node.name in first:
            draft.add(first[node.name])
        draft.add(merged.get(node.name, node))
    return draft.result()


@dataclass(frozen=True)
class _Geometry:
    """What siblings have in common."""

    x: str
    op: Conv
    kernel: tuple[int, ...]
    y: Value  # without its name and channels
    weight: ElementType
    epilogue: Expr  # its inputs numbered in order of use


def _siblings(graph: Graph) -> list[tuple[Conv, list[Node]]]:
    found: dict[_Geometry, list[Node]] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Conv) or node.op.groups != 1 or node.inputs[1] not in graph.constants:
            continue
        if is_by_channel(node, graph.constants) and not _names_channels(node):
            y = replace(node.value, name="", shape=(node.value.shape[0], 0, *node.value.shape[2:]))
            weight = graph.values[node.inputs[1]]
            key = _Geometry(node.inputs[0], node.op, weight.shape[2:], y, weight.dtype, tidy(node).epilogue)
            found.setdefault(key, []).append(node)
    return [(key.op, members) for key, members in found.items() if len(members) > 1]


def _names_channels(node: Node) -> bool:
    """Whether an epilogue has a use for the channel's number, other than to load by it."""
    bare = ex.rewrite(node.epilogue, lambda e: Float(0.0) if isinstance(e, Load) else None)
    return any(isinstance(e, Coord) for e in ex.walk(bare))


def _pays(draft: Draft, op: Conv, members: Sequence[Node]) -> bool:
    graph, cost = draft.graph, draft.choices.cost
    x, weight = graph.values[members[0].inputs[0]], graph.constants[members[0].inputs[1]]

    def price(filters: int) -> float:
        shape = (x.shape[0], filters, *members[0].value.shape[2:])
        return cost.move(0) + cost.convolution(
            problem_of(x, replace(members[0].value, shape=shape), weight, op)
        )

    apart = sum(price(node.value.shape[1]) for node in members)
    # What could have joined the convolutions, and what reads several of them, is then a step of its own.
    merged = price(sum(node.value.shape[1] for node in members))
    merged += cost.move(2 * sum(node.value.bytes for node in members))
    for node in members:
        in_place = all(isinstance(reader.op, Pointwise) for reader in graph.consumers[node.name])
        merged += 0.0 if in_place else cost.move(0)
    return draft.choose("merge_siblings", members[0], {APART: apart, MERGED: merged}) == MERGED


def stacked(*arrays: Array) -> Array:
    """One after the other along the first axis."""
    return np.concatenate(arrays)


def _stacked(draft: Draft, members: Sequence[Node]) -> Node:
    """One convolution for all, its channels theirs one after the other."""
    first, constants = tidy(members[0]), draft.graph.constants
    weights = [constants[node.inputs[1]] for node in members]
    filters = sum(weight.value.shape[0] for weight in weights)
    name = draft.fresh(f"{first.name}.siblings")
    own = (filters, *weights[0].value.shape[1:])
    weight = draft.constant(f"{weights[0].value.name}.siblings", own, stacked, weights)
    shape = (first.value.shape[0], filters, *first.value.shape[2:])
    whole = Node(
        replace(first.value, name=name, shape=shape), first.op, (first.inputs[0], weight), all_layers(members)
    )
    extras = []
    for number, extra in enumerate(first.extras):
        parts = [constants[tidy(node).extras[number]] for node in members]
        extras.append(draft.constant(f"{extra}.siblings", (filters,), stacked, parts))
    whole, places = add_inputs(whole, extras)
    numbers = {number: places[extra] for number, extra in enumerate(extras, start=2)}
    return tidy(replace(whole, epilogue=ex.renumber(first.epilogue, numbers)))
