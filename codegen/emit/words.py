"""Steps in words, for the comments of the generated source and for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cnngen.codegen import expr as ex
from cnngen.codegen.emit.cpp import kernel_names
from cnngen.codegen.expr import ACC
from cnngen.codegen.graph import Graph, Node, Value
from cnngen.codegen.node_ops import (
    ArgReduce,
    BatchMatMul,
    Conv,
    MatMul,
    MaxPools,
    Pointwise,
    Pool,
    ProductSoftmax,
    Reduce,
    Softmax,
    SqueezeExcite,
)

LONGEST_EXPRESSION = 90  # in a comment
POOLS: Mapping[str, str] = {
    "max": "maximum",
    "avg": "mean",
    "sum": "sum",
    "argmax": "place of the maximum",
}
REDUCTIONS: Mapping[str, str] = {
    "sum": "sum",
    "mean": "mean",
    "max": "maximum",
    "min": "minimum",
    "prod": "product",
    "sum_squares": "sum of squares",
    "variance": "variance",
}


def comment(graph: Graph, node: Node) -> str:
    """`conv1 + bn1 + relu: 7x7 convolution, stride 2, ... [N, 3, 224, 224] -> [N, 64, 112, 112], 0.236 GFLOP.`."""
    operands = [name for name in node.operands if name not in graph.constants]
    sources = operands or [name for name in dict.fromkeys(node.inputs) if name not in graph.constants]
    shapes = " and ".join(dict.fromkeys(_shape_text(graph.values[name]) for name in sources)) or "nothing"
    flop = flops(graph, node)
    work = f", {_flop_text(flop / graph.batch)} an image" if flop else ""
    # A backslash at the end of a wrapped line would swallow the next one.
    layers = " + ".join(node.layers).replace("\\", "/")
    return f"{layers}: {describe(graph, node)}. {shapes} -> {_shape_text(node.value)}{work}."


def _flop_text(flop: float) -> str:
    scale, unit = (1e9, "GFLOP") if flop >= 1e7 else (1e6, "MFLOP")
    return f"{flop / scale:.3g} {unit}"


def _shape_text(value: Value) -> str:
    layout = "" if value.layout != "NCHW" else " NCHW"
    return f"[{', '.join(['N', *map(str, value.shape[1:])])}]{layout}"


def flops(graph: Graph, node: Node) -> int:
    """Floating-point operations of matrix products over the whole batch; 0 for anything else."""
    match node.op:
        case ProductSoftmax(product):
            return flops(graph, replace(node, op=product))
        case SqueezeExcite():
            return 4 * graph.batch * graph.values[node.inputs[1]].elements
        case Conv() | MatMul():
            return (
                2
                * node.value.elements
                * (graph.values[node.inputs[1]].elements // graph.values[node.inputs[1]].shape[0])
            )
    return 0


def describe(graph: Graph, node: Node) -> str:
    """What a step does, in words."""
    what = _op_words(graph, node)
    if isinstance(node.op, Pointwise) or node.epilogue == ACC:
        return what
    functions = [e.function for e in ex.walk(node.epilogue) if isinstance(e, ex.Call)]
    words = []
    for function in reversed(functions):
        word = {"add": "sum", "mul": "scale"}.get(function, function)
        if function == "add":
            word = (
                "bias"
                if "bias" not in words and any(n in graph.constants for n in node.extras)
                else "residual"
            )
        words.append(word)
    return ", ".join([what, *dict.fromkeys(words)])


def _axes_words(axes: Sequence[int], value: Value) -> str:
    """`height and width`."""
    images = ("the batch", "channels", "height", "width")
    return " and ".join(images[axis] if len(value.shape) == 4 else f"axis {axis}" for axis in axes)


def _pool_words(op: Pool | MaxPools) -> str:
    if isinstance(op, MaxPools):
        return f"{op.count} maxima over {op.kernel}x{op.kernel} one after the other, behind what they are of"
    return f"{POOLS[op.kind]} over {op.kernel[0]}x{op.kernel[1]}, stride {op.stride[0]}"


def _op_words(graph: Graph, node: Node) -> str:
    match node.op:
        case Conv() as op:
            k, _, r, s = graph.values[node.inputs[1]].shape
            kind = "depthwise convolution" if node.form == "depthwise" else "convolution"
            parts = [f"{r}x{s} {kind}", f"{graph.values[node.inputs[0]].shape[1]} -> {k} channels"]
            if op.stride != (1, 1):
                parts.append(
                    f"stride {op.stride[0]}" if op.stride[0] == op.stride[1] else f"stride {op.stride}"
                )
            if op.groups > 1 and node.form != "depthwise":
                parts.append(f"{op.groups} groups")
            return ", ".join(parts)
        case MatMul():
            return "linear"
        case Pool() | MaxPools() as op:
            return _pool_words(op)
        case BatchMatMul():
            return "product of matrices"
        case Reduce(kind, axes):
            return f"{REDUCTIONS[kind]} over {_axes_words(axes, node.value)}"
        case ArgReduce() as op:
            which = "largest" if op.kind == "max" else "smallest"
            return f"place of the {which} over {_axes_words((op.axis,), node.value)}"
        case Softmax(_, log) | ProductSoftmax(_, _, log) as op:
            before = "" if isinstance(op, Softmax) else f"{_op_words(graph, replace(node, op=op.product))}, "
            return before + ("logarithm of a softmax" if log else "softmax")
        case SqueezeExcite():
            m, c = graph.values[node.inputs[1]].shape[:2]
            scaled = "" if node.op.gate is None else ", times the map"
            return f"squeeze-excite, {c} -> {m} -> {c} channels{scaled}"
    text = ex.describe(node.epilogue, kernel_names(node.inputs, graph.constants))
    if len(text) <= LONGEST_EXPRESSION:
        return text
    functions = dict.fromkeys(
        e.function
        for e in ex.walk(node.epilogue)
        if isinstance(e, ex.Call) and ex.kind(e) == "float" and e.function != "to_float"
    )
    return "an expression of " + ", ".join(functions)
