"""Which steps run on streams of their own, beside others that they do not need, and what waits for what.

Where branches meet, each but the longest may run beside it. Kernels of a small batch fill a part of a GPU, so that two
at a time may take no longer than one; a fork and a join cost about as much as a launch. What wins is measured: without
a lock nothing runs beside anything.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cnngen.codegen.graph import Graph, is_view
from cnngen.codegen.streams import Streams, scheduled

MOST = 4  # streams, that of the pass included


@dataclass(frozen=True)
class Branch:
    """Steps that some others, up to where they meet, do not need, and that do not need them."""

    name: str  # the value that it ends with
    nodes: tuple[str, ...]  # in order
    meeting: tuple[str, ...]  # all nodes of the branches that meet there


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
    return scheduled(graph, nodes, steps, within)


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
