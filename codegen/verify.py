"""What has to hold of a graph, after lowering and after every pass."""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from dataclasses import replace

from cnngen.codegen import expr as ex
from cnngen.codegen.graph import LIBRARIES, Graph, Node, Value
from cnngen.codegen.node_ops import (
    ArgReduce,
    BatchMatMul,
    Conv,
    Join,
    MatMul,
    MaxPools,
    Pointwise,
    Pool,
    ProductSoftmax,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    SqueezeExcite,
    operand_count,
)


def verify(graph: Graph) -> None:
    """Raises ValueError where the graph contradicts itself: run after every pass."""
    known = {value.name for value in graph.inputs} | set(graph.constants)
    for node in graph.nodes:
        contradiction = (
            _order_problem(node, known) or _form_problem(node, graph) or _epilogue_problem(node, graph)
        )
        if contradiction:
            raise ValueError(f"{graph.name}: node {node.name!r}: {contradiction}")
        known.add(node.name)
    absent = [name for name in graph.outputs if name not in known]
    if absent:
        raise ValueError(f"{graph.name}: outputs {', '.join(absent)} are never written")


def _order_problem(node: Node, known: Container[str]) -> str | None:
    missing = [name for name in node.inputs if name not in known]
    if missing:
        return f"reads {', '.join(missing)}, which nothing has written before it"
    return "writes a value that exists already" if node.name in known else None


def _form_problem(node: Node, graph: Graph) -> str | None:
    if len(node.inputs) < operand_count(node.op):
        return "lacks operands"
    borrowed = any(value.name in node.inputs for value in graph.inputs)
    if node.form in LIBRARIES and (borrowed or node.name in graph.outputs):
        return "only kernels of our own may touch the caller's memory"
    names = node.inputs if isinstance(node.op, Join) else node.operands
    return _layout_problem(node, [graph.values[name] for name in names])


def _layout_problem(node: Node, operands: Sequence[Value]) -> str | None:
    match node.op:
        case MaxPools(_, count) if node.value.shape[1] != (count + 1) * operands[0].shape[1]:
            return "a chain of max pools writes its input and each of them"
        case Conv() | Pool() | MaxPools():
            return _image_problem(node, operands)
        case ProductSoftmax() as op:
            return _softmax_problem(op, node, operands)
        case MatMul() | BatchMatMul():
            if not all(value.is_row_major for value in (*operands, node.value)):
                return "matrices are row-major"
        case Reduce(_, axes):
            return _reduction_problem(operands[0], node.value, axes)
        case ArgReduce(_, axis):
            return _reduction_problem(operands[0], node.value, (axis,))
        case Softmax() if not operands[0].lies_like(node.value):
            return "a softmax lies in memory as its input does"
        case Join() | Slice():
            join = isinstance(node.op, Join)
            return _join_problem(node.value, operands) if join else _slice_problem(node.value, operands[0])
        case SqueezeExcite() as op:
            return _squeeze_problem(op, operands, node.value)
        case Reshape() if not node.value.is_view_of(operands[0]):
            return "a reshape needs its elements in the order in which they lie in memory"
    return None


def _image_problem(node: Node, operands: Sequence[Value]) -> str | None:
    images = (operands[0], node.value)
    if node.form == "cudnn" and all(value.layout == "NCHW" for value in (node.value, *operands)):
        exact = node.value.dtype == "float32" and not any(value.pixel for value in images)
        return None if exact else "only convolutions in float32 have channels first"
    if not all(image.lies_like(replace(image, layout="NHWC")) for image in images):
        return "convolutions and pools read and write channels-last"
    return None


def _join_problem(y: Value, parts: Sequence[Value]) -> str | None:
    host, pixel = (y.host, y.pixel) if y.host else (y.name, y.shape[1])
    first = y.first
    for part in parts:
        if (part.host, part.first, part.pixel) != (host, first, pixel) or part.dtype != y.dtype:
            return f"{part.name} does not lie where it joins"
        first += part.shape[1]
    whole = y.layout == "NHWC" and first == y.first + y.shape[1]
    return None if whole else "its parts are not all that it is"


def _slice_problem(y: Value, x: Value) -> str | None:
    inside = (y.host, y.pixel) == (x.name, x.shape[1]) and y.first + y.shape[1] <= x.shape[1]
    alike = (x.layout, y.layout, x.dtype) == ("NHWC", "NHWC", y.dtype)
    if not inside or not alike or x.host or y.shape[2:] != x.shape[2:]:
        return f"{y.name} is no part of {x.name}"
    return None


def _reduction_problem(x: Value, y: Value, axes: tuple[int, ...]) -> str | None:
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    if y.shape != kept:
        return f"reduces {list(x.shape)} along {list(axes)} to {list(y.shape)}"
    if not y.lies_like(replace(x, shape=kept)):
        return "the axes that a reduction keeps lie in memory as its input's do"
    several = [axis in axes for axis in x.axes if x.shape[axis] > 1]
    if sum(1 for reduced, _ in itertools.groupby(several) if reduced) != 1:
        return "a reduction takes axes that are neighbours in memory"
    return None


def _softmax_problem(op: ProductSoftmax, node: Node, operands: Sequence[Value]) -> str | None:
    if not any(isinstance(e, ex.Acc) for e in ex.walk(op.logits)):
        return "logits must read their sums"
    for load in ex.loads(op.logits):
        known = 2 <= load.source < len(operands)
        if not known or len(load.index) != len(operands[load.source].shape):
            return f"logits load operand {load.source} with {len(load.index)} indices"
    return _layout_problem(replace(node, op=op.product), operands[:2])


def _squeeze_problem(op: SqueezeExcite, operands: Sequence[Value], y: Value) -> str | None:
    x, w1, w2, *constants = operands
    n, c = x.shape[:2]
    m = w1.elements // c
    if x.axes[0] != 0 or x.axes[-1] != 1:
        return "squeeze and excitation reads channels-last"
    rows = [(w1, m, c), (w2, c, m), *([(y, n, c)] if op.gate is None else [])]
    meet = all(value.shape[:2] == (p, q) and value.elements == p * q for value, p, q in rows)
    if not meet or (op.gate is not None and not y.lies_like(x)):
        shapes = " and ".join(str(list(value.shape)) for value in (x, w1, w2))
        return f"{shapes} do not make {'gates' if op.gate is None else 'a map'} {list(y.shape)}"
    for function in op.functions:
        if not any(isinstance(e, ex.Acc) for e in ex.walk(function)):
            return "hidden units and gates must read their sums"
        if any(isinstance(e, ex.Coord) and e.axis != 1 for e in ex.walk(function)):
            return "hidden units and gates know only their number"
        for load in ex.loads(function):
            known = 3 <= load.source < len(operands)
            if not known or len(load.index) != len(constants[load.source - 3].shape):
                return f"hidden units or gates load operand {load.source} with {len(load.index)} indices"
    return None


def _epilogue_problem(node: Node, graph: Graph) -> str | None:
    reads_result = any(isinstance(e, ex.Acc) for e in ex.walk(node.epilogue))
    if reads_result == isinstance(node.op, Pointwise):
        return "the epilogue must read the op's result, and a pointwise step has none"
    for load in ex.loads(node.epilogue):
        if load.source >= len(node.inputs):
            return f"the epilogue loads input {load.source} of {len(node.inputs)}"
        if len(load.index) != len(graph.values[node.inputs[load.source]].shape):
            return f"{node.inputs[load.source]} is read with a wrong number of indices"
    return None
