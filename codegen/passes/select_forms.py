"""How each convolution and matmul is run, where there is a choice."""

from __future__ import annotations

from dataclasses import replace

from cnngen.codegen.graph import ITEM_BYTES, Constant, Graph, Node, unused
from cnngen.codegen.node_ops import BatchMatMul, Conv, MatMul
from cnngen.codegen.targets import CUDA, Target


def select_forms(graph: Graph, target: Target = CUDA) -> Graph:
    """On a GPU cuDNN for dense convolutions, cuBLASLt for matmuls, kernels of our own for grouped convolutions.

    On a CPU oneDNN for all of them.
    """
    constants = dict(graph.constants)
    form = _cpu_form if target.name == "cpu" else _cuda_form
    nodes = [replace(node, form=form(node, graph)) for node in graph.nodes]
    for i, node in enumerate(nodes):
        filters = constants[node.inputs[1]] if node.form in ("depthwise", "grouped") else None
        if filters is not None and filters.value.layout != "RSCK":
            name = unused(f"{filters.value.name}.rsc", graph.values)
            value = replace(filters.value, name=name, layout="RSCK")
            if node.form == "depthwise":
                # They are few, and each is a product of its own: rounding them would cost more than reading them does.
                # Where a lock has tensor cores multiply, the kernel rounds them (docs/numerics.md).
                value = replace(value, dtype="float32")
            constants[value.name] = Constant(value, filters.data, filters.recipe)
            nodes[i] = replace(node, inputs=(node.inputs[0], value.name, *node.inputs[2:]))
    return graph.with_nodes(nodes, constants)


def _cpu_form(node: Node, _graph: Graph) -> str:
    return "onednn" if isinstance(node.op, Conv | MatMul | BatchMatMul) else node.form


def _cuda_form(node: Node, graph: Graph) -> str:
    match node.op:
        case MatMul() | BatchMatMul():
            return "cublaslt"
        case Conv() as op if op.groups == 1:
            return "cudnn"
        case Conv() as op:
            k, per_group = graph.values[node.inputs[1]].shape[:2]
            # cuDNN wants 16 bytes of channels in each group, and takes 20 to 100 times the bytes' time for one.
            if per_group == 1 and k == op.groups:
                return "depthwise"
            aligned = per_group * ITEM_BYTES[node.value.dtype] % 16 == 0
            return (
                "cudnn" if aligned and k // op.groups * ITEM_BYTES[node.value.dtype] % 16 == 0 else "grouped"
            )
    return node.form
