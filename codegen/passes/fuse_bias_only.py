"""W x + b where x or W is known to be zero: only b is wanted, and it is a constant of whatever reads it."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Acc, Expr, Float
from cnngen.codegen.graph import Graph, Node, tidy, with_numbers
from cnngen.codegen.node_ops import (
    OPERANDS,
    Affine,
    BatchMatMul,
    Conv,
    MatMul,
    Pointwise,
    Pool,
    Reduce,
    Reshape,
)


def fuse_bias_only(graph: Graph) -> Graph:
    """Convolutions and matmuls of zeros become their epilogue alone; `fuse_epilogues` merges that with its readers."""
    zeros = {name: 0.0 for name, constant in graph.constants.items() if constant.is_zero}
    nodes: list[Node] = []
    for original in graph.nodes:
        node = with_numbers(original, zeros)
        if _gives_zero(node, zeros):
            node = _without_op(node)
        if isinstance(node.op, Pointwise) and node.epilogue == Float(0.0):
            zeros[node.name] = 0.0
        nodes.append(node)
    return graph.with_nodes(nodes)


def _gives_zero(node: Node, zeros: Container[str]) -> bool:
    match node.op:
        case Conv() | MatMul() | BatchMatMul():
            return node.inputs[0] in zeros or node.inputs[1] in zeros
        case Pool(kind="max" | "avg" | "sum") | Reduce() | Reshape():
            return node.inputs[0] in zeros
        case Affine():
            return node.inputs[0] in zeros and node.inputs[2] in zeros
    return False


def _without_op(node: Node) -> Node:
    def zero(expr: Expr) -> Expr | None:
        return Float(0.0) if isinstance(expr, Acc) else None

    operands = OPERANDS[type(node.op)]
    epilogue = ex.renumber(
        ex.rewrite(node.epilogue, zero), {i: i - operands for i in range(operands, len(node.inputs))}
    )
    return tidy(replace(node, op=Pointwise(), inputs=node.inputs[operands:], epilogue=epilogue))
