"""How plans are told apart in the generated text, and which layers a step stands for."""

from __future__ import annotations

from cnngen.codegen.graph import Graph, Node, is_view
from cnngen.codegen.lower import OUTPUT
from cnngen.codegen.node_ops import Join, Slice
from cnngen.codegen.plan import BatchPlan


def plan_key(batch: BatchPlan) -> tuple[int, int]:
    """What tells a plan from the others of its network."""
    return batch.profile, batch.batch


def layer_names(graph: Graph, node: Node) -> tuple[str, ...]:
    """The layers that a step stands for, last the one whose result it writes, or the name of a part of it."""
    names = {node.name.removesuffix(OUTPUT)}
    for reader in graph.nodes:  # a view of a value is another name for it
        if is_view(reader) and reader.inputs[0] in names and not isinstance(reader.op, Join | Slice):
            names.add(reader.name)
    padded = any(node.name.startswith(f"{layer}.padded") for layer in node.layers)
    whole = padded or bool(names & set(node.layers))
    return node.layers if whole else (*node.layers[:-1], node.name)
