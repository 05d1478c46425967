"""Where each activation lies in the arena: two slots in turn for a chain, packed by liveness for any other graph.

A chain's values lie alternately at the bottom and at the top, so that the arena is the largest sum of two
neighbours; no packing can be smaller. Network inputs and outputs have a place too: the staging of host data.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cnngen.codegen import expr as ex
from cnngen.codegen.epilogues import added_in_place
from cnngen.codegen.graph import ITEM_BYTES, Graph, Node, Value, is_view
from cnngen.codegen.node_ops import Join, Pointwise
from cnngen.codegen.streams import Streams, in_one_stream

ALIGNMENT = 256
CLOSE_ENOUGH = 1.05  # of the largest sum of live bytes; beyond, more orders are tried
ATTEMPTS = 2000


@dataclass(frozen=True)
class Buffer:
    """Values that share memory, and when something in them is needed. Steps are numbers in their order.

    first, last: of all steps that write or read it
    after:       by stream, the last step there that has ended whenever one of them begins
    until:       by stream, the last of them there
    """

    values: tuple[str, ...]
    bytes: int
    first: int
    last: int
    after: tuple[int, ...]
    until: tuple[int, ...]

    def meets(self, other: Buffer) -> bool:
        """Whether both may be needed at a time."""
        return not (self._ends_before(other) or other._ends_before(self))

    def _ends_before(self, other: Buffer) -> bool:
        return all(last <= ended for last, ended in zip(self.until, other.after, strict=True))


@dataclass(frozen=True)
class Arena:
    """Where every value lies, and how good that is."""

    offsets: Mapping[str, int]  # of every value that is not a constant
    bytes: int
    live_bytes: int  # the largest sum of bytes alive at one step: no arena can be smaller
    buffers: tuple[Buffer, ...]


def assign_buffers(
    graph: Graph, streams: Streams | None = None, *, in_place: bool = True, attempts: int = ATTEMPTS
) -> Arena:
    """Offsets such that no two buffers that may be needed at a time overlap.

    `streams`: of the steps, by default one for all. `in_place`: a step may write over an input that nobody reads
    again. `attempts`: how many packings are tried at most.
    """
    streams = streams or in_one_stream(graph)
    graph = replace(graph, nodes=streams.nodes(graph))
    buffers = collect_buffers(graph, streams, in_place=in_place)
    steps = range(len(graph.nodes) + 1)
    live = max(sum(b.bytes for b in buffers if b.first <= step <= b.last) for step in steps)
    rivals = [
        [j for j, other in enumerate(buffers) if j != i and b.meets(other)] for i, b in enumerate(buffers)
    ]
    places = _ping_pong(buffers, rivals, live) or _packed(buffers, rivals, live, attempts)
    offsets = {
        name: place + _inside(graph.values[name])
        for buffer, place in zip(buffers, places, strict=True)
        for name in buffer.values
    }
    total = max(place + buffer.bytes for buffer, place in zip(buffers, places, strict=True))
    return Arena(offsets, total, live, tuple(buffers))


@dataclass
class _Memory:
    """A buffer while it is collected: the steps that write or read it, of which -1 is the caller, before the pass."""

    bytes: int
    values: list[str] = field(default_factory=list)
    steps: set[int] = field(default_factory=set)


def collect_buffers(graph: Graph, streams: Streams, *, in_place: bool = True) -> list[Buffer]:
    """The buffers of nodes in the streams' order, in order of first need.

    A view lies in its input's buffer, and so does a pointwise step's output where that input is read for the last
    time, element by element, at the place that is written, and the sum of a library's result and a residual.
    """
    uses = _uses(graph)
    found: dict[str, _Memory] = {}  # by its first value
    home: dict[str, str] = {}

    def place(name: str, where: str, size: int) -> None:
        home[name] = where
        memory = found.setdefault(where, _Memory(_rounded(size)))
        memory.values.append(name)
        memory.steps |= uses[name]

    for value in graph.inputs:
        place(value.name, value.name, value.bytes)
    for step, node in enumerate(graph.nodes):
        if node.value.host or isinstance(node.op, Join):
            # The first part makes the place for all, which is needed until all and each part have been read.
            whole = node.value.host or node.name
            whole = home.get(whole, whole)
            place(node.name, whole, graph.values[whole].bytes)
            found[whole].steps |= uses[whole]
            continue
        hosts = _hosts(graph, node) if in_place or is_view(node) else []
        host = next(
            (home[name] for name in hosts if _may_host(graph, streams, found[home[name]], step, hosts)),
            node.name,
        )
        place(node.name, host, node.value.span)
    return [_frozen(graph, streams, memory) for memory in found.values()]


def _uses(graph: Graph) -> dict[str, set[int]]:
    """By value: the steps that write or read it, or a view of it. The caller is -1 before the pass, one behind it."""
    found: dict[str, set[int]] = {value.name: {-1} for value in graph.inputs}
    for step, node in enumerate(graph.nodes):
        found[node.name] = set()
        for name in () if is_view(node) else (node.name, *node.inputs):
            if name in found:
                found[name].add(step)
    for name in graph.outputs:
        found[name].add(len(graph.nodes))
    for node in reversed(graph.nodes):
        for name in node.inputs if is_view(node) else ():
            found[name] |= found[node.name]
    return found


def _frozen(graph: Graph, streams: Streams, memory: _Memory) -> Buffer:
    after, until = [len(graph.nodes)] * streams.count, [-1] * streams.count
    for step in memory.steps:
        name = graph.nodes[step].name if 0 <= step < len(graph.nodes) else ""
        stream = streams.of.get(name, 0)
        until[stream] = max(until[stream], step, 0)  # an input is there until something runs
        ended = streams.before[name] if name else (step,) * streams.count
        after = [min(pair) for pair in zip(after, ended, strict=True)]
    first, last = max(min(memory.steps), 0), max(*memory.steps, 0)
    return Buffer(tuple(memory.values), memory.bytes, first, last, tuple(after), tuple(until))


def _hosts(graph: Graph, node: Node) -> list[str]:
    """The inputs in whose buffer the node's value could lie."""
    if is_view(node):
        return list(node.inputs)
    if node.name in graph.outputs:
        return []
    if not isinstance(node.op, Pointwise):
        residual = added_in_place(node, graph)
        return [residual] if residual is not None else []
    here = ex.broadcast_load(0, node.value.shape, len(node.value.shape)).index
    hosts = []
    for name in node.inputs:
        value = graph.values[name]
        same = value.lies_like(node.value) and value.dtype == node.value.dtype
        reads = [load for load in ex.loads(node.epilogue) if node.inputs[load.source] == name]
        stored = (
            name not in graph.constants and name not in {v.name for v in graph.inputs} and not value.pixel
        )
        if same and stored and all(load.index == here for load in reads):
            hosts.append(name)
    return hosts


def _may_host(graph: Graph, streams: Streams, memory: _Memory, step: int, hosts: Collection[str]) -> bool:
    """A view always; else memory of which no part is needed later, or read at another place under another name."""
    node = graph.nodes[step]
    if is_view(node):
        return True
    ended = streams.before[node.name]
    others = [
        (other, streams.of.get(graph.nodes[other].name, 0))
        for other in memory.steps - {step, -1, len(graph.nodes)}
    ]
    return (
        len(graph.nodes) not in memory.steps
        and all(other <= ended[stream] for other, stream in others)
        and all(name in hosts for name in node.inputs if name in memory.values)
    )


def _inside(value: Value) -> int:
    """Where a part lies in its host, in bytes."""
    return value.first * ITEM_BYTES[value.dtype]


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _ping_pong(buffers: Sequence[Buffer], rivals: Sequence[Sequence[int]], live: int) -> list[int] | None:
    """Bottom and top in turn, where never more than two neighbours are alive; None for any other graph."""
    if any(abs(i - j) > 1 for i, others in enumerate(rivals) for j in others):
        return None
    return [0 if i % 2 == 0 else live - buffer.bytes for i, buffer in enumerate(buffers)]


def _packed(
    buffers: Sequence[Buffer], rivals: Sequence[Sequence[int]], live: int, attempts: int
) -> list[int]:
    """First fit in a few promising orders; if none comes close to the bound, in shuffles of the best (seeded)."""
    orders: list[Callable[[Buffer], object]] = [
        lambda b: (-b.bytes, b.first),
        lambda b: (-b.bytes * (b.last - b.first + 1), b.first),
        lambda b: (b.first, -b.bytes),
        lambda b: (-(b.last - b.first), -b.bytes),
    ]
    best_order: list[int] = []
    best: list[int] = []
    best_total = -1

    def attempt(order: list[int]) -> None:
        nonlocal best, best_order, best_total
        places = _first_fit(buffers, rivals, order)
        total = max(place + buffer.bytes for buffer, place in zip(buffers, places, strict=True))
        if best_total < 0 or total < best_total:
            best, best_order, best_total = places, order, total

    for key in orders:
        attempt(sorted(range(len(buffers)), key=lambda i: key(buffers[i])))  # type: ignore[arg-type,return-value]
    shuffle = random.Random(0)  # noqa: S311 - the same packing every time
    for _ in range(attempts):
        if best_total <= live * CLOSE_ENOUGH:
            break
        order = best_order.copy()
        i, j = shuffle.randrange(len(order)), shuffle.randrange(len(order))
        order.insert(j, order.pop(i))
        attempt(order)
    return best


def _first_fit(buffers: Sequence[Buffer], rivals: Sequence[Sequence[int]], order: Sequence[int]) -> list[int]:
    """Each buffer at the lowest offset where it meets none that is placed and may be needed with it."""
    places = [-1] * len(buffers)
    for i in order:
        place = 0
        taken = [(places[j], places[j] + buffers[j].bytes) for j in rivals[i] if places[j] >= 0]
        for start, end in sorted(taken):
            if place + buffers[i].bytes <= start:
                break
            place = max(place, end)
        places[i] = place
    return places
