"""What runs a step, in the words of locks: `cudnn 4 24=3`, `cublaslt 66 tile=20`, `implicit_gemm m=64`, `tile v=8`.

A library's engines are opaque here: the runtime knows them (`include/cnngen/cuda/engine.hpp`) and falls back to the
library's first choice where one is not to be had. A kernel of our own is told its tile.
"""

from __future__ import annotations

import math
import re

from cnngen.codegen.gemm_tiles import MOST_DIRECT_DEPTH, tap_gemm_tiles, window_gemm_tiles
from cnngen.codegen.graph import LIBRARIES, Graph, Node
from cnngen.codegen.node_ops import Conv, MatMul

OF_LIBRARIES = ("cudnn", "cudnn_matmul", "cublaslt")
IMPLICIT_GEMM, DIRECT_GEMM, WINDOW_GEMM, TAP_GEMM = "implicit_gemm", "direct_gemm", "window_gemm", "tap_gemm"
# The forms of our own of what libraries run otherwise.
ON_TENSOR_CORES = (IMPLICIT_GEMM, DIRECT_GEMM, WINDOW_GEMM, TAP_GEMM)
TILE = "tile"
OF_OURS = (*ON_TENSOR_CORES, TILE)
KINDS = (*OF_LIBRARIES, *OF_OURS)
WORDS = re.compile(rf"({'|'.join(OF_LIBRARIES)}) \d+( \w+=\d+)*|({'|'.join(OF_OURS)})( \w+=\d+)+")


def is_engine(text: str) -> bool:
    """Whether a text is in these words, whatever has become of what it names."""
    return WORDS.fullmatch(text) is not None


def is_beginning(text: str) -> bool:
    """Whether engines can begin with these words, of which the first says what kind they are."""
    return text in KINDS or is_engine(text)


def split_engine(text: str) -> tuple[str, str]:
    """What kind of engine it is, and the rest."""
    kind, _, rest = text.partition(" ")
    return kind, rest


def runs_as_gemm(node: Node, graph: Graph) -> bool:
    """Whether `implicit_gemm.cuh` can run a node: dense, 16-bit, with channels in groups of 16 bytes."""
    match node.op:
        case Conv(groups=1) | MatMul():
            x, w = (graph.values[name] for name in node.inputs[:2])
            channels = w.shape[1]
            sixteen = x.dtype in ("float16", "bfloat16") and w.dtype == x.dtype
            return sixteen and channels % 8 == 0 and x.elements < 2**31 and node.value.elements < 2**31
    return False


def runs_directly(node: Node, graph: Graph) -> bool:
    """Whether `direct_gemm.cuh` can run a node, and has what it is for: products of little depth."""
    return (
        runs_as_gemm(node, graph) and math.prod(graph.values[node.inputs[1]].shape[1:]) <= MOST_DIRECT_DEPTH
    )


def runs_by_windows(node: Node, graph: Graph) -> bool:
    """Whether `window_gemm.cuh` can run a node, and has what it is for: windows that overlap, and few filters."""
    if not isinstance(node.op, Conv) or not _overlaps(node.op, node, graph):
        return False
    filters, channels, r, s = graph.values[node.inputs[1]].shape
    return bool(window_gemm_tiles(filters, channels, (r, s), node.op.dilation))


def runs_by_taps(node: Node, graph: Graph) -> bool:
    """Whether `tap_gemm.cuh` can run a node, and has what it is for: windows that overlap, and very few filters."""
    if not isinstance(node.op, Conv) or not _overlaps(node.op, node, graph):
        return False
    filters, _, r, s = graph.values[node.inputs[1]].shape
    return bool(tap_gemm_tiles(filters, (r, s), node.op.dilation))


def _overlaps(op: Conv, node: Node, graph: Graph) -> bool:
    """Whether it is a product on tensor cores whose windows overlap."""
    window = graph.values[node.inputs[1]].shape[2:]
    return op.stride == (1, 1) and window != (1, 1) and runs_as_gemm(node, graph)


def own_forms(node: Node, graph: Graph) -> tuple[str, ...]:
    """The forms of our own that could run a library's step, or one of the other form."""
    can = {
        IMPLICIT_GEMM: runs_as_gemm,
        DIRECT_GEMM: runs_directly,
        WINDOW_GEMM: runs_by_windows,
        TAP_GEMM: runs_by_taps,
    }
    return tuple(form for form, runs in can.items() if runs(node, graph))


def has_engines(node: Node, graph: Graph) -> bool:
    """Whether a lock names the engine of a step: a library's, or one that a kernel of our own runs in its place."""
    return node.form in LIBRARIES or bool(own_forms(node, graph))
