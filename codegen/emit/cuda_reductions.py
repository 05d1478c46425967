"""The CUDA kernels that go along an axis: reductions, places of extremes, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnngen.codegen import tiles
from cnngen.codegen.emit.cuda_pointwise import pointwise_body
from cnngen.codegen.emit.cuda_text import (
    ELEMENTS,
    POINTWISE_THREADS,
    coordinate_lines,
    cuda_parameters,
    epilogue_lambda,
    integer_type,
    kernel_call,
)
from cnngen.codegen.emit.kernels import Kernel, Launch, aggregate, product, sources_of
from cnngen.codegen.expr import ACC
from cnngen.codegen.graph import ITEM_BYTES, Graph, Node, Value
from cnngen.codegen.node_ops import ArgReduce, Reduce, Softmax

REDUCE_THREADS, VARIANCE_THREADS = 1024, 512  # of a multiprocessor, with 64 and 128 registers
MOST_RESIDENT = 16  # blocks of a multiprocessor, whichever it is


def _reduction_epilogue(node: Node, graph: Graph, lanes: int, inner: int, integer: str) -> list[str]:
    """As `pixel_epilogue`, of results that lie in rows of `inner`: the coordinates follow from the place in y."""
    if node.epilogue == ACC:
        return []
    value = node.value
    body = pointwise_body(node.epilogue, value, sources_of(node, graph), lanes, acc="acc")
    place = "row" if inner == 1 else f"row * {inner} + column"
    if integer != "int":
        place = place.replace("row", f"{integer}{{row}}")
    places = [f"const {integer} i = {place};"] if body.uses else []
    places += coordinate_lines(value, body.uses, integer, "i")
    used = [name if name in place and body.uses else "" for name in ("row", "column")]
    arguments = [f"float (&acc)[{lanes}]", *(f"int {name}".strip() for name in (*used, "", ""))]
    return epilogue_lambda(arguments, body, lanes, places)


@dataclass(frozen=True)
class _Reduced:
    """A reduction as its kernels see it: x is [outer, count, inner], and `count` goes."""

    node: Node
    graph: Graph
    x: Value
    axes: tuple[int, ...]
    largest_batch: int

    @property
    def count(self) -> int:
        return product(self.x, self.axes)

    @property
    def inner(self) -> int:
        """How many neighbours each reduced value has."""
        innermost = max(self.x.axes.index(axis) for axis in self.axes if self.x.shape[axis] > 1)
        return product(self.x, self.x.axes[innermost + 1 :])

    @property
    def rows(self) -> int:
        """Of the outer ones, for each along axis 0 of the result."""
        return self.x.elements // self.count // self.inner // self.node.value.shape[0]

    @property
    def rows_text(self) -> str:
        return "batch" if self.rows == 1 else f"batch * {self.rows}"

    @property
    def lanes(self) -> int:
        """How many neighbours a thread may take at once."""
        y = self.node.value
        extent = self.inner if self.node.epilogue == ACC else y.shape[y.inner_axis]
        return tiles.vector_width(extent, ITEM_BYTES[self.x.dtype])

    def lines(self, lanes: int, function: str) -> list[str]:
        sources = sources_of(self.node, self.graph)
        integer = integer_type(self.node.value, sources, self.graph, self.largest_batch)
        return [
            *_reduction_epilogue(self.node, self.graph, lanes, self.inner, integer),
            kernel_call(function, [self.rows_text, sources[0].parameter, "y"], self.node.epilogue),
        ]

    def kernel(self, lines: Sequence[str], header: str, threads: int) -> Kernel:
        parameters = cuda_parameters(sources_of(self.node, self.graph), self.node.value)
        return Kernel(parameters, tuple(lines), (header,), threads)


def _row_lines(length: int, tile: tiles.RowTile) -> list[str]:
    return [
        f"constexpr cnngen::RowShape shape = {aggregate({'c': length})};",
        f"constexpr cnngen::RowTile tile = {aggregate(vars(tile))};",
    ]


def reduce_tile_options(node: Node, op: Reduce, graph: Graph) -> list[tiles.RowTile] | list[tiles.ReduceTile]:
    """The tiles that a reduction may have."""
    x = graph.values[node.inputs[0]]
    form = _Reduced(node, graph, x, op.axes, 0)
    item = ITEM_BYTES[x.dtype]
    if form.inner == 1:
        return tiles.row_tiles(form.count, item)
    return tiles.reduce_tiles(form.rows * node.value.shape[0], form.inner, form.count, form.lanes, item)


def arg_reduce_tile_options(node: Node, op: ArgReduce, graph: Graph) -> list[tiles.RowTile]:
    """The tiles that the place of an extreme along the innermost axis may have; along another one it has none."""
    x = graph.values[node.inputs[0]]
    form = _Reduced(node, graph, x, (op.axis,), 0)
    return tiles.row_tiles(form.count, ITEM_BYTES[x.dtype]) if form.inner == 1 else []


def softmax_tile_options(node: Node, op: Softmax, graph: Graph) -> list[tiles.RowTile]:
    """The tiles that a softmax over the innermost axis may have; over another one it has none."""
    x = graph.values[node.inputs[0]]
    inner = product(x, x.axes[x.axes.index(op.axis) + 1 :])
    return tiles.softmax_tiles(x.shape[op.axis], ITEM_BYTES[x.dtype]) if inner == 1 else []


def reduce_kernel(node: Node, op: Reduce, graph: Graph, largest_batch: int) -> Launch:
    """Of inner axes rows, else columns of neighbours that each thread or block keeps apart."""
    x = graph.values[node.inputs[0]]
    form = _Reduced(node, graph, x, op.axes, largest_batch)
    element, kind = ELEMENTS[x.dtype], f"cnngen::Reduction::{op.kind}"
    if form.inner == 1:
        row_tile = tiles.picked(node.engine, tiles.row_tiles(form.count, ITEM_BYTES[x.dtype]))
        function = f"reduce_rows<{element}, tile, shape, {kind}>"
        lines = [*_row_lines(form.count, row_tile), *form.lines(1, function)]
        return Launch(form.kernel(lines, "reduce.cuh", row_tile.threads), form.rows * row_tile.lanes)
    item = ITEM_BYTES[x.dtype]
    options = tiles.reduce_tiles(form.rows * node.value.shape[0], form.inner, form.count, form.lanes, item)
    tile = tiles.picked(node.engine, options)
    lines = [
        f"constexpr cnngen::ReduceShape shape = {aggregate({'c': form.inner, 'count': form.count})};",
        f"constexpr cnngen::ReduceTile tile = {aggregate(vars(tile))};",
        *form.lines(tile.v, f"reduce<{element}, tile, shape, {kind}>"),
    ]
    items = form.rows * tiles.reduce_blocks(tile, form.inner)
    # Registers for all loads of a batch: left alone, the compiler would have two or three of them under way.
    together = VARIANCE_THREADS if op.kind == "variance" else REDUCE_THREADS
    resident = min(MOST_RESIDENT, max(1, together // tile.threads))
    kernel = replace(form.kernel(lines, "reduce.cuh", tile.threads), resident=resident)
    return Launch(kernel, items, whole_blocks=True)


def arg_reduce_kernel(node: Node, op: ArgReduce, graph: Graph, largest_batch: int) -> Launch:
    """Of inner axes rows, else columns: each thread some neighbours, from end to end of the axis."""
    x = graph.values[node.inputs[0]]
    form = _Reduced(node, graph, x, (op.axis,), largest_batch)
    element, header = ELEMENTS[x.dtype], "arg_reduce.cuh"
    which = f"cnngen::Extreme::{op.kind}, /*last=*/{str(op.last).lower()}"
    if form.inner == 1:
        tile = tiles.picked(node.engine, arg_reduce_tile_options(node, op, graph))
        function = f"arg_rows<{element}, tile, shape, {which}>"
        lines = [*_row_lines(form.count, tile), *form.lines(1, function)]
        return Launch(form.kernel(lines, header, tile.threads), form.rows * tile.lanes)
    lines = [
        f"constexpr cnngen::AxisShape shape = {aggregate({'axis': form.count, 'inner': form.inner})};",
        *form.lines(form.lanes, f"arg_columns<{element}, {form.lanes}, shape, {which}>"),
    ]
    items = form.rows * (form.inner // form.lanes)
    return Launch(form.kernel(lines, header, POINTWISE_THREADS), items)


def softmax_kernel(node: Node, op: Softmax, graph: Graph) -> Launch:
    """Of inner axes rows, else columns: each thread some neighbours, from end to end of the axis."""
    x, sources = graph.values[node.inputs[0]], sources_of(node, graph)
    place = x.axes.index(op.axis)
    outer = product(x, x.axes[1:place])
    inner = product(x, x.axes[place + 1 :])
    length = x.shape[op.axis]
    element, log = ELEMENTS[x.dtype], ", /*log=*/true" if op.log else ""
    # Along axis 0, which `batch` counts, there is one row, or one of neighbours.
    rows = f"batch / {length}" if place == 0 else "batch" if outer == 1 else f"batch * {outer}"
    if inner == 1:
        tile = tiles.picked(node.engine, tiles.softmax_tiles(length, ITEM_BYTES[x.dtype]))
        lines = [
            *_row_lines(length, tile),
            f"cnngen::softmax<{element}, tile, shape{log}>({rows}, {sources[0].parameter}, y);",
        ]
        threads, items = tile.threads, outer * tile.lanes
    else:
        v = tiles.vector_width(inner, ITEM_BYTES[x.dtype])
        lines = [
            f"constexpr cnngen::AxisShape shape = {aggregate({'axis': length, 'inner': inner})};",
            f"cnngen::softmax_strided<{element}, {v}, shape{log}>({rows}, {sources[0].parameter}, y);",
        ]
        threads, items = POINTWISE_THREADS, outer * (inner // v)
    kernel = Kernel(cuda_parameters(sources, node.value), tuple(lines), ("softmax.cuh",), threads)
    return Launch(kernel, items)
