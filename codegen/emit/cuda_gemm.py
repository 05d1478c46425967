"""The text of convolutions and products on tensor cores: a kernel of ours, tile and epilogue.

Shapes are arguments, so that layers of one tile and one epilogue share a kernel.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import replace

from cnngen.codegen import engines, gemm_tiles
from cnngen.codegen import expr as ex
from cnngen.codegen.emit.cpp import Source
from cnngen.codegen.emit.cuda_pointwise import pointwise_body
from cnngen.codegen.emit.cuda_text import ELEMENTS, cuda_parameters, epilogue_lambda, kernel_call
from cnngen.codegen.emit.kernels import Grid, Kernel, Launch, Parameter, aggregate, sources_of
from cnngen.codegen.expr import ACC, Coord, Load
from cnngen.codegen.graph import Graph, Node, Value
from cnngen.codegen.node_ops import Conv, MatMul, ProductSoftmax
from cnngen.codegen.tiles import picked

SHAPE = Parameter("cnngen::GemmShape", "shape")


def gemm_tile_options(node: Node, graph: Graph) -> Sequence[gemm_tiles.AnyGemmTile]:
    """The tiles that a convolution or product on tensor cores may have, by its form."""
    w = graph.values[node.inputs[1]]
    together = _together(node, w)
    match node.op, node.form:
        case Conv() as op, engines.WINDOW_GEMM:
            filters, channels, r, s = w.shape
            return gemm_tiles.window_gemm_tiles(filters, channels, (r, s), op.dilation, together)
        case Conv() as op, engines.TAP_GEMM:
            filters, _, r, s = w.shape
            return gemm_tiles.tap_gemm_tiles(filters, (r, s), op.dilation, together)
    pixels, depth = _pixels(node), math.prod(w.shape[1:])
    if node.form == engines.DIRECT_GEMM:
        return gemm_tiles.direct_gemm_tiles(pixels, w.shape[0], depth, together)
    return gemm_tiles.gemm_tiles(pixels, w.shape[0], depth, together)


def product_softmax_tile_options(node: Node, graph: Graph) -> Sequence[gemm_tiles.GemmTile]:
    """The tiles that a product with its softmax may have: whole rows of filters."""
    w = graph.values[node.inputs[1]]
    return gemm_tiles.row_gemm_tiles(_pixels(_product(node)), w.shape[0], math.prod(w.shape[1:]))


def product_softmax_kernel(node: Node, op: ProductSoftmax, graph: Graph) -> Launch:
    """The kernel of a product with its softmax."""
    tile = picked(node.engine, product_softmax_tile_options(node, graph))
    what = "log_softmax" if op.log else "softmax"
    comment = f"Products on tensor cores with the softmax of each pixel's filters, {tile.m} pixels a block."
    return _implicit_gemm(_product(node), graph, tile, f"{what}_gemm", comment, what)


def _product(node: Node) -> Node:
    """The product of one with its softmax, whose epilogue are the logits."""
    op = node.op
    assert isinstance(op, ProductSoftmax)  # noqa: S101 - by its callers
    return replace(node, op=op.product, form=engines.IMPLICIT_GEMM, epilogue=op.logits)


def gemm_kernel(node: Node, graph: Graph) -> Launch:
    """The kernel of a node whose form is one of engines.ON_TENSOR_CORES."""
    filters, *window = graph.values[node.inputs[1]].shape
    tile = picked(node.engine, gemm_tile_options(node, graph))
    match tile:
        case gemm_tiles.GemmTile():
            comment = (
                f"Convolutions and products on tensor cores, {tile.m} pixels x {tile.n} filters a block."
            )
            return _implicit_gemm(node, graph, tile, "gemm", comment)
        case gemm_tiles.DirectGemmTile():
            return _launch(
                node,
                graph,
                tile,
                grid=Grid(tile.blocks(_pixels(node), filters), 1, 0),
                capability=80,
                name=f"direct_gemm_{tile.m}x{tile.n}",
                comment=f"Shallow convolutions and products, {tile.m} pixels x {tile.n} filters a warp.",
            )
        case gemm_tiles.WindowGemmTile():
            shared = tile.shared((window[1], window[2]), _dilation(node))
            return _launch(
                node,
                graph,
                tile,
                grid=Grid(tile.blocks(node.value.shape[0], _places(node), filters), 1, shared),
                resident=gemm_tiles.resident_blocks(tile.threads, shared, tile.h * tile.w * tile.n),
                capability=80,
                name=f"window_gemm_{tile.h}x{tile.w}x{tile.n}",
                comment=f"Convolutions of few filters on tensor cores, {tile.h} x {tile.w} pixels a block.",
            )
        case gemm_tiles.TapGemmTile():
            shared = tile.shared(filters, (window[1], window[2]), _dilation(node))
            return _launch(
                node,
                graph,
                tile,
                grid=Grid(tile.blocks(node.value.shape[0], _places(node)), 1, shared),
                capability=80,
                name=f"tap_gemm_{tile.h}x{tile.w}x{tile.n}",
                comment=f"Convolutions of very few filters on tensor cores, {tile.h} x {tile.w} pixels a block.",
            )


def _implicit_gemm(
    node: Node, graph: Graph, tile: gemm_tiles.GemmTile, name: str, comment: str, filters_are: str = ""
) -> Launch:
    filters = graph.values[node.inputs[1]].shape[0]
    return _launch(
        node,
        graph,
        tile,
        grid=Grid(tile.blocks(_pixels(node), filters), tile.split, tile.shared),
        resident=gemm_tiles.resident_blocks(tile.threads, tile.shared, tile.m * tile.n),
        capability=90 if tile.split > 1 else 80,
        name=f"{name}_{tile.m}x{tile.n}" + (f"_split{tile.split}" if tile.split > 1 else ""),
        comment=comment,
        filters_are=filters_are,
    )


def _launch(
    node: Node,
    graph: Graph,
    tile: gemm_tiles.AnyGemmTile,
    *,
    grid: Grid,
    capability: int,
    name: str,
    comment: str,
    resident: int = 0,
    filters_are: str = "",
) -> Launch:
    x, w = (graph.values[name] for name in node.inputs[:2])
    sources = sources_of(node, graph)
    defaults = {field.name: field.default for field in dataclasses.fields(tile)}
    fields = {field: value for field, value in vars(tile).items() if value != defaults[field]}
    if _phases(node) != (1, 1):
        fields["interleaves"] = "true"
    lines = [
        f"constexpr cnngen::{type(tile).__name__} tile = {aggregate(fields)};",
        *_epilogue_lines(node, sources, tile.v),
        kernel_call(
            f"{node.form}<{ELEMENTS[x.dtype]}, tile{f', cnngen::Filters::{filters_are}' if filters_are else ''}>",
            ["batch", SHAPE.name, sources[0].parameter, sources[1].parameter, "y"],
            node.epilogue,
        ),
    ]
    batch, *pointers = cuda_parameters(sources, node.value)
    kernel = Kernel(
        (batch, SHAPE, *pointers),
        tuple(lines),
        ("functions.cuh", f"{node.form}.cuh"),
        tile.threads,
        resident=resident,
        declares=("gemm_shape.hpp",),
        capability=capability,
        waits=False,
    )
    return Launch(kernel, grid=grid, arguments=(_shape_text(node, x, w),), name=name, comment=comment)


def _together(node: Node, w: Value) -> int:
    """How many filters lie together in y: of phases those of one."""
    rows, columns = _phases(node)
    return w.shape[0] // (rows * columns)


def _pixels(node: Node) -> int:
    """The places at which filters are applied."""
    if not isinstance(node.op, Conv):
        return node.value.elements // node.value.shape[-1]
    return node.value.shape[0] * math.prod(_places(node))


def _places(node: Node) -> tuple[int, int]:
    (rows, columns), (_, _, h, w) = _phases(node), node.value.shape
    return -(-h // rows), -(-w // columns)


def _dilation(node: Node) -> tuple[int, int]:
    return node.op.dilation if isinstance(node.op, Conv) else (1, 1)


def _phases(node: Node) -> tuple[int, int]:
    return node.op.phases if isinstance(node.op, Conv) else (1, 1)


def _shape_text(node: Node, x: Value, w: Value) -> str:
    """The geometry as an argument; a product's rows are images of one pixel."""
    if isinstance(node.op, MatMul):
        fields = {"c": w.shape[1], "h": 1, "w": 1, "k": w.shape[0], "oh": 1, "ow": 1}
        return f"cnngen::GemmShape{aggregate(fields)}"
    op = node.op
    assert isinstance(op, Conv)  # noqa: S101 - by runs_as_gemm
    fields = {"c": x.shape[1], "h": x.shape[2], "w": x.shape[3], "k": w.shape[0]}
    y, (oh, ow) = node.value, _places(node)
    fields |= {"oh": oh, "ow": ow}
    optional = {
        "r": (w.shape[2], 1),
        "s": (w.shape[3], 1),
        "stride_h": (op.stride[0], 1),
        "stride_w": (op.stride[1], 1),
        "dilation_h": (op.dilation[0], 1),
        "dilation_w": (op.dilation[1], 1),
        "pad_top": (op.padding[0], 0),
        "pad_left": (op.padding[1], 0),
        "phases_h": (op.phases[0], 1),
        "phases_w": (op.phases[1], 1),
        "y_h": (y.shape[2], oh),
        "y_w": (y.shape[3], ow),
        "x_pixel": (x.extent(1), x.shape[1]),
        "y_pixel": (y.extent(1), y.shape[1]),
    }
    fields |= {name: number for name, (number, default) in optional.items() if number != default}
    return f"cnngen::GemmShape{aggregate(fields)}"


def _epilogue_lines(node: Node, sources: list[Source], lanes: int) -> list[str]:
    """The epilogue by the place in y and the channel, where that says all; else by the coordinates of this layer."""
    if node.epilogue == ACC:
        return []
    channel = 1 if isinstance(node.op, Conv) else len(node.value.shape) - 1
    loads = {load: _place(load, node, sources[load.source], channel) for load in ex.loads(node.epilogue)}
    plain = all(loads.values()) and not any(isinstance(e, Coord) for e in _outside_loads(node))
    # An output that is declared NCHW lies like one of NHWC here (it is one pixel, or one channel).
    value = replace(node.value, layout="NHWC") if len(node.value.shape) == 4 else node.value
    if plain:
        places = {load: text for load, text in loads.items() if text is not None}
        body = pointwise_body(node.epilogue, value, sources, lanes, acc="acc", places=places)
        named = {"at": "std::int64_t at", "c": "int c"}
        used = [text if name in places.values() else text.split()[0] for name, text in named.items()]
        return epilogue_lambda([f"float (&acc)[{lanes}]", *used], body, lanes)
    body = pointwise_body(node.epilogue, value, sources, lanes, acc="acc")
    names = ("n", "c", "h", "w") if isinstance(node.op, Conv) else ("n", "i1")
    arguments = [f"int {name}" if axis in body.uses else "int" for axis, name in enumerate(names)]
    if isinstance(node.op, MatMul):
        arguments += ["int", "int"]
    return epilogue_lambda([f"float (&acc)[{lanes}]", *arguments], body, lanes)


def _outside_loads(node: Node) -> list[ex.Expr]:
    """What the epilogue is made of, without the indices of its loads."""
    found: list[ex.Expr] = []
    stack = [node.epilogue]
    while stack:
        expr = stack.pop()
        found.append(expr)
        if not isinstance(expr, Load):
            stack.extend(ex.children(expr))
    return found


def _place(load: Load, node: Node, source: Source, channel: int) -> str | None:
    """`at` for a load of the element's own place in a tensor that lies like y, `c` for one of its channel's number."""
    value = node.value
    if load.index == (Coord(channel),) and source.value.shape == (value.shape[channel],):
        return "c"
    rank = len(value.shape)
    same = source.value.lies_like(value) and value.axes[-1] == channel and not value.pixel
    here = load.index == ex.broadcast_load(0, value.shape, rank).index
    return "at" if same and here else None
