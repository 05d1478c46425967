"""The phases of a convolution stored where their pixels are, by a kernel of our own: no step interleaves them.

Such convolutions come from `fold_channels` and from transposed ones. No library stores so, and the kernel that does
(`implicit_gemm.cuh`) needs compute capability 8.0: it is taken where a measurement says so, and never else.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.engines import IMPLICIT_GEMM, runs_as_gemm
from cnngen.codegen.expr import ACC, Coord, Load
from cnngen.codegen.graph import Array, Graph, Node
from cnngen.codegen.node_ops import Conv, Pointwise
from cnngen.codegen.rewriting import Draft, all_layers, divisor, inlined, phase_index, unmoved
from cnngen.codegen.targets import CUDA, Target

APART, STORED = "apart", "stored"


def store_phases(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each convolution with the step that interleaves its phases, where that is chosen."""
    if not target.pads_channels:
        return graph
    draft = Draft(graph, choices)
    stored: dict[str, Node] = {}  # by what they write
    for node in graph.nodes:
        fused = _fused(graph, node)
        if fused is not None and draft.choose("store_phases", node, {APART: 0.0, STORED: math.inf}) == STORED:
            stored[node.name] = _of_one_phase(draft, fused)
    for node in graph.nodes:
        draft.add(stored.get(node.name, node))
    return draft.result()


def _fused(graph: Graph, node: Node) -> Node | None:
    """A step that interleaves phases as part of the convolution that computes them; None where it is something else."""
    if not isinstance(node.op, Pointwise) or node.value.layout != "NHWC" or len(node.value.shape) != 4:
        return None
    for name in node.inputs:
        writer = graph.producers.get(name)
        if writer is None or not isinstance(writer.op, Conv) or graph.sole_consumer(name) is not node:
            continue
        phases = _phases(node, writer)
        if phases is None or not _is_of_one_phase(graph, writer, phases):
            continue
        fused = _with_epilogue(node, writer, phases)
        if writer.form == "cudnn" and runs_as_gemm(fused, graph):
            return fused
    return None


def _phases(node: Node, writer: Node) -> tuple[int, int] | None:
    """How a step spreads the channels of a convolution over pixels, if that is all that it reads of it."""
    (load, *more) = [load for load in ex.loads(node.epilogue) if node.inputs[load.source] == writer.name]
    if more:
        return None
    rows, columns = divisor(load.index[2], 2), divisor(load.index[3], 3)
    if not rows or not columns or rows * columns == 1:
        return None
    shape, filters = writer.value.shape, node.value.shape[1]
    whole = shape[1] == rows * columns * filters
    fits = all(
        (places - 1) * factor < size <= places * factor
        for places, factor, size in zip(shape[2:], (rows, columns), node.value.shape[2:], strict=True)
    )
    return (rows, columns) if whole and fits and load.index == phase_index((rows, columns), filters) else None


def _is_of_one_phase(graph: Graph, writer: Node, phases: tuple[int, int]) -> bool:
    """Whether the convolution's epilogue is the same for all phases: constants by channel that repeat."""
    bare = ex.rewrite(writer.epilogue, lambda e: ex.Float(0.0) if isinstance(e, Load) else None)
    if any(isinstance(e, Coord) for e in ex.walk(bare)):
        return False
    count = phases[0] * phases[1]
    for load in ex.loads(writer.epilogue):
        constant = graph.constants.get(writer.inputs[load.source])
        if constant is None or load.index != (Coord(1),):
            return False
        parts = constant.array.reshape(count, -1)
        if not np.array_equal(parts, np.broadcast_to(parts[:1], parts.shape)):
            return False
    return True


def first_of(array: Array, count: int) -> Array:
    """The first elements."""
    return array[:count]


def _of_one_phase(draft: Draft, node: Node) -> Node:
    """The step with a phase's numbers in place of those of all: they repeat."""
    filters = node.value.shape[1]
    inputs = list(node.inputs)
    for number, name in enumerate(node.extras, start=2):
        constant = draft.constants.get(name)
        if constant is not None and len(constant.value.shape) == 1 and constant.value.shape[0] > filters:
            own = f"{name.removesuffix('.phases')}.phase"
            inputs[number] = draft.constant(own, (filters,), first_of, [constant], (filters,))
    return replace(node, inputs=tuple(inputs))


def _with_epilogue(node: Node, writer: Node, phases: tuple[int, int]) -> Node:
    op = writer.op
    if not isinstance(op, Conv):
        raise TypeError(op)
    fused = Node(
        node.value,
        replace(op, phases=phases),
        writer.operands,
        all_layers([writer, node]),
        ACC,
        IMPLICIT_GEMM,
    )
    # The writer's epilogue is the same for all phases: it is done where a phase's pixel is stored.
    return inlined(fused, writer, node, unmoved)
