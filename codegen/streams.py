"""The streams of a pass: on which one each step runs, and what waits for what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cnngen.codegen.graph import Graph, Node, is_view


@dataclass(frozen=True)
class Streams:
    """In which order steps are put on which streams, and what they wait for. Numbers are those in the order.

    order:  every node's name
    of:     a step's name -> its stream, where that is not 0
    waits:  a step's name -> streams: it begins when what was put on them until then has ended
    end:    streams that the end of the pass waits for
    before: a step's name -> by stream: the last node there that has ended when it begins, -1 for none
    """

    order: tuple[str, ...]
    of: Mapping[str, int]
    waits: Mapping[str, tuple[int, ...]]
    end: tuple[int, ...]
    before: Mapping[str, tuple[int, ...]]

    @property
    def count(self) -> int:
        return max(self.of.values(), default=0) + 1

    def nodes(self, graph: Graph) -> tuple[Node, ...]:
        """The graph's nodes in this order."""
        return tuple(graph.producers[name] for name in self.order)


def in_one_stream(graph: Graph) -> Streams:
    """All steps one after the other."""
    return scheduled(graph, graph.nodes, {})


def scheduled(
    graph: Graph, nodes: Sequence[Node], of: Mapping[str, int], within: Streams | None = None
) -> Streams:
    """Nodes in this order, steps on those streams; each waits for what it reads and is not known to have been made.

    `within`: streams of the same order in which nothing comes before what it comes after there.
    """
    count = max(of.values(), default=0) + 1
    seen = [[-1] * count for _ in range(count)]  # by stream: on each, the last node that has ended
    last = [-1] * count  # by stream: the last node that was put there
    number = {node.name: i for i, node in enumerate(nodes)}
    ended = _ended(nodes, of, count, within)
    waits: dict[str, tuple[int, ...]] = {}
    before: dict[str, tuple[int, ...]] = {}

    def wait(stream: int, other: int) -> None:
        known = seen[other].copy()
        known[other] = last[other]
        seen[stream] = [max(pair) for pair in zip(seen[stream], known, strict=True)]

    for i, node in enumerate(nodes):
        if is_view(node):
            continue
        stream = of.get(node.name, 0)
        needed = [(number[made.name], of.get(made.name, 0)) for made in _made(graph, node)]
        needed += [(made, other) for other, made in enumerate(ended(node))]
        awaited = []
        for made, other in sorted(needed, reverse=True):
            if other != stream and made > seen[stream][other]:
                wait(stream, other)
                awaited.append(other)
        if stream and last[stream] < 0 and not awaited:  # a stream takes part once it waits for another
            wait(stream, 0)
            awaited.append(0)
        if awaited:
            waits[node.name] = tuple(sorted(awaited))
        seen[stream][stream] = last[stream]
        before[node.name] = tuple(seen[stream])
        last[stream] = i
    end = tuple(stream for stream in range(1, count) if last[stream] > seen[0][stream])
    return Streams(tuple(number), of, waits, end, before)


def _ended(
    nodes: Sequence[Node], of: Mapping[str, int], count: int, within: Streams | None
) -> Callable[[Node], Sequence[int]]:
    """What has ended in other streams when a step begins there, by the stream where it is now: the last, or -1."""
    if within is None:
        return lambda _node: ()
    there = within
    latest: list[list[list[int]]] = []  # after each node, by stream there and here: the last node until then
    table = [[-1] * count for _ in range(there.count)]
    for i, node in enumerate(nodes):
        if not is_view(node):
            table[there.of.get(node.name, 0)][of.get(node.name, 0)] = i
        latest.append([row.copy() for row in table])

    def ended(node: Node) -> list[int]:
        rows = [latest[i][stream] for stream, i in enumerate(there.before[node.name]) if i >= 0]
        return [max((row[here] for row in rows), default=-1) for here in range(count)]

    return ended


def _made(graph: Graph, node: Node) -> list[Node]:
    """The steps that write what a step reads, seen through views."""
    found: dict[str, Node] = {}
    left = [*node.inputs]
    while left:
        made = graph.producers.get(left.pop())
        if made is not None and is_view(made):
            left += made.inputs
        elif made is not None:
            found[made.name] = made
    return list(found.values())
