"""Outputs that a kernel of our own writes where a library's step would have to be copied."""

from __future__ import annotations

from dataclasses import replace

from cnngen.codegen import expr as ex
from cnngen.codegen.engines import ON_TENSOR_CORES
from cnngen.codegen.graph import Graph, Node
from cnngen.codegen.node_ops import Pointwise


def write_outputs(graph: Graph) -> Graph:
    """What an output copies is the output, where a lock gave a library's step to a kernel and nothing else reads it.

    A library's step cannot be pointed at the caller's memory once it is captured; a kernel can. The step stays what
    it was, so that the lock still knows it.
    """
    renamed: dict[str, str] = {}  # output -> what it copies
    for name in graph.outputs:
        copy = graph.producers.get(name)
        source = _copied(copy, graph) if copy is not None else None
        if source is not None and source not in renamed.values():
            renamed[name] = source
    if not renamed:
        return graph
    nodes = [node for node in graph.nodes if node.name not in renamed]
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return replace(graph, outputs=outputs).with_nodes(nodes)


def _copied(copy: Node, graph: Graph) -> str | None:
    """The value of which an output is but a copy, where its writer may write the output."""
    if not isinstance(copy.op, Pointwise) or len(copy.inputs) != 1:
        return None
    (name,) = copy.inputs
    value, writer = graph.values[name], graph.producers.get(name)
    same = value.lies_like(copy.value) and value.dtype == copy.value.dtype
    whole = not (value.host or value.padding or value.pixel)
    if writer is None or writer.form not in ON_TENSOR_CORES:
        return None
    here = ex.broadcast_load(0, value.shape, len(value.shape))
    alone = graph.sole_consumer(name) is not None
    return name if same and whole and alone and copy.epilogue == here else None
