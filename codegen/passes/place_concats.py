"""Concatenations of channels whose parts are written where they belong, so that nothing is copied.

Not every writer is as fast when its pixels lie apart: few of cuDNN's engines write so. Each concatenation is therefore
a choice. What cannot be written in place is copied by a step that writes its channels alone.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.expr import Coord, Int
from cnngen.codegen.graph import ITEM_BYTES, LIBRARIES, Conv, Graph, Join, Node, Pointwise, Pool, Value, tidy
from cnngen.codegen.rewriting import PART_ALIGNMENT, SLIDING, Draft, Part, concat_parts, reads_apart
from cnngen.codegen.targets import CUDA, Target

COPIED, IN_PLACE = "copied", "in_place"


def place_concats(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each concatenation copied, or joined from parts that are written in place."""
    if not target.pads_channels:
        return graph
    draft = Draft(graph, choices)
    placed: dict[str, Value] = {}  # what is written into a host
    joined: dict[str, list[Node]] = {}  # by concatenation: what takes its place
    for node in graph.nodes:
        parts = concat_parts(node)
        there = [part for part in parts if _may_be_placed(graph, node, part, {*placed, *joined})]
        if not there or node.name in graph.outputs:
            continue
        if draft.choose("place_concats", node, _prices(draft, node, there)) == COPIED:
            continue
        sources = {node.inputs[part.load.source]: part for part in there if part.load is not None}
        for name, part in sources.items():
            placed[name] = replace(
                graph.values[name], host=node.name, first=part.first, pixel=node.value.shape[1]
            )
        joined[node.name] = _joined(draft, node, parts, there)
    for node in graph.nodes:
        node = replace(node, value=placed.get(node.name, node.value))
        draft.add(*joined.get(node.name, [node]))
    return draft.result()


def _may_be_placed(graph: Graph, node: Node, part: Part, taken: Container[str]) -> bool:
    """Whether a part can be written into the concatenation, and be read there by all others that read it.

    `taken`: values that lie in another one, or are joined themselves.
    """
    if part.load is None:
        return False
    name = node.inputs[part.load.source]
    value, writer = graph.values[name], graph.producers.get(name)
    if writer is None or name in taken or name in graph.outputs or value.host:
        return False
    item, whole = ITEM_BYTES[value.dtype], node.value
    fits = value.shape[1] == part.last - part.first and value.dtype == whole.dtype and value.layout == "NHWC"
    aligned = all(
        count * item % PART_ALIGNMENT == 0 for count in (part.first, value.shape[1], whole.shape[1])
    )
    uses = [load for load in ex.loads(node.epilogue) if node.inputs[load.source] == name]
    return (
        fits
        and aligned
        and len(uses) == 1
        and _writes_apart(writer)
        and all(reads_apart(reader, name) for reader in graph.consumers[name] if reader is not node)
    )


def _writes_apart(writer: Node) -> bool:
    convolves = isinstance(writer.op, Conv) and writer.form in SLIDING
    return isinstance(writer.op, Pointwise | Pool) or convolves


def _prices(draft: Draft, node: Node, there: Sequence[Part]) -> dict[str, float]:
    """What a copy moves; and for each library's step that writes apart, as much again for the engine that it lacks."""
    cost, graph = draft.choices.cost, draft.graph
    names = [node.inputs[part.load.source] for part in there if part.load is not None]
    copied = sum(graph.values[name].bytes for name in names)
    slow = sum(2 * graph.values[name].bytes for name in names if graph.producers[name].form in LIBRARIES)
    return {
        COPIED: cost.move(2 * node.value.bytes),
        IN_PLACE: cost.move(2 * (node.value.bytes - copied)) + (2 * cost.move(slow) if slow else 0.0),
    }


def _joined(draft: Draft, node: Node, parts: Sequence[Part], there: Sequence[Part]) -> list[Node]:
    """Steps for the parts that are left, neighbours together, and what joins all."""
    steps: list[Node] = []
    names: list[str] = []
    left: list[Part] = []

    def flush() -> None:
        if left:
            steps.append(_rest(draft, node, left))
            names.append(steps[-1].name)
            left.clear()

    for part in parts:
        if part in there and part.load is not None:
            flush()
            names.append(node.inputs[part.load.source])
        else:
            left.append(part)
    flush()
    return [*steps, Node(node.value, Join(), tuple(names), node.layers)]


def _rest(draft: Draft, node: Node, parts: Sequence[Part]) -> Node:
    """The step that writes neighbouring parts."""
    first, last = parts[0].first, parts[-1].last
    index = (Coord(0), ex.call("iadd", Coord(1), Int(first)), Coord(2), Coord(3))
    value = ex.at(parts[-1].value, index)
    for part in reversed(parts[:-1]):
        value = ex.select(ex.call("lt", Coord(1), Int(part.last - first)), ex.at(part.value, index), value)
    shape = (node.value.shape[0], last - first, *node.value.shape[2:])
    name = draft.fresh(f"{node.name}.part")
    here = replace(node.value, name=name, shape=shape, host=node.name, first=first, pixel=node.value.shape[1])
    return tidy(Node(here, Pointwise(), node.inputs, node.layers, value))
