"""Which engine or tile runs each step: what the lock names, where it was chosen for that very step."""

from __future__ import annotations

from dataclasses import replace

from cnngen.codegen.choices import Choices
from cnngen.codegen.engines import OF_LIBRARIES, ON_TENSOR_CORES, own_forms, split_engine
from cnngen.codegen.graph import LIBRARIES, Graph, Node
from cnngen.codegen.graph_text import step_digest
from cnngen.codegen.titles import titles_of


def select_engines(graph: Graph, choices: Choices) -> Graph:
    """A step keeps its library's or its kernel's first choice where nothing is named, or what is cannot be."""
    if not choices.engines:
        return graph
    titles = titles_of(graph)
    nodes = []
    for node in graph.nodes:
        engine, digest = choices.engines.get(titles[node.name], ("", ""))
        known = bool(engine) and digest == step_digest(node, graph)
        nodes.append(with_engine(node, graph, engine) if known else node)
    return graph.with_nodes(nodes)


def with_engine(node: Node, graph: Graph, engine: str) -> Node:
    """The node as that engine runs it; as it was where it cannot."""
    kind, rest = split_engine(engine)
    of_library = node.form in LIBRARIES
    if kind in OF_LIBRARIES and of_library:
        return replace(node, engine=engine)
    if kind in own_forms(node, graph) and (of_library or node.form in ON_TENSOR_CORES):
        return replace(node, form=kind, engine=rest)
    if kind == "tile" and not of_library:
        return replace(node, engine=rest)
    return node
