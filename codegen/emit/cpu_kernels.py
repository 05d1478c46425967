"""The CPU kernels of a network: one view a kernel, its whole text computed here, for `kernels.cpp` and its callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnngen.codegen.emit.cpp import Source, coordinate_names
from cnngen.codegen.emit.cpu_pointwise import epilogue_lines, pointwise_lines
from cnngen.codegen.emit.kernels import (
    Kernel,
    Launch,
    aggregate,
    needs_64_bits,
    parameters_of,
    product,
    sources_of,
    window_shape,
)
from cnngen.codegen.graph import Graph, Node, Value
from cnngen.codegen.node_ops import ArgReduce, Pointwise, Pool, Reduce, Softmax
from cnngen.codegen.targets import CPU

POOLING = {"max": "max", "argmax": "argmax", "sum": "sum", "avg": "average"}


def kernel_of(node: Node, graph: Graph, largest_batch: int) -> Launch | None:
    """The kernel that runs a node; None where a library does."""
    sources = sources_of(node, graph)
    match node.op:
        case Pointwise():
            lines = _pointwise(node, graph, sources, largest_batch)
            headers: tuple[str, ...] = ("pointwise.hpp",)
        case Pool() as op:
            lines, headers = _pool(node, op, graph, sources), ("pool.hpp",)
        case Reduce() as op:
            lines, headers = _reduce(node, op, graph, sources), ("reduce.hpp",)
        case ArgReduce() as op:
            lines, headers = _arg_reduce(node, op, graph, sources), ("reduce.hpp",)
        case Softmax() as op:
            lines, headers = _softmax(node, op, graph, sources), ("softmax.hpp",)
        case _:
            return None
    return Launch(Kernel(parameters_of(sources, node.value, CPU.elements), tuple(lines), headers))


def _pointwise(node: Node, graph: Graph, sources: Sequence[Source], largest_batch: int) -> list[str]:
    large = needs_64_bits(node.value, sources, graph, largest_batch)
    return pointwise_lines(node.epilogue, node.value, sources, large=large)


def _call(function: str, arguments: Sequence[str], epilogue: Sequence[str]) -> list[str]:
    """The lines of the epilogue, where there is one, and the call that takes it."""
    more = ["epilogue"] if epilogue else []
    return [*epilogue, f"cnngen::{function}({', '.join([*arguments, *more])});"]


def _pool(node: Node, op: Pool, graph: Graph, sources: Sequence[Source]) -> list[str]:
    x, y = graph.values[node.inputs[0]], node.value
    kind = POOLING[op.kind] + ("_with_padding" if op.kind == "avg" and op.count_include_pad else "")
    # An output that is declared NCHW lies like one of NHWC here (it is one pixel, or one channel).
    epilogue = epilogue_lines(node.epilogue, replace(y, layout="NHWC"), sources)
    return [
        window_shape(x, y, op.kernel, op),
        *_call(f"pool<cnngen::Pooling::{kind}, shape>", ["batch", sources[0].parameter, "y"], epilogue),
    ]


def _reduce(node: Node, op: Reduce, graph: Graph, sources: Sequence[Source]) -> list[str]:
    x = graph.values[node.inputs[0]]
    runs = _runs(x, op.axes)
    last = (
        runs.pop() if len(runs) > 1 or runs[0][2] else (1, 1, False)
    )  # the innermost, whose neighbours are so in memory
    kept = [(size, stride) for size, stride, reduced in runs if not reduced]
    reduced = [(size, stride) for size, stride, reduced in runs if reduced]
    if len(kept) > 3 or len(reduced) > 3:
        raise TypeError(f"{node.name!r} reduces more axes apart from each other than the kernel takes")
    fields: dict[str, object] = {}
    if kept:
        fields["kept"] = _run_texts([(1, kept[0][1]), *kept[1:]])
    if reduced:
        fields["reduced"] = _run_texts(reduced)
    inner, row = (1, last[0]) if last[2] else (last[0], 1)
    rows = node.value.elements // node.value.shape[0] // inner
    sizes = {"rows": rows, "inner": inner, "row": row}
    fields |= {name: number for name, number in sizes.items() if number != 1}
    return [
        f"constexpr cnngen::ReduceShape shape = {aggregate(fields)};",
        *_call(
            f"reduce<cnngen::Reduction::{op.kind}, shape>",
            ["batch", sources[0].parameter, "y"],
            _flat_epilogue(node, sources),
        ),
    ]


def _runs(x: Value, axes: Sequence[int]) -> list[tuple[int, int, bool]]:
    """(elements, distance of neighbours, whether reduced) of the axes in memory order, those treated alike as one.

    Axis 0, of which the text does not know the extent, stays by itself.
    """
    found: list[tuple[int, int, bool]] = []
    for axis in x.axes:
        size, stride, reduced = x.shape[axis], x.strides[axis], axis in axes
        if size == 1 and axis:
            continue
        if len(found) > 1 and found[-1][2] == reduced:
            found[-1] = (found[-1][0] * size, stride, reduced)
        else:
            found.append((size, stride, reduced))
    return found


def _run_texts(runs: Sequence[tuple[int, int]]) -> str:
    return "{" + ", ".join(f"{{{size}, {stride}}}" for size, stride in runs) + "}"


def _arg_reduce(node: Node, op: ArgReduce, graph: Graph, sources: Sequence[Source]) -> list[str]:
    return [
        f"constexpr cnngen::AxisShape shape = {_axis_shape(graph.values[node.inputs[0]], op.axis)};",
        *_call(
            f"arg_reduce</*smallest=*/{_word(op.kind == 'min')}, /*last=*/{_word(op.last)}, shape>",
            ["batch", sources[0].parameter, "y"],
            _flat_epilogue(node, sources),
        ),
    ]


def _softmax(node: Node, op: Softmax, graph: Graph, sources: Sequence[Source]) -> list[str]:
    images = "batch" if op.axis else "1"
    return [
        f"constexpr cnngen::AxisShape shape = {_axis_shape(graph.values[node.inputs[0]], op.axis)};",
        *_call(f"softmax</*log=*/{_word(op.log)}, shape>", [images, sources[0].parameter, "y"], []),
    ]


def _axis_shape(x: Value, axis: int) -> str:
    """The axes before and behind, in memory; along axis 0 there is but one image."""
    place = x.axes.index(axis)
    fields = {
        "outer": product(x, x.axes[1:place]),
        "axis": x.shape[axis],
        "inner": product(x, x.axes[place + 1 :]),
    }
    return aggregate({name: number for name, number in fields.items() if number != 1 or name == "axis"})


def _word(flag: bool) -> str:
    return str(flag).lower()


def _flat_epilogue(node: Node, sources: Sequence[Source]) -> list[str]:
    """An epilogue that is told where in y it is, and works out the coordinates that it needs."""
    lines = epilogue_lines(node.epilogue, node.value, sources)
    if not lines:
        return []
    head, *body = lines
    value, stride, positions = node.value, 1, list[str]()
    for axis, name in reversed([(axis, coordinate_names(len(value.shape))[axis]) for axis in value.axes]):
        if f"int {name}" in head:
            place = "i" if stride == 1 else f"i / {stride}"
            positions.append(f"const int {name} = {place}{f' % {value.shape[axis]}' if axis else ''};")
        stride *= value.shape[axis] if axis else 1
    used = "std::int64_t i" if positions else "std::int64_t"
    return [f"const auto epilogue = [&](float acc, {used}) {{", *positions, *body]
