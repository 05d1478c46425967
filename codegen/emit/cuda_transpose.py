"""Pointwise steps whose input runs along other coordinates than their output: matrices, turned in registers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnngen.codegen import expr as ex
from cnngen.codegen import tiles
from cnngen.codegen.emit.cuda_pointwise import pointwise_body
from cnngen.codegen.emit.cuda_text import (
    ELEMENTS,
    coordinate_lines,
    cuda_parameters,
    epilogue_lambda,
    integer_type,
    kernel_call,
)
from cnngen.codegen.emit.kernels import Kernel, Launch, aggregate, sources_of
from cnngen.codegen.emit.permutation import Digit, Permutation, permutation_of
from cnngen.codegen.expr import ACC, Load
from cnngen.codegen.graph import ITEM_BYTES, Graph, Node, Value

LEAST = 4  # rows and columns; of fewer, an ordinary step reads and writes long runs
LEAST_ELEMENTS = 1024  # of a matrix; a smaller one lies in the cache of who reads it element by element


@dataclass(frozen=True)
class Turned:
    """What an input's elements are turned by before the rest of the step sees them."""

    load: Load
    source: Value
    by: Permutation

    def tiles(self, value: Value) -> list[tiles.TransposeTile]:
        """All that its kernel may have."""
        rows, columns, others = self.by.rows, self.by.columns, (self.by.images, *self.by.outer)
        stores = math.gcd(rows.extent, columns.target, *(digit.target for digit in others))
        loads = math.gcd(columns.extent, rows.source, *(digit.source for digit in others))
        v = tiles.vector_width(stores, ITEM_BYTES[value.dtype])
        w = tiles.vector_width(loads, ITEM_BYTES[self.source.dtype])
        return tiles.transpose_tiles(rows.extent, columns.extent, v, w)


def turned(node: Node, graph: Graph) -> Turned | None:
    """The first load of a pointwise step that is so; None where there is none."""
    if node.value.pixel:  # coordinates do not follow from a place there
        return None
    for load in ex.loads(node.epilogue):
        source = graph.values[node.inputs[load.source]]
        by = None if source.name in graph.constants else permutation_of(load, source, node.value)
        if by is None or min(by.rows.extent, by.columns.extent) < LEAST:
            continue
        found = Turned(load, source, by)
        if by.rows.extent * by.columns.extent >= LEAST_ELEMENTS and found.tiles(node.value):
            return found
    return None


def transpose_kernel(node: Node, found: Turned, graph: Graph, largest_batch: int) -> Launch:
    """A block a part of a matrix; what is not of the permutation is the kernel's epilogue."""
    value, by, sources = node.value, found.by, sources_of(node, graph)
    tile = tiles.picked(node.engine, found.tiles(value))
    integer = integer_type(value, sources, graph, largest_batch)
    matrices = math.prod(digit.extent for digit in by.outer)
    fields = {
        "rows": by.rows.extent,
        "columns": by.columns.extent,
        "row_pitch": by.rows.source,
        "column_pitch": by.columns.target,
        "readable": by.readable,
    }
    number = "matrix" if by.outer else "image"
    lines = [
        f"constexpr cnngen::TransposeShape shape = {aggregate(fields)};",
        f"constexpr cnngen::TransposeTile tile = {aggregate(vars(tile))};",
        f"const int {number} = static_cast<int>(blockIdx.x / cnngen::blocks(shape, tile));",
        f"if ({number} >= batch{f' * {matrices}' if by.outer else ''}) return;",
        f"const {integer} from = {_start(by, integer, of_source=True)};",
        f"const {integer} to = {_start(by, integer, of_source=False)};",
    ]
    rest = ex.rewrite(node.epilogue, lambda e: ACC if e == found.load else None)
    if rest != ACC:
        body = pointwise_body(rest, value, sources, tile.v, acc="acc")
        places = [f"const {integer} i = to + place;"] if body.uses else []
        places += coordinate_lines(value, body.uses, integer, "i")
        lines += epilogue_lambda(
            [f"float (&acc)[{tile.v}]", "int place" if body.uses else "int"], body, tile.v, places
        )
    parameter = sources[found.load.source].parameter
    arguments = ["blockIdx.x % cnngen::blocks(shape, tile)", f"{parameter} + from", "y + to"]
    call = kernel_call(f"transpose<{ELEMENTS[found.source.dtype]}, tile, shape>", arguments, rest)
    kernel = Kernel(
        cuda_parameters(sources, value), (*lines, call), ("functions.cuh", "transpose.cuh"), tile.threads
    )
    items = matrices * tile.blocks(by.rows.extent, by.columns.extent)
    return Launch(kernel, items, whole_blocks=True)


def _start(by: Permutation, integer: str, *, of_source: bool) -> str:
    """Where a matrix begins, in the input or in the output."""

    def distance(digit: Digit) -> int:
        return digit.source if of_source else digit.target

    wide = integer != "int"
    if not by.outer:
        return f"{f'{integer}{{image}}' if wide else 'image'} * {distance(by.images)}"
    terms, below = [], 1
    for digit in reversed(by.outer):
        place = "matrix" if below == 1 else f"matrix / {below}"
        terms.append(f"{place} % {digit.extent} * {distance(digit)}")
        below *= digit.extent
    place = f"matrix / {below}"
    terms.append(f"{f'{integer}{{{place}}}' if wide else place} * {distance(by.images)}")
    return " + ".join(reversed(terms))
