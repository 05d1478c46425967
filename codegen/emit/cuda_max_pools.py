"""Max pools of stride 1 by `max_pools.cuh`: a chain and what it is of, or one of a large window."""

from __future__ import annotations

from cnngen.codegen.emit.cuda_text import ELEMENTS, cuda_parameters, kernel_call, pixel_epilogue
from cnngen.codegen.emit.kernels import Grid, Kernel, Launch, aggregate, sources_of
from cnngen.codegen.graph import ITEM_BYTES, Graph, Node
from cnngen.codegen.max_pools_tiles import MaxPoolsTile, Pools, max_pools_tiles
from cnngen.codegen.node_ops import MaxPools, Pool
from cnngen.codegen.tiles import SHARED_EVERYWHERE

SEPARABLE = 5  # the least window that takes more to read as a square than as rows and columns


def max_pools_tile_options(node: Node, graph: Graph, batch: int) -> list[MaxPoolsTile]:
    """First the one that runs without a lock; none where the node is no such pool."""
    chain = chain_of(node)
    return max_pools_tiles(_pools(chain, node, graph, batch)) if chain else []


def chain_of(node: Node) -> MaxPools | None:
    """The pools of a step; None where it is something else."""
    match node.op:
        case MaxPools() as op:
            return op
        case Pool("max", (size, _)) as op if size >= SEPARABLE and size % 2:
            same = Pool("max", (size, size), (1, 1), (size // 2,) * 4)
            return MaxPools(size, 1) if op == same else None
    return None


def _pools(chain: MaxPools, node: Node, graph: Graph, batch: int) -> Pools:
    x = graph.values[node.inputs[0]]
    _, c, h, w = x.shape
    return Pools(batch, c, (h, w), chain.kernel, chain.count, ITEM_BYTES[x.dtype])


def max_pools(node: Node, graph: Graph, tile: MaxPoolsTile) -> Launch:
    """The kernel of such a pool."""
    chain = chain_of(node)
    assert chain is not None  # noqa: S101 - it has tiles
    x, y, sources = graph.values[node.inputs[0]], node.value, sources_of(node, graph)
    n, c, h, w = x.shape
    shape: dict[str, object] = {"c": c, "h": h, "w": w, "kernel": chain.kernel}
    if isinstance(node.op, MaxPools):
        shape |= {"count": chain.count, "keeps_x": "true"}
    for name, value in (("x_pixel", x), ("y_pixel", y)):
        if value.extent(1) != value.shape[1]:
            shape[name] = value.extent(1)
    lines = [
        f"constexpr cnngen::MaxPoolsShape shape = {aggregate(shape)};",
        f"constexpr cnngen::MaxPoolsTile tile = {aggregate(vars(tile))};",
        *pixel_epilogue(node, sources, tile.v),
        kernel_call(
            f"max_pools<{ELEMENTS[x.dtype]}, tile, shape>",
            ["batch", sources[0].parameter, "y"],
            node.epilogue,
        ),
    ]
    shared = _pools(chain, node, graph, n).shared(tile)
    capability = 80 if shared > SHARED_EVERYWHERE else 0
    kernel = Kernel(
        cuda_parameters(sources, y), tuple(lines), ("max_pools.cuh",), tile.threads, capability=capability
    )
    return Launch(kernel, grid=Grid(tile.blocks(n, c, (h, w)), 1, shared))
