"""What steps are called: in generated text, in locks, in reports."""

from __future__ import annotations

from collections.abc import Mapping

from cnngen.codegen.graph import Graph, unused
from cnngen.codegen.lower import OUTPUT
from cnngen.codegen.node_ops import Pointwise


def titles_of(graph: Graph) -> Mapping[str, str]:
    """A name a value for the generated text: its first layer's where that is unique, else its own."""
    titles = {value.name: value.name for value in graph.inputs}
    seen = set(titles)
    for node in graph.nodes:
        heavy = not isinstance(node.op, Pointwise)
        title = node.layers[0] if heavy or len(node.layers) == 1 else node.name.removesuffix(OUTPUT)
        title = unused(node.name, seen) if title in seen else title
        seen.add(title)
        titles[node.name] = title
    return titles
