"""What is known before the first run is computed now: constant subgraphs, and values that are the same everywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Float, Int
from cnngen.codegen.graph import Constant, Graph, Node, tidy, with_numbers
from cnngen.codegen.interpret import run_node
from cnngen.codegen.node_ops import Pointwise

# A folded constant may be larger than what it is made of by this factor: beyond, computing is cheaper than storing.
GROWTH = 4


def fold_constants(graph: Graph) -> Graph:
    """Evaluates nodes that read nothing but constants; a uniform value becomes a number in its readers.

    So do coordinates along axes of one element, which may decide a condition and with it what is read at all.
    """
    constants = dict(graph.constants)
    uniform: dict[str, float] = {}
    nodes: list[Node] = []
    for original in graph.nodes:
        node = with_numbers(_without_unit_axes(original), uniform)
        if isinstance(node.op, Pointwise) and isinstance(node.epilogue, Float):
            uniform[node.name] = node.epilogue.value
        elif _foldable(node, constants):
            array = run_node(node, [np.asarray(constants[name].array, np.float64) for name in node.inputs])
            constants[node.name] = Constant(node.value, array.astype(np.float32))
            if node.name not in graph.outputs:
                continue
            del constants[node.name]  # an output must be written by a step
        nodes.append(node)
    return graph.with_nodes(nodes, constants)


def _without_unit_axes(node: Node) -> Node:
    """The pointwise node with 0 for each coordinate that can only be that; the batch keeps its own."""

    def zero(expr: Expr) -> Expr | None:
        unit = isinstance(expr, Coord) and expr.axis > 0 and node.value.shape[expr.axis] == 1
        return Int(0) if unit else None

    if not isinstance(node.op, Pointwise):
        return node
    return tidy(replace(node, epilogue=ex.rewrite(node.epilogue, zero)))


def _foldable(node: Node, constants: dict[str, Constant]) -> bool:
    if not node.inputs or any(name not in constants for name in node.inputs):
        return False
    return node.value.elements <= GROWTH * sum(constants[name].value.elements for name in node.inputs)
