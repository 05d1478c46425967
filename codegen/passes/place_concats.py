"""Concatenations of channels whose parts are written where they belong, so that nothing is copied.

Not every writer is as fast when its pixels lie apart: few of cuDNN's engines write so. Each concatenation is therefore
a choice. What cannot be written in place is copied by a step that writes its channels alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.expr import Coord, Int
from cnngen.codegen.graph import ITEM_BYTES, LIBRARIES, Graph, Node, Value, tidy
from cnngen.codegen.node_ops import Conv, Join, Pointwise, Pool
from cnngen.codegen.rewriting import (
    PART_ALIGNMENT,
    SLIDING,
    Draft,
    Part,
    adds_apart,
    concat_parts,
    reads_apart,
)
from cnngen.codegen.targets import CUDA, Target

COPIED, IN_PLACE = "copied", "in_place"


def place_concats(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each concatenation copied, or joined from parts that are written in place.

    One that begins as an earlier one does, or has it as a part, has it in place with all of its parts: the
    concatenations of a dense block grow in one buffer.
    """
    if not target.pads_channels:
        return graph
    draft = Draft(graph, choices)
    places = _Places(graph)
    for node in graph.nodes:
        parts = places.named(node)
        there = [part for part in parts if places.may_hold(node, part)]
        if not there or node.name in graph.outputs:
            continue
        if draft.choose("place_concats", node, _prices(draft, node, there)) == COPIED:
            continue
        places.join(draft, node, parts, there)
    for node in graph.nodes:
        nodes = places.joined.get(node.name, [node])
        draft.add(*(replace(step, value=places.placed.get(step.name, step.value)) for step in nodes))
    return draft.result()


@dataclass(frozen=True)
class _Named:
    """A part of a concatenation. `name`: the value that it is, whole; "": it is computed."""

    name: str
    part: Part


class _Places:
    """What is written into concatenations, and what takes the place of these."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.placed: dict[str, Value] = {}  # what lies in a host, which is itself in none
        self.joined: dict[str, list[Node]] = {}  # by concatenation: what takes its place
        self.names: dict[str, list[str]] = {}  # by concatenation that is joined of values: these, flat

    def named(self, node: Node) -> list[_Named]:
        """The parts of a concatenation, an earlier one in place of the parts that are its own; else none."""
        parts = [
            _Named(node.inputs[part.load.source] if part.load is not None else "", part)
            for part in concat_parts(node)
        ]
        names = [part.name for part in parts]
        for earlier, own in sorted(self.names.items(), key=lambda item: -len(item[1])):
            if len(own) < len(names) and own == names[: len(own)]:
                whole = _Named(earlier, replace(parts[0].part, last=parts[len(own) - 1].part.last))
                if self.may_hold(node, whole):
                    return [whole, *parts[len(own) :]]
        return parts

    def may_hold(self, node: Node, part: _Named) -> bool:
        """Whether a part can lie in the concatenation, and be read there by all others that read it."""
        name, graph = part.name, self.graph
        if not name or name in self.placed or name in graph.outputs:
            return False
        value, writer = graph.values[name], graph.producers.get(name)
        if writer is None or value.host or not (name in self.joined or _writes_apart(writer)):
            return False
        first, last, whole = part.part.first, part.part.last, node.value
        fits = value.shape[1] == last - first and value.dtype == whole.dtype and value.layout == "NHWC"
        item = ITEM_BYTES[value.dtype]
        aligned = all(count * item % PART_ALIGNMENT == 0 for count in (first, value.shape[1], whole.shape[1]))
        uses = [load for load in ex.loads(node.epilogue) if node.inputs[load.source] == name]
        return (
            fits
            and aligned
            and len(uses) <= 1
            and all(
                reads_apart(reader, name) or adds_apart(reader, name)
                for reader in graph.consumers[name]
                if reader is not node
            )
        )

    def join(self, draft: Draft, node: Node, parts: Sequence[_Named], there: Sequence[_Named]) -> None:
        """Puts what is `there` into the concatenation, and the rest by further steps."""
        for part in there:
            self._move(part.name, node, part.part.first)
        steps: list[Node] = []
        names: list[str] = []
        left: list[Part] = []

        def flush() -> None:
            if left:
                steps.append(_rest(draft, node, left))
                self.placed[steps[-1].name] = steps[-1].value
                names.append(steps[-1].name)
                left.clear()

        for part in parts:
            if part in there:
                flush()
                names.append(part.name)
            else:
                left.append(part.part)
        flush()
        self.joined[node.name] = [*steps, Node(node.value, Join(), tuple(names), node.layers)]
        if all(part.name for part in parts):
            self.names[node.name] = [
                name for part in parts for name in self.names.get(part.name, [part.name])
            ]

    def _move(self, name: str, node: Node, first: int) -> None:
        """A value, and what lies in it, into a concatenation."""
        pixel = node.value.shape[1]
        for other, value in self.placed.items():
            if value.host == name:
                self.placed[other] = replace(value, host=node.name, first=first + value.first, pixel=pixel)
        value = self.graph.values[name]
        self.placed[name] = replace(value, host=node.name, first=first, pixel=pixel)


def _writes_apart(writer: Node) -> bool:
    convolves = isinstance(writer.op, Conv) and writer.form in SLIDING
    return isinstance(writer.op, Pointwise | Pool) or convolves


def _prices(draft: Draft, node: Node, there: Sequence[_Named]) -> dict[str, float]:
    """What a copy moves; and for what a library writes or adds apart, as much again for the engine that it lacks."""
    cost, graph = draft.choices.cost, draft.graph
    names = [part.name for part in there]
    copied = sum(graph.values[name].bytes for name in names)
    slow = sum(
        2 * graph.values[name].bytes
        for name in names
        if graph.producers[name].form in LIBRARIES
        or any(adds_apart(reader, name) for reader in graph.consumers[name])
    )
    return {
        COPIED: cost.move(2 * node.value.bytes),
        IN_PLACE: cost.move(2 * (node.value.bytes - copied)) + (2 * cost.move(slow) if slow else 0.0),
    }


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
