"""The same op on the same data is done once: SPADE's blocks all downsample one map."""

from __future__ import annotations

from dataclasses import replace

from cnngen.codegen.expr import ACC
from cnngen.codegen.graph import Graph, Node, tidy
from cnngen.codegen.node_ops import Reshape


def share_subexpressions(graph: Graph) -> Graph:
    """Readers of a repeated value read its first copy, those of another name for it the value; outputs keep a step."""
    first: dict[object, Node] = {}
    same: dict[str, str] = {}
    layers: dict[str, tuple[str, ...]] = {}
    nodes: list[Node] = []
    for original in graph.nodes:
        inputs = tuple(same.get(name, name) for name in original.inputs)
        node = original if inputs == original.inputs else tidy(replace(original, inputs=inputs))
        value = node.value
        if _is_another_name(node, graph):
            same[node.name] = node.inputs[0]
            continue
        key = (node.op, node.inputs, node.epilogue, node.form, value.shape, value.dtype, value.layout)
        known = first.setdefault(key, node)
        if known is not node and node.name not in graph.outputs:
            same[node.name] = known.name
            layers[known.name] = layers.get(known.name, known.layers) + node.layers
            continue
        nodes.append(node)
    return graph.with_nodes([replace(node, layers=layers.get(node.name, node.layers)) for node in nodes])


def _is_another_name(node: Node, graph: Graph) -> bool:
    """Whether a node is its input under another name, as `identity` layers are."""
    if not isinstance(node.op, Reshape) or node.epilogue != ACC:
        return False
    source = graph.values[node.inputs[0]]
    return replace(node.value, name=source.name) == source
