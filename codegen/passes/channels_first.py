"""Convolutions in exact float32 on activations with channels first.

cuDNN's kernels without tensor cores are for either order, and those for channels first may be faster. All else reads
channels last, so that a convolution gains only where it saves more than it takes to turn what it reads and writes;
between two that both take channels first nothing is turned, nor where a pointwise step comes before or after.
"""

from __future__ import annotations

import math
from dataclasses import replace

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.graph import Graph, Layout, Node
from cnngen.codegen.node_ops import Conv, Pointwise
from cnngen.codegen.rewriting import Draft
from cnngen.codegen.targets import CUDA, Target

LAST, FIRST = "last", "first"


def channels_first(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each convolution by cuDNN in exact float32: with channels last, or first where that is chosen."""
    if not target.pads_channels:
        return graph
    draft = Draft(graph, choices)
    exact = [node for node in graph.nodes if _is_exact(node, graph)]
    prices = {LAST: 0.0, FIRST: math.inf}
    turned = {node.name for node in exact if draft.choose("channels_first", node, prices) == FIRST}
    first = turned | {node.name for node in graph.nodes if _writes_for(node, turned, graph)}
    copies: dict[tuple[str, Layout], str] = {}

    def read(name: str, layout: Layout) -> str:
        """The value, or a copy of it where its channels are not in that order."""
        value = draft.values[name]
        if name in graph.constants or value.layout == layout or (layout == "NHWC" and name not in first):
            return name
        if (name, layout) not in copies:
            copy = replace(value, name=draft.fresh(f"{name}.{layout.lower()}"), layout=layout)
            layers = draft.producers[name].layers if name in draft.producers else ()
            draft.add(Node(copy, Pointwise(), (name,), layers, ex.broadcast_load(0, value.shape, 4)))
            copies[name, layout] = copy.name
        return copies[name, layout]

    for node in graph.nodes:
        inputs, value = node.inputs, node.value
        if node.name in turned:
            inputs = (read(inputs[0], "NCHW"), _filter(draft, inputs[1]), *inputs[2:])
        elif not _reads_any(node, graph):
            inputs = tuple(read(name, "NHWC") for name in inputs)
        if node.name in first:
            value = replace(value, layout="NCHW")
        draft.add(replace(node, value=value, inputs=inputs))
    return draft.result()


def _is_exact(node: Node, graph: Graph) -> bool:
    """Whether a convolution rounds nothing, and reads and writes whole images without padded channels."""
    if not isinstance(node.op, Conv) or node.form != "cudnn" or node.op.groups > 1 or node.op.tf32:
        return False
    x, w = (graph.values[name] for name in node.operands)
    part = any(value.pixel or value.padding for value in (x, node.value))
    whole = not part and not any(value.host == node.name for value in graph.values.values())
    plain = x.name not in graph.constants and all(name in graph.constants for name in node.extras)
    return whole and plain and {v.dtype for v in (x, w, node.value)} == {"float32"} and w.layout == "NHWC"


def _writes_for(node: Node, turned: set[str], graph: Graph) -> bool:
    """Whether a pointwise step writes what only convolutions with channels first read."""
    value, readers = node.value, graph.consumers[node.name]
    if not isinstance(node.op, Pointwise) or node.name in graph.outputs or not readers or value.host:
        return False
    return value.layout == "NHWC" and all(
        reader.name in turned and node.name not in reader.extras for reader in readers
    )


def _reads_any(node: Node, graph: Graph) -> bool:
    """Whether a step may as well turn what it reads: a pointwise one, if it reads one image."""
    images = [
        n for n in dict.fromkeys(node.inputs) if n not in graph.constants and len(graph.values[n].shape) == 4
    ]
    return isinstance(node.op, Pointwise) and len(images) <= 1


def _filter(draft: Draft, name: str) -> str:
    """The filter with channels first."""
    weight = draft.constants[name]
    turned = f"{name}.kcrs"
    if turned not in draft.constants:
        value = replace(weight.value, name=turned, layout="NCHW")
        draft.constants[turned] = replace(weight, value=value)
        draft.values[turned] = value
    return turned
