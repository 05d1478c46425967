"""A product and the softmax along its filters in one step: nothing else reads the logits, and they are never stored.

Where a block of our kernel on tensor cores has room for all filters of a pixel. It saves a step and two passes over
the logits; what a library's faster product saves may be more, and is to be measured.
"""

from __future__ import annotations

import math
from dataclasses import replace

from cnngen.codegen.choices import Choices
from cnngen.codegen.engines import runs_as_gemm
from cnngen.codegen.expr import ACC
from cnngen.codegen.gemm_tiles import MOST_ROW_FILTERS
from cnngen.codegen.graph import LIBRARIES, Graph, Node, Site, with_sites
from cnngen.codegen.node_ops import Conv, MatMul, ProductSoftmax, Softmax
from cnngen.codegen.targets import CUDA, Target

APART, FUSED = "apart", "fused"


def fuse_softmax(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each such softmax as a step of its own, or with its product where that is chosen."""
    if target.name != "cuda":
        return graph
    sites: list[Site] = []
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        nodes[node.name] = node
        fused = _fused(node, graph)
        if fused is None:
            continue
        sites.append(choices.site("fuse_softmax", node, {APART: 0.0, FUSED: math.inf}))
        if sites[-1].chosen == FUSED:
            del nodes[node.inputs[0]]
            nodes[node.name] = fused
    return with_sites(graph.with_nodes(list(nodes.values())), sites)


def _fused(node: Node, graph: Graph) -> Node | None:
    """A softmax together with the product whose filters it is along; None where both cannot be one step."""
    if not isinstance(node.op, Softmax) or node.op.axis != 1 or node.epilogue != ACC:
        return None
    product = graph.producers.get(node.inputs[0])
    if product is None or not isinstance(product.op, Conv | MatMul) or product.form not in LIBRARIES:
        return None
    if not runs_as_gemm(product, graph) or not _fits(product, node, graph):
        return None
    layers = tuple(dict.fromkeys((*product.layers, *node.layers)))
    op = ProductSoftmax(product.op, product.epilogue, node.op.log)
    return replace(node, op=op, inputs=product.inputs, layers=layers)


def _fits(product: Node, softmax: Node, graph: Graph) -> bool:
    """Whether nothing else reads the logits, and a block has all of a pixel's."""
    x, y = product.value, softmax.value
    whole = product.op.phases == (1, 1) if isinstance(product.op, Conv) else len(x.shape) == 2
    alone = graph.sole_consumer(product.name) is not None
    plain = not any(value.host or value.pixel or value.padding for value in (x, y))
    return whole and alone and plain and x.shape[1] <= MOST_ROW_FILTERS and y.lies_like(x)
