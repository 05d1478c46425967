"""The kernels of pointwise steps: a thread computes neighbours along the innermost axis, once or several times."""

from __future__ import annotations

from collections.abc import Container, Sequence

from cnngen.codegen import expr as ex
from cnngen.codegen import tiles
from cnngen.codegen.emit.cpp import Source, coordinate_names, without_unit_axes
from cnngen.codegen.emit.cuda_pointwise import Body, pointwise_body
from cnngen.codegen.emit.cuda_text import ELEMENTS, POINTWISE_THREADS, cuda_parameters, integer_type
from cnngen.codegen.emit.cuda_transpose import transpose_kernel, turned
from cnngen.codegen.emit.kernels import Kernel, Launch, sources_of
from cnngen.codegen.expr import Coord, Expr, Load
from cnngen.codegen.graph import ITEM_BYTES, Graph, Node, Value


def pointwise_tile_options(
    node: Node, graph: Graph, batch: int
) -> Sequence[tiles.TransposeTile | tiles.PointwiseTile]:
    """First the one that runs without a lock; none where there is but one way."""
    found = turned(node, graph)
    return found.tiles(node.value) if found is not None else _item_options(node, graph, batch)


def _item_options(node: Node, graph: Graph, batch: int) -> list[tiles.PointwiseTile]:
    """Several items a thread win where they share what they read: that is each channel's, and what follows from it."""
    value, sources = node.value, sources_of(node, graph)
    expr, here, lanes = _lanes(node, sources)
    items = value.elements // value.shape[0] // lanes
    if value.pixel or _reads_nothing_else(expr, here):
        return []
    options = tiles.pointwise_tiles(batch, items, POINTWISE_THREADS)
    small = [64 * sources[load.source].value.elements <= value.elements for load in ex.loads(expr)]
    return options[::-1] if any(small) else options


def pointwise_kernel(node: Node, graph: Graph, largest_batch: int, tile_batch: int) -> Launch:
    """A thread computes neighbours along the innermost axis; 16 bytes of output where the extent allows it.

    What runs along other coordinates in the input is a matrix that is turned.
    """
    found = turned(node, graph)
    if found is not None:
        return transpose_kernel(node, found, graph, largest_batch)
    value, sources = node.value, sources_of(node, graph)
    expr, here, lanes = _lanes(node, sources)
    at = "i" if lanes == 1 else f"i * {lanes}"
    body = pointwise_body(expr, value, sources, lanes, places=dict.fromkeys(here, at))
    items = value.elements // value.shape[0] // lanes
    integer = integer_type(value, sources, graph, largest_batch)
    options = _item_options(node, graph, tile_batch)
    several = tiles.picked(node.engine, options).items if options else 1
    once, each = _position_lines(value, items, lanes, body.uses, integer, several)
    if value.pixel:
        threads, at = value.shape[1] // lanes, "at"
        each.append(f"const {integer} at = {_in_pixels('i', threads, lanes, value.pixel)};")
    each += body.before
    if several == 1:
        compute, store = _computation(body, lanes, "out", ELEMENTS[value.dtype], at)
        lines = [*once, *each, *([f"float out[{lanes}];"] if lanes > 1 else []), *compute, *store]
    else:  # all that is read before all that is written, so that the items' loads go out together
        compute, store = _computation(body, lanes, "out[item]", ELEMENTS[value.dtype], at)
        loop = [
            "#pragma unroll",
            f"for (int item = 0; item < {several}; ++item) {{",
            f"const {integer} i = first + item * {POINTWISE_THREADS};",
        ]
        array = f"float out[{several}]{f'[{lanes}]' if lanes > 1 else ''};"
        lines = [*once, array, *loop, *each, *compute, "}", *loop, *store, "}"]
    kernel = Kernel(
        cuda_parameters(sources, value),
        tuple(lines),
        ("functions.cuh", "vector.cuh"),
        POINTWISE_THREADS,
    )
    return Launch(kernel, items // several)


def _computation(body: Body, lanes: int, out: str, element: str, at: str) -> tuple[list[str], list[str]]:
    """What makes `out` of an item, and what stores it."""
    if lanes == 1:
        if out == "out":
            return [*body.inside], [f"y[{at}] = cnngen::from_float<{element}>({body.result});"]
        return [*body.inside, f"{out} = {body.result};"], [f"y[{at}] = cnngen::from_float<{element}>({out});"]
    compute = [
        "#pragma unroll",
        f"for (int lane = 0; lane < {lanes}; ++lane) {{",
        *body.inside,
        f"{out}[lane] = {body.result};",
        "}",
    ]
    return compute, [f"cnngen::store(y + {at}, cnngen::from_float<{element}>({out}));"]


def _lanes(node: Node, sources: Sequence[Source]) -> tuple[Expr, tuple[Load, ...], int]:
    """The expression, its loads of elements that lie where the result's do, and the neighbours that a thread takes."""
    value = node.value
    expr = without_unit_axes(node.epilogue, value)
    here = () if value.pixel else _loads_at_own_place(expr, value, sources)
    extent = value.shape[value.inner_axis] if value.inner_axis else 1
    if _reads_nothing_else(expr, here):  # then all axes are as one
        extent = value.elements // value.shape[0]
    return expr, here, tiles.vector_width(extent, ITEM_BYTES[value.dtype])


def _loads_at_own_place(expr: Expr, value: Value, sources: Sequence[Source]) -> tuple[Load, ...]:
    """The loads of elements that lie where the result's do: no coordinate is needed to find them."""
    index = ex.broadcast_load(0, value.shape, len(value.shape)).index
    return tuple(
        load for load in ex.loads(expr) if load.index == index and sources[load.source].value.lies_like(value)
    )


def _reads_nothing_else(expr: Expr, here: Container[Expr]) -> bool:
    """Whether an expression depends on what these loads give alone."""
    if expr in here:
        return True
    if isinstance(expr, Coord | Load):
        return False
    return all(_reads_nothing_else(child, here) for child in ex.children(expr))


def _in_pixels(i: str, threads: int, lanes: int, pixel: int) -> str:
    """Where thread i writes, of so many that share a pixel."""
    if threads == 1:
        return f"{i} * {pixel}"
    return f"{i} / {threads} * {pixel} + {i} % {threads}{f' * {lanes}' if lanes > 1 else ''}"


def _position_lines(
    value: Value, items: int, lanes: int, uses: frozenset[int], integer: str, several: int
) -> tuple[list[str], list[str]]:
    """From the thread's number to the coordinates that the body names: once a thread, and once an item of it.

    Of several items all are of one image.
    """
    names = coordinate_names(len(value.shape))
    name, block = ("i", POINTWISE_THREADS) if several == 1 else ("first", POINTWISE_THREADS * several)
    if integer == "int":
        once = [f"const int {name} = static_cast<int>(blockIdx.x * {block} + threadIdx.x);"]
    else:
        once = [f"const {integer} {name} = static_cast<{integer}>(blockIdx.x) * {block} + threadIdx.x;"]
    limit = (
        "batch" if items == 1 else f"batch * {items}" if integer == "int" else f"{integer}{{batch}} * {items}"
    )
    once.append(f"if ({name} >= {limit}) return;")
    each: list[str] = []
    stride = 1
    for axis in reversed(value.axes):
        extent = value.shape[axis] // (lanes if axis == value.inner_axis else 1)
        scale = f" * {lanes}" if axis == value.inner_axis and lanes > 1 else ""
        if axis in uses:
            is_same = not axis or (stride == 1 and POINTWISE_THREADS % extent == 0)
            from_ = name if is_same else "i"
            place = from_ if stride == 1 else f"{from_} / {stride}"
            line = f"const {integer} {names[axis]} = {place}{f' % {extent}' if axis else ''}{scale};"
            (once if is_same and several > 1 else each).append(line)
        stride *= extent if axis else 1
    return once, each
