"""The text of squeeze and excitation: `squeeze_excite.cuh` with a tile, and what is done to both products' sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnngen.codegen import tiles
from cnngen.codegen.emit.cpp import Source
from cnngen.codegen.emit.cuda_pointwise import pointwise_body
from cnngen.codegen.emit.cuda_text import ELEMENTS, cuda_parameters, integer_type, pixel_epilogue
from cnngen.codegen.emit.kernels import Grid, Kernel, Launch, aggregate, sources_of
from cnngen.codegen.expr import ACC, Expr
from cnngen.codegen.graph import ITEM_BYTES, Graph, Node, Value
from cnngen.codegen.node_ops import SqueezeExcite


def squeeze_tile_options(node: Node, op: SqueezeExcite, graph: Graph) -> list[tiles.SqueezeExciteTile]:
    """The tiles that the gates' kernel may have."""
    c, hidden, pixels = _sizes(node, graph)
    item = ITEM_BYTES[graph.values[node.inputs[0]].dtype]
    return tiles.squeeze_excite_tiles(c, hidden, pixels, item, scales=op.gate is not None)


def squeeze_kernel(node: Node, op: SqueezeExcite, graph: Graph, largest_batch: int) -> Launch:
    """A cluster of blocks an image; without a lock one block, which every GPU can run."""
    c, hidden, pixels = _sizes(node, graph)
    x, sources = graph.values[node.inputs[0]], sources_of(node, graph)
    tile = tiles.picked(node.engine, squeeze_tile_options(node, op, graph))
    scales = op.gate is not None
    shape = {"c": c, "hidden": hidden, "pixels": pixels} | ({"width": x.shape[3]} if scales else {})
    lines = [
        f"constexpr cnngen::SqueezeExciteShape shape = {aggregate(shape)};",
        f"constexpr cnngen::SqueezeExciteTile tile = {aggregate(_fields(tile))};",
    ]
    arguments = ["batch", *(source.parameter for source in sources[:3]), "y"]
    integer = integer_type(node.value, sources, graph, largest_batch)
    finish = ("gate", op.gate) if op.gate is not None else ("epilogue", node.epilogue)
    for (name, expr), count in ((("hidden", op.hidden), hidden), (finish, c)):
        row = replace(node.value, shape=(node.value.shape[0], count, 1, 1), layout="NHWC")
        lines += _finish_lines(name, expr, row, sources, integer)
        arguments.append(name if expr != ACC else "cnngen::SumAsItIs()")
    if scales and node.epilogue != ACC:
        lines += pixel_epilogue(node, sources, tile.v)
        arguments.append("epilogue")
    function = "squeeze_excite_scale" if scales else "squeeze_excite"
    lines.append(f"cnngen::{function}<{ELEMENTS[x.dtype]}, tile, shape>({', '.join(arguments)});")
    kernel = Kernel(
        cuda_parameters(sources, node.value),
        tuple(lines),
        ("functions.cuh", "squeeze_excite.cuh"),
        tile.threads,
        capability=90 if tile.cluster > 1 else 0,
        waits=False,
    )
    shared = tiles.squeeze_excite_shared(tile, c, hidden, pixels, ITEM_BYTES[x.dtype], scales=scales)
    return Launch(kernel, grid=Grid(node.value.shape[0] * tile.cluster, tile.cluster, shared))


def _sizes(node: Node, graph: Graph) -> tuple[int, int, int]:
    """Channels, hidden units, pixels of an image."""
    x, w1 = (graph.values[name] for name in node.inputs[:2])
    n, c = x.shape[:2]
    return c, w1.shape[0], x.elements // n // c


def _fields(tile: tiles.SqueezeExciteTile) -> dict[str, int]:
    return {
        name: value
        for name, value in vars(tile).items()
        if (name, value) not in (("cluster", 1), ("slices", 1), ("keeps", 0))
    }


def _finish_lines(name: str, expr: Expr, row: Value, sources: Sequence[Source], integer: str) -> list[str]:
    """A lambda that loads what a channel's function needs, and returns the function; none for that of nothing."""
    if expr == ACC:
        return []
    body = pointwise_body(expr, row, sources, 1, acc="acc")
    types = (f"{integer} n" if 0 in body.uses else integer, "int c" if 1 in body.uses else "int")
    return [
        f"const auto {name} = [&]({', '.join(types)}) {{",
        *body.before,
        "return [=](float (&acc)[1]) {",
        *body.inside,
        f"acc[0] = {body.result};",
        "};",
        "};",
    ]
