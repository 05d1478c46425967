"""Channels of a convolution that steps copy one by one, read where they lie.

Convolutions merged with their siblings, and networks that split a map, have each reader copy what it needs. With the
same function in all of these copies the convolution applies it itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.epilogues import FREE, functions_of, library_chain
from cnngen.codegen.expr import ACC, Call, Coord, Expr, Int, Load
from cnngen.codegen.graph import ITEM_BYTES, LIBRARIES, Graph, Node, Value
from cnngen.codegen.node_ops import Conv, Pointwise, Slice
from cnngen.codegen.rewriting import PART_ALIGNMENT, Draft, adds_apart, reads_apart
from cnngen.codegen.targets import CUDA, Target

COPIED, IN_PLACE = "copied", "in_place"


def place_splits(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each convolution whose channels are copied apart: so, or read in place."""
    if not target.pads_channels:
        return graph
    draft = Draft(graph, choices)
    views: dict[str, Node] = {}
    for node in graph.nodes:
        split = _split(node, graph)
        if split and draft.choose("place_splits", node, _prices(draft, split)) == IN_PLACE:
            node = replace(node, epilogue=_applied(split[0].function, node))
            views |= {part.copy.name: part.view(node.value) for part in split}
        draft.add(views.get(node.name, node))
    return draft.result()


@dataclass(frozen=True)
class _Part:
    """A step that copies channels from `first` on, and what it does to each (`ACC`)."""

    copy: Node
    first: int
    function: Expr

    def view(self, whole: Value) -> Node:
        """What takes its place."""
        value = replace(self.copy.value, host=whole.name, first=self.first, pixel=whole.shape[1])
        return replace(self.copy, op=Slice(), value=value, epilogue=ACC)


def _split(node: Node, graph: Graph) -> list[_Part]:
    """The parts of a convolution's channels that may be read in place.

    All, if nothing else is read of it and one function is applied to all of them, which it can take on; else those to
    which none is applied.
    """
    whole = node.value
    if not isinstance(node.op, Conv) or whole.host or whole.padding or node.name in graph.outputs:
        return []
    found = [_part(reader, whole, graph) for reader in graph.consumers[node.name]]
    parts = [part for part in found if part is not None]
    if len(parts) == len(found) and len({part.function for part in parts}) == 1:
        fused = replace(node, epilogue=_applied(parts[0].function, node))
        free = functions_of(parts[0].function) <= FREE and library_chain(fused, graph) is not None
        if node.form not in LIBRARIES or free:
            return parts
    return [part for part in parts if part.function == ACC]


def _part(reader: Node, whole: Value, graph: Graph) -> _Part | None:
    y = reader.value
    plain = (y.layout, y.dtype, y.host, y.padding) == ("NHWC", whole.dtype, "", 0)
    if not isinstance(reader.op, Pointwise) or not plain or len(reader.inputs) != 1:
        return None
    if (y.shape[0], *y.shape[2:]) != (whole.shape[0], *whole.shape[2:]) or reader.name in graph.outputs:
        return None
    loads = ex.loads(reader.epilogue)
    first = _first_channel(loads[0]) if len(set(loads)) == 1 else None
    if first is None or first + y.shape[1] > whole.shape[1]:
        return None
    item = ITEM_BYTES[y.dtype]
    if any(count * item % PART_ALIGNMENT for count in (first, y.shape[1], whole.shape[1])):
        return None
    if not all(reads_apart(user, y.name) or adds_apart(user, y.name) for user in graph.consumers[y.name]):
        return None
    function = ex.rewrite(reader.epilogue, lambda e: ACC if e == loads[0] else None)
    by_element = not any(isinstance(e, Coord) for e in ex.walk(function))
    return _Part(reader, first, function) if by_element else None


def _first_channel(load: Load) -> int | None:
    """Of a load that reads its own pixel's channels from some number on."""
    match load.index:
        case (Coord(0), Coord(1), Coord(2), Coord(3)):
            return 0
        case (Coord(0), Call("iadd", (Coord(1), Int(first))), Coord(2), Coord(3)) if first > 0:
            return first
    return None


def _applied(function: Expr, node: Node) -> Expr:
    return ex.rewrite(function, lambda e: node.epilogue if e == ACC else None)


def _prices(draft: Draft, split: Sequence[_Part]) -> dict[str, float]:
    cost, graph = draft.choices.cost, draft.graph
    slow = [
        part.copy.value.bytes
        for part in split
        for user in graph.consumers[part.copy.name]
        if not reads_apart(user, part.copy.name)
    ]
    return {
        COPIED: sum(cost.move(2 * part.copy.value.bytes) for part in split),
        IN_PLACE: sum(cost.move(2 * count) for count in slow),
    }
