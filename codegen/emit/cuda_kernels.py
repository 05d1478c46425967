"""The CUDA kernels of a network: one view a kernel, its whole text computed here, for `kernels.cu` and its callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnngen.codegen import tiles
from cnngen.codegen.emit.cuda_elementwise import pointwise_kernel, pointwise_tile_options
from cnngen.codegen.emit.cuda_gemm import (
    gemm_kernel,
    gemm_tile_options,
    product_softmax_kernel,
    product_softmax_tile_options,
)
from cnngen.codegen.emit.cuda_max_pools import max_pools, max_pools_tile_options
from cnngen.codegen.emit.cuda_reductions import (
    arg_reduce_kernel,
    arg_reduce_tile_options,
    reduce_kernel,
    reduce_tile_options,
    softmax_kernel,
    softmax_tile_options,
)
from cnngen.codegen.emit.cuda_squeeze import squeeze_kernel, squeeze_tile_options
from cnngen.codegen.emit.cuda_text import (
    ELEMENTS,
    bias_and_rest,
    cuda_parameters,
    kernel_call,
    pixel_epilogue,
)
from cnngen.codegen.emit.kernels import Grid, Kernel, Launch, aggregate, sources_of, window_shape
from cnngen.codegen.engines import ON_TENSOR_CORES
from cnngen.codegen.graph import ITEM_BYTES, Graph, Node
from cnngen.codegen.max_pools_tiles import MaxPoolsTile
from cnngen.codegen.node_ops import (
    ArgReduce,
    Conv,
    MaxPools,
    Pointwise,
    Pool,
    ProductSoftmax,
    Reduce,
    Softmax,
    SqueezeExcite,
)
from cnngen.codegen.window_tiles import (
    Windows,
    diagonal_blocks,
    diagonal_shared,
    diagonal_tiles,
    grouped_conv_tiles,
    window_items,
    window_tiles,
)

DIAGONAL_VECTOR = 4  # channels that a lane of diagonal_depthwise.cuh finishes at a time
MOST_SEPARABLE = 8  # tiles of a pool that other kernels can do, too


def kernel_of(node: Node, graph: Graph, largest_batch: int, tile_batch: int) -> Launch | None:
    """The kernel that runs a node; None where a library does."""
    match node.op, node.form:
        case (Pointwise(), _):
            return pointwise_kernel(node, graph, largest_batch, tile_batch)
        case (_, form) if form in ON_TENSOR_CORES:
            return gemm_kernel(node, graph)
        case (Conv() as op, "depthwise"):
            return _depthwise(node, op, graph, tile_batch)
        case (Conv() as op, "grouped"):
            return _grouped(node, op, graph, tile_batch)
        case (Pool() | MaxPools(), _):
            return _pool(node, graph, tile_batch)
        case (Reduce() as op, _):
            return reduce_kernel(node, op, graph, largest_batch)
        case (ArgReduce() as op, _):
            return arg_reduce_kernel(node, op, graph, largest_batch)
        case (Softmax() as op, _):
            return softmax_kernel(node, op, graph)
        case (ProductSoftmax() as op, _):
            return product_softmax_kernel(node, op, graph)
        case (SqueezeExcite() as op, _):
            return squeeze_kernel(node, op, graph, largest_batch)
    return None


def tile_options(node: Node, graph: Graph, tile_batch: int) -> Sequence[object]:
    """The tiles that a node's kernel may have, first the one that it has where nothing else is said."""
    match node.op, node.form:
        case (Pointwise(), _):
            return pointwise_tile_options(node, graph, tile_batch)
        case (_, form) if form in ON_TENSOR_CORES:
            return gemm_tile_options(node, graph)
        case (Conv() as op, "depthwise"):
            return _depthwise_tile_options(node, op, graph, tile_batch)
        case (Pool() | MaxPools(), _):
            return _pool_tile_options(node, graph, tile_batch)
        case (Conv() as op, "grouped"):
            return _grouped_tile_options(node, op, graph, tile_batch)
        case (Reduce() as op, _):
            return reduce_tile_options(node, op, graph)
        case (ArgReduce() as op, _):
            return arg_reduce_tile_options(node, op, graph)
        case (Softmax() as op, _):
            return softmax_tile_options(node, op, graph)
        case (ProductSoftmax(), _):
            return product_softmax_tile_options(node, graph)
        case (SqueezeExcite() as op, _):
            return squeeze_tile_options(node, op, graph)
    return ()


def _windows(node: Node, op: Conv | Pool, graph: Graph) -> Windows:
    x = graph.values[node.inputs[0]]
    kernel = op.kernel if isinstance(op, Pool) else graph.values[node.inputs[1]].shape[2:]
    return Windows(
        channels=x.shape[1],
        out=(node.value.shape[2], node.value.shape[3]),
        kernel=(kernel[0], kernel[1]),
        stride=op.stride,
        dilation=op.dilation,
        item_bytes=ITEM_BYTES[x.dtype],
        filters=isinstance(op, Conv),
    )


def _depthwise_tile_options(
    node: Node, op: Conv, graph: Graph, batch: int
) -> list[tiles.Tile | tiles.DiagonalTile]:
    windows = _windows(node, op, graph)
    return [*window_tiles(batch, windows), *diagonal_tiles(batch, windows)]


def _grouped_tile_options(node: Node, op: Conv, graph: Graph, batch: int) -> list[tiles.Tile]:
    x, w = graph.values[node.inputs[0]], graph.values[node.inputs[1]]
    out = (node.value.shape[2], node.value.shape[3])
    return grouped_conv_tiles(batch, w.shape[0], op.groups, out, ITEM_BYTES[x.dtype])


def _tile_line(tile: tiles.Tile) -> str:
    fields = {"v": tile.v, "tw": tile.tw, "th": tile.th, "threads": tile.threads}
    return f"constexpr cnngen::Tile tile = {aggregate(fields)};"


def _diagonal_tile_line(tile: tiles.DiagonalTile) -> str:
    fields = {"th": tile.th, "wide": str(bool(tile.wide)).lower(), "steps": tile.steps}
    return f"constexpr cnngen::DiagonalTile tile = {aggregate(fields)};"


def _depthwise(node: Node, op: Conv, graph: Graph, batch: int) -> Launch:
    x, w, sources = graph.values[node.inputs[0]], graph.values[node.inputs[1]], sources_of(node, graph)
    tile = tiles.picked(node.engine, _depthwise_tile_options(node, op, graph, batch))
    if isinstance(tile, tiles.DiagonalTile):
        function, v, tile_line = "diagonal_depthwise", DIAGONAL_VECTOR, _diagonal_tile_line(tile)
    else:
        function, v, tile_line = "depthwise", tile.v, _tile_line(tile)
    bias, epilogue = bias_and_rest(node.epilogue)
    lines = [
        window_shape(x, node.value, (w.shape[2], w.shape[3]), op),
        tile_line,
        *pixel_epilogue(replace(node, epilogue=epilogue), sources, v),
        kernel_call(
            f"{function}<{ELEMENTS[x.dtype]}, tile, shape>",
            [
                "batch",
                sources[0].parameter,
                sources[1].parameter,
                "nullptr" if bias is None else sources[bias].parameter,
                "y",
            ],
            epilogue,
        ),
    ]
    kernel = Kernel(
        cuda_parameters(sources, node.value),
        tuple(lines),
        (f"{function}.cuh", "functions.cuh"),
        tile.threads,
        waits=False,
    )
    if isinstance(tile, tiles.DiagonalTile):
        windows = _windows(node, op, graph)
        grid = Grid(diagonal_blocks(tile, windows, node.value.shape[0]), 1, diagonal_shared(tile, windows))
        return Launch(replace(kernel, capability=80), grid=grid)
    out = (node.value.shape[2], node.value.shape[3])
    return Launch(replace(kernel, resident=tile.resident), window_items(tile, x.shape[1], out))


def _pool_tile_options(node: Node, graph: Graph, batch: int) -> list[MaxPoolsTile | tiles.Tile]:
    separable = max_pools_tile_options(node, graph, batch)
    if not isinstance(node.op, Pool):
        return [*separable]
    return [*separable[:MOST_SEPARABLE], *window_tiles(batch, _windows(node, node.op, graph))]


def _pool(node: Node, graph: Graph, batch: int) -> Launch:
    tile = tiles.picked(node.engine, _pool_tile_options(node, graph, batch))
    if isinstance(tile, MaxPoolsTile):
        return max_pools(node, graph, tile)
    op, x, sources = node.op, graph.values[node.inputs[0]], sources_of(node, graph)
    assert isinstance(op, Pool)  # noqa: S101 - by its tile
    out = (node.value.shape[2], node.value.shape[3])
    template = f"{ELEMENTS[x.dtype]}, tile, shape"
    functions = {"max": "max_pool", "sum": "sum_pool", "argmax": "arg_max_pool"}
    if op.kind != "avg":
        function = f"{functions[op.kind]}<{template}>"
    else:
        function = f"avg_pool<{template}, /*count_include_pad=*/{str(op.count_include_pad).lower()}>"
    lines = [
        window_shape(x, node.value, op.kernel, op),
        _tile_line(tile),
        *pixel_epilogue(node, sources, tile.v),
        kernel_call(function, ["batch", sources[0].parameter, "y"], node.epilogue),
    ]
    kernel = Kernel(
        cuda_parameters(sources, node.value),
        tuple(lines),
        ("pool.cuh",),
        tile.threads,
        resident=tile.resident,
    )
    return Launch(kernel, window_items(tile, x.shape[1], out))


def _grouped(node: Node, op: Conv, graph: Graph, batch: int) -> Launch:
    x, w, sources = graph.values[node.inputs[0]], graph.values[node.inputs[1]], sources_of(node, graph)
    out = (node.value.shape[2], node.value.shape[3])
    tile = tiles.picked(node.engine, _grouped_tile_options(node, op, graph, batch))
    fields = {
        "c": x.shape[1],
        "h": x.shape[2],
        "w": x.shape[3],
        "k": w.shape[0],
        "oh": out[0],
        "ow": out[1],
        "r": w.shape[2],
        "s": w.shape[3],
        "groups": op.groups,
        "stride_h": op.stride[0],
        "stride_w": op.stride[1],
        "dilation_h": op.dilation[0],
        "dilation_w": op.dilation[1],
        "pad_top": op.padding[0],
        "pad_left": op.padding[1],
    }
    lines = [
        f"constexpr cnngen::ConvShape shape = {aggregate(fields)};",
        _tile_line(tile),
        *pixel_epilogue(node, sources, tile.v),
        kernel_call(
            f"grouped_conv<{ELEMENTS[x.dtype]}, tile, shape>",
            ["batch", sources[0].parameter, sources[1].parameter, "y"],
            node.epilogue,
        ),
    ]
    kernel = Kernel(
        cuda_parameters(sources, node.value),
        tuple(lines),
        ("functions.cuh", "grouped_conv.cuh"),
        tile.threads,
        resident=tile.resident,
    )
    return Launch(kernel, window_items(tile, w.shape[0], out))
