"""A norm that convolutions modulate (SPADE) disappears into them: its scale and shift are known.

Of x * s + t, times a convolution G, plus a convolution B of the same image, is x times one convolution plus another:

    (x s + t) G + B = x (s G) + (t G + B)

where s G has G's filters times s, and t G + B has t times G's filters plus B's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import ACC, Call, Load
from cnngen.codegen.graph import Array, Graph, Node, unused
from cnngen.codegen.node_ops import Affine, Conv, Pointwise
from cnngen.codegen.rewriting import known_weights, with_weights

# Of the shift, in units of what a norm gives: 1. x s is then larger than x s + t by that much, and so is what rounding
# it to 16 bits costs.
LARGEST_SHIFT = 2.0


def fold_modulation(graph: Graph) -> Graph:
    """Each such norm whose shift is not large, where nobody else reads it or the convolutions."""
    constants = dict(graph.constants)
    replaced: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        found = _modulation(node, graph)
        if found is None:
            continue
        product, norm, gamma, beta = found
        scale, shift = (np.asarray(constants[name].array, np.float64) for name in norm.inputs[1:3])
        weights = [known_weights(conv, constants) for conv in (gamma, beta)]
        if weights[0] is None or weights[1] is None or np.sqrt(np.mean(shift**2)) > LARGEST_SHIFT:
            continue
        (w_gamma, b_gamma), (w_beta, b_beta) = weights[0], weights[1]
        w_shifted = w_beta + _by_filter(w_gamma, shift)
        # What they write is no more their layers' values, and has names of its own.
        names = {inner.name: unused(f"{inner.name}.folded", graph.values) for inner in (product, gamma, beta)}
        plain = {
            inner.name: replace(inner, value=replace(inner.value, name=names[inner.name]), epilogue=ACC)
            for inner in (gamma, beta)
        }
        replaced[gamma.name] = with_weights(
            plain[gamma.name], _by_filter(w_gamma, scale), b_gamma * scale, constants, graph
        )
        replaced[beta.name] = with_weights(
            plain[beta.name], w_shifted, b_beta + b_gamma * shift, constants, graph
        )
        now = {**names, norm.name: norm.inputs[0]}
        replaced[product.name] = replace(
            product,
            value=replace(product.value, name=names[product.name]),
            inputs=tuple(now.get(name, name) for name in product.inputs),
            layers=norm.layers + product.layers,
        )
        replaced[node.name] = replace(node, inputs=tuple(now.get(name, name) for name in node.inputs))
        gone.add(norm.name)
    nodes = [replaced.get(node.name, node) for node in graph.nodes if node.name not in gone]
    return graph.with_nodes(nodes, constants)


def _by_filter(w: Array, factors: Array) -> Array:
    return w * factors.astype(np.float32).reshape(-1, 1, 1, 1)


def _modulation(node: Node, graph: Graph) -> tuple[Node, Node, Node, Node] | None:
    """Of a sum: the product in it, the norm in that, and both convolutions; None where it is no such sum."""
    for product, beta in _operands(node, "add", graph):
        for norm, gamma in _operands(product, "mul", graph):
            if not (isinstance(norm.op, Affine) and norm.epilogue == ACC):
                continue
            alone = all(graph.sole_consumer(inner.name) is not None for inner in (product, norm, gamma, beta))
            if alone and _are_alike(gamma, beta, graph):
                return product, norm, gamma, beta
    return None


def _operands(node: Node, function: str, graph: Graph) -> list[tuple[Node, Node]]:
    """The writers of both operands of a function of two tensors of the node's shape, in both orders."""
    match node.epilogue:
        case Call(name, (Load() as a, Load() as b)) if isinstance(node.op, Pointwise) and name == function:
            here = ex.coords(len(node.value.shape))
            values = [graph.values[node.inputs[load.source]] for load in (a, b)]
            writers = [graph.producers.get(value.name) for value in values]
            same = all(
                value.lies_like(node.value) and value.dtype == node.value.dtype and load.index == here
                for value, load in zip(values, (a, b), strict=True)
            )
            first, second = writers
            if same and first is not None and second is not None:
                return [(first, second), (second, first)]
    return []


def _are_alike(gamma: Node, beta: Node, graph: Graph) -> bool:
    """Whether they are convolutions of one image and one geometry."""
    if not isinstance(gamma.op, Conv) or gamma.op != beta.op or gamma.inputs[0] != beta.inputs[0]:
        return False
    names = (gamma.inputs[1], beta.inputs[1])
    if not all(name in graph.constants for name in names):
        return False
    first, second = (graph.constants[name].value.shape for name in names)
    return first == second
