"""A chain of max pools and its concatenation in one step, as pyramids of pools (SPPF) have them.

A pool of a pool is a pool of a larger window, so pools of x by windows of 5, 9 and 13 are such a chain, too. Each step
of them reads what the one before wrote, and takes longer to start than to run.
"""

from __future__ import annotations

from cnngen.codegen.choices import Choices
from cnngen.codegen.expr import ACC
from cnngen.codegen.graph import ITEM_BYTES, Graph, Node
from cnngen.codegen.max_pools_tiles import Pools, max_pools_tiles
from cnngen.codegen.node_ops import MaxPools, Pool
from cnngen.codegen.rewriting import Draft, all_layers, concat_parts
from cnngen.codegen.targets import CUDA, Target

AS_WRITTEN, FUSED = "as_written", "fused"
ACCESSES = 5  # of memory on the multiprocessor a pixel and pool; about double that with those around a block's pixels
LEAST_PARTS = 3  # x and two pools: one pool is no chain


def fuse_max_pools(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each concatenation of x and its max pools, one by one or at once."""
    if target.name != "cuda":
        return graph
    draft = Draft(graph, choices)
    for node in graph.nodes:
        fused = _fused(node, graph)
        if fused is not None and draft.choose("fuse_max_pools", node, _prices(fused, draft)) == FUSED:
            node = fused
        draft.add(node)
    return draft.result()


def _fused(node: Node, graph: Graph) -> Node | None:
    """The step that takes the place of such a concatenation; None where a step is none."""
    loads = [part.load for part in concat_parts(node)]
    names = [node.inputs[load.source] for load in loads if load is not None]
    if None in loads or len(names) < LEAST_PARTS or len(set(names)) < len(names):
        return None
    x, *maxima = names
    found = [_reach(name, x, graph) for name in maxima]
    first = found[0]
    if first is None or found != [level * first for level in range(1, len(found) + 1)]:
        return None
    if any(graph.values[name].dtype != node.value.dtype for name in names):
        return None
    pools = [graph.producers[name] for name in maxima]
    inside = {node.name, *maxima}
    if any(reader.name not in inside for name in maxima for reader in graph.consumers[name]):
        return None
    if not inside.isdisjoint(graph.outputs):
        return None
    op = MaxPools(2 * first + 1, len(maxima))
    batch, channels, height, width = graph.values[x].shape
    item = ITEM_BYTES[node.value.dtype]
    if not max_pools_tiles(Pools(batch, channels, (height, width), op.kernel, op.count, item)):
        return None  # its pixels do not fit a block's memory
    return Node(node.value, op, (x,), all_layers([*pools, node]))


def _reach(name: str, x: str, graph: Graph) -> int | None:
    """How far from a pixel the farthest one is of which `name` has the maximum of x; None where it is no such."""
    reach = 0
    while name != x:
        node = graph.producers.get(name)
        if node is None or not isinstance(node.op, Pool) or node.epilogue != ACC:
            return None
        radius = node.op.kernel[0] // 2
        centred = node.op == Pool("max", (2 * radius + 1,) * 2, (1, 1), (radius,) * 4)
        if not centred or node.value.shape != graph.values[node.inputs[0]].shape:
            return None
        reach, name = reach + radius, node.inputs[0]
    return reach or None


def _prices(fused: Node, draft: Draft) -> dict[str, float]:
    op, cost = fused.op, draft.choices.cost
    assert isinstance(op, MaxPools)  # noqa: S101 - by _fused
    x = draft.graph.values[fused.inputs[0]]
    pools = op.count * (cost.move(2 * x.bytes) + cost.cached(ACCESSES * x.bytes))
    return {
        AS_WRITTEN: pools + cost.move(2 * fused.value.bytes),
        FUSED: cost.move(x.bytes + fused.value.bytes) + cost.cached(2 * op.count * ACCESSES * x.bytes),
    }
