"""Squeeze and excitation in one step: the mean of each channel, two small products of it, a gate for each channel.

As written these are a reduction and two convolutions of single pixels (or matrix products), each of which takes longer
to start than to run. The hidden units' bias and activation move into the step; what follows the second product is its
epilogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.expr import ACC, Acc, Coord, Expr, Load
from cnngen.codegen.graph import (
    FLOATS,
    ITEM_BYTES,
    Conv,
    Graph,
    MatMul,
    Node,
    Pointwise,
    Reduce,
    Site,
    SqueezeExcite,
    Value,
    with_sites,
)
from cnngen.codegen.passes.assign_buffers import is_view
from cnngen.codegen.targets import CUDA, Target
from cnngen.codegen.tiles import SHARED_EVERYWHERE, squeeze_excite_shared, squeeze_excite_tiles

AS_WRITTEN, FUSED = "as_written", "fused"
LARGEST_INT = 2**31


def fuse_squeeze_excite(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each second product of such a block as it is cheaper: as written, or as the step that replaces the block."""
    if target.name != "cuda":
        return graph
    nodes: list[Node] = []
    sites: list[Site] = []
    for node in graph.nodes:
        fused = _fused(node, graph)
        if fused is not None:
            x, w1, w2 = (graph.values[name] for name in fused.inputs[:3])
            cost = choices.cost
            prices = {
                AS_WRITTEN: cost.move(x.bytes) + cost.move(w1.bytes) + cost.move(w2.bytes),
                FUSED: cost.squeeze_excite(x, w2.shape[1]),
            }
            sites.append(choices.site("fuse_squeeze_excite", node, prices))
            node = fused if sites[-1].chosen == FUSED else node
        nodes.append(node)
    return with_sites(graph.with_nodes(nodes), sites)


def _fused(excite: Node, graph: Graph) -> Node | None:
    """The step that computes a product's value from the map whose means it is made of; None where it is no gate."""
    if not _is_product(excite, graph):
        return None
    between = _between(excite, graph)
    if between is None:
        return None
    mean = between[0]
    squeeze = next(node for node in between if _is_product(node, graph))
    hidden = _hidden(between, graph)
    x, w1, w2 = (graph.values[name] for name in (mean.inputs[0], squeeze.inputs[1], excite.inputs[1]))
    if hidden is None or not _fits(x, w1, w2):
        return None
    operands = (x.name, w1.name, w2.name, *hidden.constants)
    moved = {2 + i: len(operands) + i for i in range(len(excite.extras))}
    return replace(
        excite,
        op=SqueezeExcite(hidden.expr),
        inputs=(*operands, *excite.extras),
        layers=_layers([*between, excite]),
        epilogue=ex.renumber(excite.epilogue, moved),
    )


def _between(excite: Node, graph: Graph) -> list[Node] | None:
    """From the mean to what a product reads: a product, pointwise steps, views; None where it is anything else.

    Nobody but the next one reads any of them.
    """
    rows, (name, weight) = excite.value.shape[0], excite.inputs[:2]
    units, squeezed = graph.values[weight].shape[1], False
    found: list[Node] = []
    while True:
        node = graph.producers.get(name)
        if node is None or graph.sole_consumer(name) is None or not _is_row(node.value, rows, units):
            return None
        found.insert(0, node)
        if not squeezed and _is_product(node, graph):
            squeezed, units = True, graph.values[node.inputs[1]].shape[1]
            name = node.inputs[0]
        elif is_view(node):
            name = node.inputs[0]
        elif not squeezed and isinstance(node.op, Pointwise):
            stored = [other for other in node.inputs if other not in graph.constants]
            if len(stored) != 1:
                return None
            (name,) = stored
        else:
            mean = isinstance(node.op, Reduce) and node.op.kind == "mean" and node.epilogue == ACC
            return found if squeezed and mean else None


def _is_product(node: Node, graph: Graph) -> bool:
    """Whether it is a matrix product of a row of numbers an image, in whatever form."""
    if not isinstance(node.op, Conv | MatMul) or node.inputs[1] not in graph.constants:
        return False
    weight = graph.values[node.inputs[1]]
    row = weight.elements == weight.shape[0] * weight.shape[1] and _is_row(
        node.value, node.value.shape[0], weight.shape[0]
    )
    if isinstance(node.op, MatMul):
        return row and len(node.value.shape) == 2
    return row and node.op.groups == 1 and node.op.padding == (0, 0, 0, 0)


def _is_row(value: Value, rows: int, count: int) -> bool:
    return value.shape[:2] == (rows, count) and value.elements == rows * count and value.dtype in FLOATS


@dataclass(frozen=True)
class _Hidden:
    """What is done to a hidden unit's sum; `Load(3 + i)` reads constants[i]."""

    expr: Expr
    constants: Sequence[str]


def _hidden(between: Sequence[Node], graph: Graph) -> _Hidden | None:
    """The epilogue of the first product and the pointwise steps behind it as one; None where it is of more."""
    expr: Expr = ACC
    constants: list[str] = []
    for node in between:
        if isinstance(node.op, Reduce) or is_view(node):
            continue
        here = ex.broadcast_load(0, node.value.shape, len(node.value.shape)).index
        before = expr

        def composed(e: Expr, node: Node = node, before: Expr = before) -> Expr | None:
            if isinstance(e, Acc):
                return before
            if not isinstance(e, Load):
                return None
            name = node.inputs[e.source]
            if name not in graph.constants:
                return before
            if name not in constants:
                constants.append(name)
            return Load(3 + constants.index(name), e.index)

        stored = [e for e in ex.loads(node.epilogue) if node.inputs[e.source] not in graph.constants]
        if any(load.index != here for load in stored) or (stored and not isinstance(node.op, Pointwise)):
            return None
        expr = ex.rewrite(node.epilogue, composed)
    by_unit = all(e.axis == 1 for e in ex.walk(expr) if isinstance(e, Coord))
    if not by_unit or not any(isinstance(e, Acc) for e in ex.walk(expr)):
        return None
    used = list(dict.fromkeys(load.source for load in ex.loads(expr)))  # what was simplified away is not
    numbers = {source: 3 + i for i, source in enumerate(used)}
    return _Hidden(ex.renumber(expr, numbers), [constants[source - 3] for source in used])


def _fits(x: Value, w1: Value, w2: Value) -> bool:
    """Whether `squeeze_excite.cuh` can do it."""
    channels, hidden = x.shape[1], w2.shape[1]
    item = ITEM_BYTES[x.dtype]
    if x.axes[0] != 0 or x.axes[-1] != 1 or w2.shape[0] != channels:
        return False
    if x.dtype not in FLOATS or not w1.dtype == w2.dtype == x.dtype:
        return False
    pixels = x.elements // x.shape[0] // channels
    options = squeeze_excite_tiles(channels, hidden, pixels, item)
    shared = max(squeeze_excite_shared(tile, channels, hidden, item) for tile in options)
    return shared <= SHARED_EVERYWHERE and channels * max(pixels, hidden) < LARGEST_INT


def _layers(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The layers of several steps; last the one whose value the last step writes."""
    result = nodes[-1].layers[-1]
    others = dict.fromkeys(layer for node in nodes for layer in node.layers if layer != result)
    return (*others, result)
