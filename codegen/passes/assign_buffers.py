"""Where each activation lies in the arena: two slots in turn for a chain, packed by liveness for any other graph.

A chain's values lie alternately at the bottom and at the top, so that the arena is the largest sum of two
neighbours; no packing can be smaller. Network inputs and outputs have a place too: the staging of host data.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cnngen.codegen import expr as ex
from cnngen.codegen.epilogues import added_in_place
from cnngen.codegen.expr import ACC
from cnngen.codegen.graph import ITEM_BYTES, Graph, Node, Value
from cnngen.codegen.node_ops import Join, Pointwise, Reshape, Slice

ALIGNMENT = 256
CLOSE_ENOUGH = 1.05  # of the largest sum of live bytes; beyond, more orders are tried
ATTEMPTS = 2000


@dataclass(frozen=True)
class Buffer:
    """Values that share memory, and when something in them is still needed (steps, both ends included)."""

    values: tuple[str, ...]
    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Arena:
    """Where every value lies, and how good that is."""

    offsets: Mapping[str, int]  # of every value that is not a constant
    bytes: int
    live_bytes: int  # the largest sum of bytes alive at one step: no arena can be smaller
    buffers: tuple[Buffer, ...]


def assign_buffers(graph: Graph, *, in_place: bool = True, attempts: int = ATTEMPTS) -> Arena:
    """Offsets such that no two buffers that are alive at one step overlap.

    `in_place`: a step may write over an input that nobody reads again. `attempts`: how many packings are tried at most.
    """
    buffers = collect_buffers(graph, in_place=in_place)
    steps = range(len(graph.nodes) + 1)
    live = max(sum(b.bytes for b in buffers if b.first <= step <= b.last) for step in steps)
    places = _ping_pong(buffers, live) or _packed(buffers, live, attempts)
    offsets = {
        name: place + _inside(graph.values[name])
        for buffer, place in places.items()
        for name in buffer.values
    }
    total = max(place + buffer.bytes for buffer, place in places.items())
    return Arena(offsets, total, live, tuple(buffers))


def collect_buffers(graph: Graph, *, in_place: bool = True) -> list[Buffer]:
    """The buffers in order of first need.

    A view lies in its input's buffer, and so does a pointwise step's output where that input is read for the last
    time, element by element, at the place that is written, and the sum of a library's result and a residual.
    """
    last_read = {value.name: -1 for value in graph.inputs} | {
        node.name: i for i, node in enumerate(graph.nodes)
    }
    for step, node in enumerate(graph.nodes):
        for name in node.inputs:
            if name in last_read:
                last_read[name] = step
    for name in graph.outputs:
        last_read[name] = len(graph.nodes)
    found: dict[str, Buffer] = {}  # by its first value
    home: dict[str, str] = {}
    for value in graph.inputs:
        home[value.name] = value.name
        found[value.name] = Buffer((value.name,), _rounded(value.bytes), 0, max(last_read[value.name], 0))
    for step, node in enumerate(graph.nodes):
        if node.value.host or isinstance(node.op, Join):
            # The first part makes the place for all, which is needed until all and each part have been read.
            whole = node.value.host or node.name
            whole = home.get(whole, whole)
            home[node.name] = whole
            size = _rounded(graph.values[whole].bytes)
            old = found.get(whole, Buffer((), size, step, step))
            last = max(old.last, last_read[node.name], last_read[whole])
            found[whole] = replace(old, values=(*old.values, node.name), last=last)
            continue
        hosts = _hosts(graph, node) if in_place or is_view(node) else []
        host = next((home[name] for name in hosts if _may_host(found[home[name]], node, step, hosts)), None)
        if host is None:
            home[node.name] = node.name
            found[node.name] = Buffer((node.name,), _rounded(node.value.span), step, last_read[node.name])
        else:
            home[node.name] = host
            old = found[host]
            found[host] = replace(
                old, values=(*old.values, node.name), last=max(old.last, last_read[node.name])
            )
    return list(found.values())


def is_view(node: Node) -> bool:
    """Whether a node is only another name for what lies there already: no step runs for it."""
    return isinstance(node.op, Reshape | Join | Slice) and node.epilogue == ACC


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


def _may_host(buffer: Buffer, node: Node, step: int, hosts: Sequence[str]) -> bool:
    """A view always; else a buffer of which no part is needed later, or read at another place under another name."""
    read = [name for name in node.inputs if name in buffer.values]
    return is_view(node) or (buffer.last == step and all(name in hosts for name in read))


def _inside(value: Value) -> int:
    """Where a part lies in its host, in bytes."""
    return value.first * ITEM_BYTES[value.dtype]


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _ping_pong(buffers: Sequence[Buffer], live: int) -> dict[Buffer, int] | None:
    """Bottom and top in turn, where never more than two neighbours are alive; None for any other graph."""
    for i, buffer in enumerate(buffers):
        if any(other.first <= buffer.last for other in buffers[i + 2 :]):
            return None
    return {buffer: 0 if i % 2 == 0 else live - buffer.bytes for i, buffer in enumerate(buffers)}


def _packed(buffers: Sequence[Buffer], live: int, attempts: int) -> dict[Buffer, int]:
    """First fit in a few promising orders; if none comes close to the bound, in shuffles of the best (seeded)."""
    orders: list[Callable[[Buffer], object]] = [
        lambda b: (-b.bytes, b.first),
        lambda b: (-b.bytes * (b.last - b.first + 1), b.first),
        lambda b: (b.first, -b.bytes),
        lambda b: (-(b.last - b.first), -b.bytes),
    ]
    best_order: list[Buffer] = []
    best: dict[Buffer, int] = {}
    best_total = -1

    def attempt(order: list[Buffer]) -> None:
        nonlocal best, best_order, best_total
        places = _first_fit(order)
        total = max(place + buffer.bytes for buffer, place in places.items())
        if best_total < 0 or total < best_total:
            best, best_order, best_total = places, order, total

    for key in orders:
        attempt(sorted(buffers, key=key))  # type: ignore[arg-type]
    shuffle = random.Random(0)  # noqa: S311 - the same packing every time
    for _ in range(attempts):
        if best_total <= live * CLOSE_ENOUGH:
            break
        order = best_order.copy()
        i, j = shuffle.randrange(len(order)), shuffle.randrange(len(order))
        order.insert(j, order.pop(i))
        attempt(order)
    return best


def _first_fit(order: Sequence[Buffer]) -> dict[Buffer, int]:
    """Each buffer at the lowest offset where it meets none that is placed and alive with it."""
    places: dict[Buffer, int] = {}
    for buffer in order:
        place = 0
        rivals = [
            (places[b], places[b] + b.bytes)
            for b in places
            if b.first <= buffer.last and buffer.first <= b.last
        ]
        for start, end in sorted(rivals):
            if place + buffer.bytes <= start:
                break
            place = max(place, end)
        places[buffer] = place
    return places
