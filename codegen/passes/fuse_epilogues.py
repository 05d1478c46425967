"""Pointwise steps disappear into the step that writes their input, and chains of them into one kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.epilogues import FREE, functions_of, library_chain
from cnngen.codegen.expr import Coord, Expr, Load
from cnngen.codegen.graph import LIBRARIES, Graph, Node, Site, tidy, with_sites
from cnngen.codegen.node_ops import (
    Affine,
    ArgReduce,
    BatchMatMul,
    Conv,
    MatMul,
    Pointwise,
    Pool,
    Reduce,
    Softmax,
    SqueezeExcite,
)
from cnngen.codegen.rewriting import at_its_place, inlined, unmoved
from cnngen.codegen.targets import CUDA, Target

FUSED, APART = "fused", "apart"
HAVE_EPILOGUE = Conv | MatMul | BatchMatMul | Pool | Reduce | ArgReduce | Softmax | SqueezeExcite


def fuse_epilogues(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Pointwise into what writes its input or reads its output; into a library's step where that is cheaper.

    First what is made of constants alone, which else would be stored for a library's step to read. Then into
    convolutions and the other ops with an epilogue, and pointwise into pointwise, as long as it helps: what two
    steps read may be read by one once those have merged.
    """
    fits = _Fits(choices, target)
    graph, before = _merge_pointwise(_affine_as_pointwise(graph), _is_known), None
    while before is None or graph.nodes != before.nodes:
        before = graph
        graph = _merge_pointwise(_absorb_readers(graph, fits), _may_merge)
    return with_sites(graph, list(fits.sites.values()))


class _Fits:
    """Which steps a library's step takes on: asked once for each, however often it comes into question."""

    def __init__(self, choices: Choices, target: Target) -> None:
        self.choices, self.target = choices, target
        self.sites: dict[str, Site] = {}

    def __call__(self, graph: Graph, reader: Node) -> bool:
        """Whether the reader of a library's result, which could take it on, is to become part of it."""
        tensors = [name for name in reader.inputs if name not in graph.constants]
        if self.target.name != "cuda" or (len(tensors) == 1 and functions_of(reader.epilogue) <= FREE):
            return True
        if reader.name not in self.sites:
            read = sum(graph.values[name].bytes for name in tensors)
            prices = {FUSED: 0.0, APART: self.choices.cost.move(read + reader.value.bytes)}
            self.sites[reader.name] = self.choices.site("fuse_epilogues", reader, prices)
        return self.sites[reader.name].chosen == FUSED


def _affine_as_pointwise(graph: Graph) -> Graph:
    nodes = []
    for node in graph.nodes:
        if isinstance(node.op, Affine):
            x = ex.broadcast_load(0, node.value.shape, len(node.value.shape))
            value = ex.call("add", ex.call("mul", x, Load(1, (Coord(1),))), Load(2, (Coord(1),)))
            node = tidy(replace(node, op=Pointwise(), epilogue=value))
        nodes.append(node)
    return graph.with_nodes(nodes)


def _absorb_readers(graph: Graph, fits: _Fits) -> Graph:
    """A pointwise step joins the op that writes one of its inputs, if it is that value's only reader."""
    depths = _depths(graph)
    current: dict[str, Node] = {}
    for node in graph.nodes:
        for name in _writers(graph, node, current, depths):
            fused = _absorbed(graph, current.get(name), node, fits)
            if fused is not None:
                del current[name]
                node = fused
                break
        current[node.name] = node
    return graph.with_nodes(tuple(current.values()))


def _writers(
    graph: Graph, node: Node, current: Mapping[str, Node], depths: Mapping[str, tuple[int, int]]
) -> list[str]:
    """The inputs of a step in the order in which their writers are asked to take it on.

    The latest first: its inputs are the most recent, so that no buffer has to live longer for it. But what branches are
    summed up in belongs to the longest, if that reads nothing else yet: the others may then run beside it.
    """

    def rank(name: str) -> tuple[bool, int, int]:
        depth, number = depths.get(name, (0, -1))
        writer = current.get(name)
        is_plain = writer is not None and all(extra in graph.constants for extra in writer.extras)
        return (is_plain, depth, number) if is_sum else (False, 0, number)

    is_sum = "mul" not in functions_of(node.epilogue)
    return sorted(node.inputs, key=rank, reverse=True)


def _depths(graph: Graph) -> dict[str, tuple[int, int]]:
    """How many nodes lead to each one at most, and its number."""
    found: dict[str, tuple[int, int]] = {}
    for number, node in enumerate(graph.nodes):
        before = max((found[name][0] for name in node.inputs if name in found), default=0)
        found[node.name] = (before + 1, number)
    return found


def _absorbed(graph: Graph, writer: Node | None, reader: Node, fits: _Fits) -> Node | None:
    """The writer with its reader as further epilogue, where its form can do that."""
    if writer is None or not isinstance(writer.op, HAVE_EPILOGUE):
        return None
    if not isinstance(reader.op, Pointwise) or not _only_reader(graph, writer, reader):
        return None
    library = writer.form in LIBRARIES
    if not writer.value.lies_like(reader.value):
        return None
    # A library cannot be pointed at the caller's memory afterwards, nor does it change the type.
    if library and (reader.name in graph.outputs or writer.value.dtype != reader.value.dtype):
        return None
    if isinstance(writer.op, Softmax) and not isinstance(reader.epilogue, Load):
        return None  # its kernel can store another type, but has no epilogue
    here = ex.broadcast_load(0, writer.value.shape, len(writer.value.shape)).index
    if any(
        load.index != here for load in ex.loads(reader.epilogue) if reader.inputs[load.source] == writer.name
    ):
        return None
    # At its own place the writer's expression stays as it is: of a single channel, too, whose number is read as 0.
    fused = _fused(writer, reader, writer, unmoved)
    if library and (library_chain(fused, graph) is None or not fits(graph, reader)):
        return None
    return fused


def _merge_pointwise(graph: Graph, merges: Callable[[Graph, Node, Node], bool]) -> Graph:
    """A pointwise step becomes part of its pointwise readers, where `merges(graph, step, reader)`."""
    current: dict[str, Node] = {}
    for node in graph.nodes:
        for name in node.inputs if isinstance(node.op, Pointwise) else ():
            writer = current.get(name)
            if writer is not None and merges(graph, writer, node):
                node = _fused(writer, node, node)
        current[node.name] = node
    return graph.with_nodes(tuple(current.values()))


def _is_known(graph: Graph, writer: Node, _reader: Node) -> bool:
    """Whether a step has no input but constants, at first or once others have merged: each reader may do it over."""
    constant = all(name in graph.constants for name in writer.inputs)
    return isinstance(writer.op, Pointwise) and writer.name not in graph.outputs and constant


def _may_merge(graph: Graph, writer: Node, reader: Node) -> bool:
    return _is_known(graph, writer, reader) or _merges(graph, writer, reader)


def _merges(graph: Graph, writer: Node, reader: Node) -> bool:
    """Whether a step has one reader, which does not need it at several places."""
    if not isinstance(writer.op, Pointwise) or writer.name in graph.outputs:
        return False
    sites = [load for load in ex.loads(reader.epilogue) if reader.inputs[load.source] == writer.name]
    moves_only = (
        isinstance(writer.epilogue, Load) and writer.value.dtype == graph.values[writer.inputs[0]].dtype
    )
    return _only_reader(graph, writer, reader) and (len(sites) == 1 or moves_only)


def _only_reader(graph: Graph, writer: Node, reader: Node) -> bool:
    only = graph.sole_consumer(writer.name)
    return only is not None and only.name == reader.name


def _fused(
    writer: Node,
    reader: Node,
    host: Node,
    substitute: Callable[[Expr, Load], Expr] = at_its_place,
) -> Node:
    """`host` (the writer or the reader) computing the reader's value, the writer's expression in place of its load."""
    result = reader.layers[-1]  # the step is then known by it, so that it stays the last
    layers = (*(layer for layer in dict.fromkeys(writer.layers + reader.layers) if layer != result), result)
    return inlined(replace(host, value=reader.value, layers=layers), writer, reader, substitute)
