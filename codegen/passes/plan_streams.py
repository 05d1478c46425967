"""Which steps run on streams of their own, beside others that they do not need, and what waits for what.

Where branches meet, each but the longest may run beside it. Kernels of a small batch fill a part of a GPU, so that two
at a time may take no longer than one; a fork and a join cost about as much as a launch. What wins is measured: without
a lock nothing runs beside anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from cnngen.codegen.graph import Graph, Node, is_view

MOST = 4  # streams, that of the pass included


@dataclass(frozen=True)
class Branch:
    """Steps that some others, up to where they meet, do not need, and that do not need them."""

    name: str  # the value that it ends with
    nodes: tuple[str, ...]  # in order
    meeting: tuple[str, ...]  # all nodes of the branches that meet there


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


def plan_streams(graph: Graph, beside: Collection[str] = (), within: Streams | None = None) -> Streams:
    """The stream of each step. A branch comes where it can begin, and other steps in the graph's order.

    `beside`: names of branches that are to run on streams of their own; where there are too many, some do not.
    `within`: streams whose order stays, and in which nothing comes before what it comes after there: an arena that was
    planned for them serves these, too.
    """
    of: dict[str, int] = {}
    order = [node.name for node in graph.nodes]
    for branch in branches(graph) if beside else ():
        if branch.name not in beside:
            continue
        busy = {of.get(name, 0) for name in branch.meeting}
        free = next((stream for stream in range(1, MOST) if stream not in busy), None)
        if free is None:
            continue
        of |= {name: free for name in branch.nodes if name not in of}
        order = _moved(graph, order, frozenset(branch.nodes))
    nodes = within.nodes(graph) if within else [graph.producers[name] for name in order]
    steps = {node.name: of[node.name] for node in nodes if node.name in of and not is_view(node)}
    return _scheduled(graph, nodes, steps, within)


def branches(graph: Graph) -> tuple[Branch, ...]:
    """Every branch that may run beside others, in the order in which they meet; inner ones before those around them.

    Branches meet in a node that reads them all, or at the end of the pass.
    """
    bits = {node.name: 1 << number for number, node in enumerate(graph.nodes)}
    needs: dict[str, int] = {}  # with the node itself
    found: dict[str, Branch] = {}
    ends = [(node.name, node.inputs) for node in graph.nodes] + [("", graph.outputs)]
    for name, inputs in ends:
        read = [value for value in dict.fromkeys(inputs) if value in bits]
        own = []
        for value in read:
            others = 0
            for other in read:
                others |= needs[other] if other != value else 0
            own.append(_steps(graph, needs[value] & ~others))
        apart = [(value, nodes) for value, nodes in zip(read, own, strict=True) if _runs(graph, nodes)]
        if len(apart) > 1:
            longest = max(apart, key=lambda branch: _runs(graph, branch[1]))
            meeting = tuple(node for _, nodes in apart for node in nodes)
            for value, nodes in apart:
                if value != longest[0]:
                    found.setdefault(value, Branch(value, nodes, meeting))
        if name:
            needs[name] = bits[name]
            for value in read:
                needs[name] |= needs[value]
    return tuple(found.values())


def _steps(graph: Graph, mask: int) -> tuple[str, ...]:
    return tuple(node.name for number, node in enumerate(graph.nodes) if mask >> number & 1)


def _runs(graph: Graph, nodes: Sequence[str]) -> int:
    """How many of the nodes are steps."""
    return sum(not is_view(graph.producers[name]) for name in nodes)


def _moved(graph: Graph, order: Sequence[str], branch: frozenset[str]) -> list[str]:
    """The order with a branch's nodes together, behind the last node that they need."""
    needed = {value for name in branch for value in graph.producers[name].inputs} - branch
    rest = [name for name in order if name not in branch]
    at = max((number + 1 for number, name in enumerate(rest) if name in needed), default=0)
    return [*rest[:at], *(name for name in order if name in branch), *rest[at:]]


def _scheduled(graph: Graph, nodes: Sequence[Node], of: Mapping[str, int], within: Streams | None) -> Streams:
    """What each step waits for: what it reads that other streams make, and is not known to have been made."""
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
    latest: list[
        list[list[int]]
    ] = []  # after each node, by stream there and stream here: the last one until then
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
