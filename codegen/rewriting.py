"""What rewrites share: a graph in the making, and the questions that several of them ask of a step."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.cost import ConvProblem
from cnngen.codegen.expr import ACC, Call, Coord, Expr, Int, Load
from cnngen.codegen.graph import (
    Array,
    Constant,
    Graph,
    Node,
    Shape,
    Site,
    Value,
    add_inputs,
    tidy,
    unused,
    with_sites,
)
from cnngen.codegen.node_ops import Conv, MatMul, Pointwise, Pool

SLIDING = ("cudnn", "depthwise")  # the forms of convolutions that know of pixels that lie apart
PART_ALIGNMENT = 16  # bytes, of parts of wider pixels: of vector accesses, and of what a library takes


class Draft:
    """The steps, constants and choices of a graph that is being made from another one."""

    def __init__(self, graph: Graph, choices: Choices) -> None:
        self.graph, self.choices = graph, choices
        self.constants = dict(graph.constants)
        self.nodes: list[Node] = []
        self.producers: dict[str, Node] = {}
        self.values = {
            name: graph.values[name] for name in (*(v.name for v in graph.inputs), *graph.constants)
        }
        self._sites: list[Site] = []
        self._taken = set(graph.values)

    def result(self) -> Graph:
        """The new graph."""
        return with_sites(self.graph.with_nodes(self.nodes, self.constants), self._sites)

    def add(self, *nodes: Node) -> None:
        """Appends steps."""
        for node in nodes:
            self.nodes.append(node)
            self.producers[node.name] = node
            self.values[node.name] = node.value

    def choose(self, rewrite: str, node: Node, prices: Mapping[str, float]) -> str:
        """The option for a node, kept as a site."""
        self._sites.append(self.choices.site(rewrite, node, prices))
        return self._sites[-1].chosen

    def fresh(self, name: str) -> str:
        """A name that no value has, like the given one."""
        fresh = unused(name, self._taken)
        self._taken.add(fresh)
        return fresh

    def constant(
        self,
        name: str,
        shape: Shape,
        make: Callable[..., Array],
        sources: Sequence[Constant],
        parameters: tuple[Hashable, ...] = (),
    ) -> str:
        """Adds a constant of a shape that is derived from others and lies as the first does; returns its name."""
        value = replace(sources[0].value, name=self.fresh(name), shape=shape)
        self.constants[value.name] = Constant.derived(value, make, sources, parameters)
        self.values[value.name] = value
        return value.name


def is_by_channel(node: Node, constants: Mapping[str, Constant]) -> bool:
    """Whether an epilogue depends on nothing but `ACC`, the channel, and constants of one number a channel."""
    loads = ex.loads(node.epilogue)
    known = all(load.index == (Coord(1),) and node.inputs[load.source] in constants for load in loads)
    places = [e for e in ex.walk(node.epilogue) if isinstance(e, Coord) and e.axis != 1]
    return known and not places


def repeats(values: Mapping[str, Value], writer: Node) -> tuple[int, int] | None:
    """How often a step repeats each row and column of another value, whole; None where it does not, or does more."""
    if not isinstance(writer.op, Pointwise) or not isinstance(writer.epilogue, Load):
        return None
    index, value = writer.epilogue.index, writer.value
    source = values[writer.inputs[0]]
    if source.layout != "NHWC" or value.layout != "NHWC" or source.dtype != value.dtype:
        return None
    if index[:2] != (Coord(0), Coord(1)) or source.shape[:2] != value.shape[:2]:
        return None
    rows, columns = (divisor(index[axis], axis) for axis in (2, 3))
    if rows is None or columns is None or rows * columns == 1:
        return None
    whole = value.shape[2:] == (source.shape[2] * rows, source.shape[3] * columns)
    return (rows, columns) if whole else None


def divisor(index: Expr, axis: int) -> int | None:
    """N where the index is `coordinate / n`."""
    match index:
        case Coord(a) if a == axis:
            return 1
        case ex.Call("idiv", (Coord(a), Int(n))) if a == axis:
            return n
    return None


def phase_index(phases: tuple[int, int], filters: int) -> tuple[Expr, ...]:
    """Where a pixel's channel is in the result of a convolution whose filters are [phase, filter]."""
    row, column = (ex.call("imod", Coord(axis + 2), Int(phases[axis])) for axis in (0, 1))
    phase = ex.call("iadd", ex.call("imul", row, Int(phases[1])), column)
    channel = ex.call("iadd", ex.call("imul", phase, Int(filters)), Coord(1))
    places = (ex.call("idiv", Coord(axis + 2), Int(phases[axis])) for axis in (0, 1))
    return (Coord(0), channel, *places)


def problem_of(x: Value, y: Value, weight: Constant, op: Conv) -> ConvProblem:
    """What a convolution costs is asked by."""
    return ConvProblem(x.shape, y.shape, (weight.value.shape[2], weight.value.shape[3]), op, x.dtype)


def all_layers(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The layers of several steps, each once."""
    return tuple(dict.fromkeys(layer for node in nodes for layer in node.layers))


def reads_apart(reader: Node, name: str) -> bool:
    """Whether a step reads a value as well where its pixels lie apart."""
    if isinstance(reader.op, Pointwise):
        return True
    slides = isinstance(reader.op, Pool) or (isinstance(reader.op, Conv) and reader.form in SLIDING)
    return slides and name not in reader.inputs[1:]


def adds_apart(reader: Node, name: str) -> bool:
    """Whether a library reads a value along with a convolution, which may be slower where pixels lie apart."""
    return isinstance(reader.op, Conv) and reader.form == "cudnn" and name in reader.extras


def at_its_place(inner: Expr, load: Load) -> Expr:
    """A writer's expression at the place that a load of its value reads."""
    return ex.at(inner, load.index)


def unmoved(inner: Expr, _load: Load) -> Expr:
    """A writer's expression as it is: where the load is of the very place that is written."""
    return inner


def inlined(
    host: Node, writer: Node, reader: Node, substitute: Callable[[Expr, Load], Expr] = at_its_place
) -> Node:
    """`host`, which has the writer's or the reader's op and operands, with the reader's epilogue.

    substitute: what stands in place of a load of the writer's value, of the writer's expression and that load
    """
    others = [*(name for name in reader.inputs if name != writer.name), *writer.extras]
    fused, places = add_inputs(host, others)
    numbers = {load.source: places[writer.inputs[load.source]] for load in ex.loads(writer.epilogue)}
    inner = ex.renumber(writer.epilogue, numbers)

    def moved(expr: Expr) -> Expr | None:
        if not isinstance(expr, Load):
            return None
        name = reader.inputs[expr.source]
        return substitute(inner, expr) if name == writer.name else Load(places[name], expr.index)

    return tidy(replace(fused, epilogue=ex.rewrite(reader.epilogue, moved)))


@dataclass(frozen=True)
class Part:
    """Channels [first, last) of a concatenation."""

    first: int
    last: int
    value: Expr  # at the concatenation's coordinates
    load: Load | None  # where it is another value, whole


def concat_parts(node: Node) -> list[Part]:
    """The parts of a step that is a concatenation of channels; else none."""
    if not isinstance(node.op, Pointwise) or len(node.value.shape) != 4 or node.value.layout != "NHWC":
        return []
    if node.value.host or node.value.padding:
        return []
    found, first, rest = [], 0, node.epilogue
    while True:
        match rest:
            case Call("select", (Call("lt", (Coord(1), Int(last))), part, otherwise)) if first < last:
                found.append(_part(first, last, part))
                first, rest = last, otherwise
            case _:
                break
    return [*found, _part(first, node.value.shape[1], rest)] if found else []


def _part(first: int, last: int, value: Expr) -> Part:
    index = (Coord(0), ex.call("iadd", Coord(1), Int(-first)), Coord(2), Coord(3))
    whole = isinstance(value, Load) and value.index == index
    return Part(first, last, value, value if whole and isinstance(value, Load) else None)


def known_weights(node: Node, constants: Mapping[str, Constant]) -> tuple[Array, Array] | None:
    """The node's filters and bias, where both are known and nothing else is in its epilogue."""
    if not isinstance(node.op, Conv | MatMul) or node.inputs[1] not in constants:
        return None
    w = constants[node.inputs[1]].array
    if node.epilogue == ACC:
        return w, np.zeros(w.shape[0])
    match node.epilogue:
        case Call("add", (ex.Acc(), Load(source, (Coord(_),)))) if node.inputs[source] in constants:
            return w, np.asarray(constants[node.inputs[source]].array, np.float64)
    return None


def with_weights(node: Node, w: Array, b: Array, constants: dict[str, Constant], graph: Graph) -> Node:
    """The node (its epilogue `ACC`) with new filters and bias, under names that no other node reads."""

    def own(role: str, *names: str) -> str:
        alone = [name for name in names if len(graph.consumers.get(name, ())) <= 1]
        return alone[0] if alone else unused(f"{node.layers[0]}.{role}", graph.values)

    old = constants[node.operands[1]].value
    weight, bias = own("weight", node.operands[1]), own("bias", *node.extras)
    constants[weight] = Constant(replace(old, name=weight), w)
    constants[bias] = Constant(Value(bias, b.shape, node.value.dtype, "packed"), b.astype(np.float32))
    channel = 1 if isinstance(node.op, Conv) else len(node.value.shape) - 1
    epilogue = ex.call("add", ACC, Load(2, (Coord(channel),)))
    return replace(node, inputs=(node.operands[0], weight, bias), epilogue=epilogue)
