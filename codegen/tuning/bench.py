"""One graph with every step that is to be timed.

It holds the network as it is, what other choices make of its steps, and each kernel of our own with each of its tiles.
Steps that differ in nothing that their time depends on are timed once. Values that a candidate's step reads are those
of the network where it has them, else made by further steps, so that the graph is one that could run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen import tiles
from cnngen.codegen.emit.cuda_kernels import tile_options
from cnngen.codegen.engines import ON_TENSOR_CORES, TILE, own_forms
from cnngen.codegen.graph import LIBRARIES, Constant, Graph, Node, is_view, unused
from cnngen.codegen.graph_text import step_text
from cnngen.codegen.node_ops import Join, Pointwise, Slice


@dataclass(frozen=True)
class Case:
    """A step to time. `engine`: the kernel and tile; "": the engines of its library, which only the runtime knows."""

    step: str  # the step_text of what it does
    name: str  # of the node in the bench's graph
    engine: str


@dataclass(frozen=True)
class Bench:
    """The graph, and what of it is to be timed."""

    graph: Graph
    cases: tuple[Case, ...]


def make_bench(base: Graph, others: Sequence[Graph], known: Iterable[str] = ()) -> Bench:
    """The steps of a graph and of others that were made from the same network, but those whose texts are `known`."""
    union = _Union(base)
    seen = set(known)
    cases: list[Case] = []
    for graph in (base, *others):
        for node in graph.nodes:
            text = step_text(node, graph)
            if is_view(node) or text in seen:
                continue
            seen.add(text)
            name = union.take(node.name, graph)
            cases += union.cases(text, name, base.batch)
    return Bench(union.graph(), tuple(cases))


class _Union:
    def __init__(self, base: Graph) -> None:
        self.base = base
        self.nodes: dict[str, Node] = {node.name: node for node in base.nodes}
        self.constants: dict[str, Constant] = dict(base.constants)
        self.taken = set(base.values)
        self.names: dict[tuple[int, str], str] = {}  # (graph, value) -> its name here

    def graph(self) -> Graph:
        return replace(self.base, nodes=tuple(self.nodes.values()), constants=self.constants)

    def take(self, name: str, graph: Graph) -> str:
        """The name here of a graph's value; it and what it needs are added where the network has no such value."""
        key = (id(graph), name)
        if key not in self.names:
            self.names[key] = self._added(name, graph)
        return self.names[key]

    def _added(self, name: str, graph: Graph) -> str:
        if graph is self.base:
            return name
        value = graph.values[name]
        if name in graph.constants:
            constant = graph.constants[name]
            if name in self.constants and _same(self.constants[name], constant):
                return name
            fresh = self._fresh(name)
            self.constants[fresh] = replace(constant, value=replace(value, name=fresh))
            return fresh
        producer = graph.producers.get(name)
        if producer is None:
            return name  # an input of the network
        own = self.nodes.get(name)
        if isinstance(producer.op, Join | Slice):
            # Any value of that kind will do for those that read it: they are timed alone.
            if own is not None and own.value == value:
                return name
            producer = Node(value, Pointwise(), (), producer.layers, ex.Float(0.0))
        if (
            own is not None
            and own.value == value
            and step_text(own, self.graph()) == step_text(producer, graph)
        ):
            return name
        inputs = tuple(self.take(other, graph) for other in producer.inputs)
        fresh = self._fresh(name)
        # A part has the pixels of its host, which need not be there.
        alone = replace(value, name=fresh, host="", first=0)
        self.nodes[fresh] = replace(producer, value=alone, inputs=inputs)
        return fresh

    def cases(self, text: str, name: str, batch: int) -> list[Case]:
        """What is timed of a step: its library's engines, and each tile of each kernel of our own that could run it."""
        node, graph = self.nodes[name], self.graph()
        found = [] if node.form not in LIBRARIES else [Case(text, name, "")]
        own = own_forms(node, graph) if node.form in (*LIBRARIES, *ON_TENSOR_CORES) else ()
        for form in own:
            found += self._tile_cases(text, replace(node, form=form), batch, form)
        return found if own or node.form in LIBRARIES else self._tile_cases(text, node, batch, TILE)

    def _tile_cases(self, text: str, kernel: Node, batch: int, kind: str) -> list[Case]:
        """A case for each tile of a step by a kernel of our own; the first is the step itself where it is that."""
        name, found = kernel.name, []
        options = tile_options(kernel, self.graph(), batch)
        if not options:
            return [Case(text, name, TILE)]
        for number, option in enumerate(options):
            tile = tiles.tile_text(option)
            if number == 0 and kernel == self.nodes[name]:
                found.append(Case(text, name, f"{kind} {tile}"))
                continue
            fresh = self._fresh(name)
            alone = replace(kernel.value, name=fresh, host="", first=0)
            self.nodes[fresh] = replace(kernel, value=alone, engine=tile)
            found.append(Case(text, fresh, f"{kind} {tile}"))
        return found

    def _fresh(self, name: str) -> str:
        fresh = unused(f"{name}~", self.taken)
        self.taken.add(fresh)
        return fresh


def _same(a: Constant, b: Constant) -> bool:
    return a.value == b.value and (a.key == b.key or bool(np.array_equal(a.array, b.array)))


def steps_of(graph: Graph) -> Mapping[str, str]:
    """Each step's text by the name of what it writes."""
    return {node.name: step_text(node, graph) for node in graph.nodes if not is_view(node)}
