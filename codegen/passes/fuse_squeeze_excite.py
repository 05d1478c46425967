"""Squeeze and excitation in one step: the mean of each channel, two small products of it, a gate for each channel.

As written these are a reduction and two convolutions of single pixels (or matrix products), each of which takes longer
to start than to run. The hidden units' bias and activation move into the step; what follows the second product is its
epilogue. A third form also multiplies the map by its gates, which saves a step and reads the map again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.expr import ACC, Acc, Call, Coord, Expr, Int, Load
from cnngen.codegen.graph import FLOATS, ITEM_BYTES, Graph, Node, Site, Value, with_sites
from cnngen.codegen.node_ops import Conv, MatMul, Pointwise, Reduce, Reshape, SqueezeExcite
from cnngen.codegen.targets import CUDA, Target
from cnngen.codegen.tiles import SHARED_EVERYWHERE, squeeze_excite_shared, squeeze_excite_tiles

AS_WRITTEN, FUSED, SCALED = "as_written", "fused", "fused_scaled"
LARGEST_INT = 2**31


def fuse_squeeze_excite(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each such block as it is cheapest: as written, its gates as one step, or all of it."""
    if target.name != "cuda":
        return graph
    nodes: list[Node] = []
    sites: list[Site] = []
    scaled: dict[str, Node] = {}  # by the name of the product that it replaces
    for node in graph.nodes:
        block = _block(node, graph)
        if block is not None:
            sites.append(choices.site("fuse_squeeze_excite", node, _prices(block, graph, choices)))
            if sites[-1].chosen == FUSED:
                node = block.fused
            elif sites[-1].chosen == SCALED and block.scaled is not None:
                scaled[block.scaled.name] = block.scaled
        nodes.append(scaled.get(node.name, node))
    return with_sites(graph.with_nodes(nodes), sites)


@dataclass(frozen=True)
class _Block:
    """The steps that may replace it; `scaled`: only where its gates serve to multiply the map."""

    fused: Node
    scaled: Node | None


def _prices(block: _Block, graph: Graph, choices: Choices) -> dict[str, float]:
    x, w1, w2 = (graph.values[name] for name in block.fused.inputs[:3])
    cost, hidden = choices.cost, w2.shape[1]
    multiply = 0.0 if block.scaled is None else cost.move(x.bytes + block.scaled.value.bytes)
    prices = {
        AS_WRITTEN: cost.move(x.bytes) + cost.move(w1.bytes) + cost.move(w2.bytes) + multiply,
        FUSED: cost.squeeze_excite(x, hidden, scales=False) + multiply,
    }
    if block.scaled is not None:
        prices[SCALED] = cost.squeeze_excite(x, hidden, scales=True)
    return prices


def _block(excite: Node, graph: Graph) -> _Block | None:
    """The block whose second product a step is; None where it is no such."""
    before = _before(excite, graph) if _is_product(excite, graph) else None
    if before is None:
        return None
    squeeze = next(node for node in before if _is_product(node, graph))
    hidden = _function(before[1:], graph)
    x, w1, w2 = (graph.values[name] for name in (before[0].inputs[0], squeeze.inputs[1], excite.inputs[1]))
    if hidden is None or not _fits(x, w1, w2):
        return None
    operands = (x.name, w1.name, w2.name, *hidden.constants)
    moved = {2 + i: len(operands) + i for i in range(len(excite.extras))}
    fused = replace(
        excite,
        op=SqueezeExcite(hidden.read_from(3)),
        inputs=(*operands, *excite.extras),
        layers=_layers([*before, excite]),
        epilogue=ex.renumber(excite.epilogue, moved),
    )
    behind = _behind(excite, x, graph)
    gate = _function(behind[:-1], graph) if behind else None
    if gate is None:
        return _Block(fused, None)
    op = SqueezeExcite(hidden.read_from(3), gate.read_from(len(operands)))
    inputs = (*operands, *gate.constants)
    return _Block(fused, Node(behind[-1].value, op, inputs, _layers([*before, *behind])))


def _before(excite: Node, graph: Graph) -> list[Node] | None:
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
        elif _is_view(node):
            name = node.inputs[0]
        elif not squeezed and isinstance(node.op, Pointwise) and len(_stored(node, graph)) == 1:
            (name,) = _stored(node, graph)
        else:
            mean = isinstance(node.op, Reduce) and node.op.kind == "mean" and node.epilogue == ACC
            return found if squeezed and mean else None


def _behind(excite: Node, x: Value, graph: Graph) -> list[Node]:
    """From the second product to the product of x and the gates: pointwise steps, views; else nothing."""
    found, rows = [excite], excite.value.shape[:2]
    while (reader := graph.sole_consumer(found[-1].name)) is not None:
        found.append(reader)
        row = _is_row(reader.value, *rows) and len(_stored(reader, graph)) == 1
        if not _is_view(reader) and not (row and isinstance(reader.op, Pointwise)):
            return found if _multiplies(reader, x, found[-2].value) else []
    return []


def _multiplies(node: Node, x: Value, gates: Value) -> bool:
    """Whether a step is x times the gates of its channels."""
    if not isinstance(node.op, Pointwise) or not node.value.lies_like(x) or node.value.dtype not in FLOATS:
        return False
    wanted = {
        x.name: ex.broadcast_load(0, x.shape, len(x.shape)).index,
        gates.name: (Coord(0), Coord(1), *[Int(0)] * (len(gates.shape) - 2)),
    }
    match node.epilogue:
        case Call("mul", (Load() as a, Load() as b)):
            found = {node.inputs[load.source]: load.index for load in (a, b)}
            return len(x.shape) == len(gates.shape) == 4 and found == wanted
    return False


def _is_product(node: Node, graph: Graph) -> bool:
    """Whether it is a matrix product of a row of numbers an image, in whatever form."""
    if not isinstance(node.op, Conv | MatMul) or node.inputs[1] not in graph.constants:
        return False
    weight = graph.values[node.inputs[1]]
    k, c = weight.shape[:2]
    if weight.elements != k * c or not _is_row(node.value, node.value.shape[0], k):
        return False
    if isinstance(node.op, MatMul):
        return len(node.value.shape) == 2
    return node.op.groups == 1 and node.op.padding == (0, 0, 0, 0)


def _is_view(node: Node) -> bool:
    return isinstance(node.op, Reshape) and node.epilogue == ACC


def _is_row(value: Value, rows: int, count: int) -> bool:
    return value.shape[:2] == (rows, count) and value.elements == rows * count and value.dtype in FLOATS


def _stored(node: Node, graph: Graph) -> list[str]:
    """What a step reads that is no constant."""
    return [name for name in node.inputs if name not in graph.constants]


@dataclass(frozen=True)
class _Function:
    """What is done to a sum; `Load(i)` reads constants[i]."""

    expr: Expr
    constants: Sequence[str]

    def read_from(self, first: int) -> Expr:
        """The expression with its constants at the operands from that one on."""
        return ex.renumber(self.expr, {i: first + i for i in range(len(self.constants))})


def _function(steps: Sequence[Node], graph: Graph) -> _Function | None:
    """A product's epilogue and the pointwise steps behind it as one; None where they are not of a channel alone."""
    expr: Expr = ACC
    constants: list[str] = []
    for node in steps:
        if _is_view(node):
            continue
        here = ex.broadcast_load(0, node.value.shape, len(node.value.shape)).index
        stored = [e for e in ex.loads(node.epilogue) if node.inputs[e.source] not in graph.constants]
        if any(load.index != here for load in stored) or (stored and not isinstance(node.op, Pointwise)):
            return None
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
            return Load(constants.index(name), e.index)

        expr = ex.rewrite(node.epilogue, composed)
    by_channel = all(e.axis == 1 for e in ex.walk(expr) if isinstance(e, Coord))
    if not by_channel or not any(isinstance(e, Acc) for e in ex.walk(expr)):
        return None
    used = list(dict.fromkeys(load.source for load in ex.loads(expr)))  # what was simplified away is not
    numbers = {source: i for i, source in enumerate(used)}
    return _Function(ex.renumber(expr, numbers), [constants[source] for source in used])


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
    shared = max(squeeze_excite_shared(tile, channels, hidden, pixels, item) for tile in options)
    return shared <= SHARED_EVERYWHERE and channels * max(pixels, hidden) < LARGEST_INT


def _layers(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The layers of several steps; last the one whose value the last step writes."""
    result = nodes[-1].layers[-1]
    others = dict.fromkeys(layer for node in nodes for layer in node.layers if layer != result)
    return (*others, result)
