"""The network as passes see it: a few frozen dataclasses, at one batch size, in execution order.

Every node writes one value. Its op is one of a few primitive forms; everything memory-bound is `Pointwise`. Each
node carries an epilogue: the expression that turns the op's result (`ACC`) into what is stored. Shapes are logical
(N, C, H, W for rank 4); `layout` says how a value lies in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import ACC, Expr
from cnngen.codegen.node_ops import Join, Op, Reshape, Slice, operand_count
from cnngen.spec.types import ElementType

Array: TypeAlias = "np.ndarray[Any, Any]"
Shape: TypeAlias = tuple[int, ...]
Layout: TypeAlias = Literal["NCHW", "NHWC", "NLC", "packed", "RSCK"]

LIBRARIES = ("cudnn", "cublaslt", "onednn")  # the forms that are not kernels of our own
ITEM_BYTES: dict[ElementType, int] = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "bool": 1,
}
FLOATS: tuple[ElementType, ...] = ("float32", "float16", "bfloat16")
ORDERS: dict[Layout, tuple[int, ...]] = {"NHWC": (0, 2, 3, 1), "NLC": (0, 2, 1), "RSCK": (2, 3, 1, 0)}


@dataclass(frozen=True)
class Value:
    """A tensor in device memory.

    Its type is a float, or int32, uint8 or bool (a byte, 0 or 1); int64 only where the caller's memory is. A load of
    any of them is a float, exact for whole numbers up to 2^24. What is stored as a whole number or a bool is one
    already: an expression says so itself, since passes may read it where it was made.
    """

    name: str
    shape: Shape
    dtype: ElementType
    layout: Layout  # "packed", "NCHW": row-major in logical order; "NHWC", "NLC": channels innermost; "RSCK": a filter
    padding: int = 0  # how many of the channels, at the end, are zeros that pad_channels added
    host: str = ""  # the wider value, NHWC, of whose channels this value is some; see Join and Slice
    first: int = 0  # of these channels
    pixel: int = 0  # the host's channels: how far a pixel is from the next one; 0: these channels alone

    @property
    def axes(self) -> tuple[int, ...]:
        """The logical axes in memory order, outermost first."""
        return ORDERS.get(self.layout, tuple(range(len(self.shape))))

    @property
    def strides(self) -> tuple[int, ...]:
        """The distance of neighbours along each logical axis, in elements."""
        found, stride = [0] * len(self.shape), 1
        for axis in reversed(self.axes):
            found[axis] = stride
            stride *= self.extent(axis)
        return tuple(found)

    def extent(self, axis: int) -> int:
        """How many elements lie along an axis: the size, or the channels of a host."""
        return self.pixel if axis == 1 and self.pixel else self.shape[axis]

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """(elements, distance of neighbours) of the longest runs in logical order: how logical order lies in memory."""
        found: list[tuple[int, int]] = []
        for size, stride in zip(self.shape, self.strides, strict=True):
            if size > 1 and found and found[-1][1] == size * stride:
                found[-1] = (found[-1][0] * size, stride)
            elif size > 1:
                found.append((size, stride))
        return tuple(found)

    @property
    def is_row_major(self) -> bool:
        """Whether the elements lie in memory in logical order."""
        return len(self.runs) <= 1 and all(stride == 1 for _, stride in self.runs)

    @property
    def inner_axis(self) -> int:
        """The logical axis whose neighbours are neighbours in memory: the innermost of several elements."""
        several = [axis for axis in self.axes if self.shape[axis] > 1]
        return several[-1] if several else self.axes[-1]

    def lies_like(self, other: Value) -> bool:
        """Whether both have the same shape, and their elements the same order in memory."""
        same = (self.layout, self.pixel) == (other.layout, other.pixel)
        return self.shape == other.shape and (same or self.is_view_of(other))

    def is_view_of(self, other: Value) -> bool:
        """Whether the elements of both, each in logical order, have the same order in memory."""
        return self.runs == other.runs

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bytes(self) -> int:
        return self.elements * ITEM_BYTES[self.dtype]

    @property
    def span(self) -> int:
        """Bytes in memory, with what lies between the pixels of a part."""
        return self.bytes // self.shape[1] * self.pixel if self.pixel else self.bytes


@dataclass(frozen=True, eq=False)
class Constant:
    """Known data: weights as float32 in logical order, and how they are to lie in the weight slab.

    What a rewrite derives is made when it is first needed: most of the graphs that tuning looks at never are.
    """

    value: Value
    data: Array | Callable[[], Array]
    recipe: tuple[Hashable, ...] = ()  # of what was derived: constants of one recipe are equal

    @classmethod
    def derived(
        cls,
        value: Value,
        make: Callable[..., Array],
        sources: Sequence[Constant],
        parameters: tuple[Hashable, ...] = (),
    ) -> Constant:
        """`make(*arrays of the sources, *parameters)`, of the value's shape."""
        recipe = (make, tuple(source.key for source in sources), parameters)
        return cls(value, lambda: make(*(source.array for source in sources), *parameters), recipe)

    @property
    def key(self) -> Hashable:
        """Equal for constants that are known to be equal without looking at them."""
        return self.recipe or self

    @cached_property
    def array(self) -> Array:
        return self.data() if callable(self.data) else self.data

    @property
    def is_zero(self) -> bool:
        return not self.array.any()


# --- primitive forms -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """A step: an op over its operands, then an epilogue, into one value."""

    value: Value  # what it writes
    op: Op
    inputs: tuple[str, ...]  # the op's operands, then what the epilogue loads
    layers: tuple[str, ...]  # the spec's layers that it came from, in spec order
    epilogue: Expr = ACC  # `Load(i)` reads inputs[i]
    form: str = ""  # how it is run, where there is a choice: set by select_forms
    engine: str = ""  # which engine of a library, or which tile of a kernel; "": the default one

    @property
    def name(self) -> str:
        return self.value.name

    @property
    def operands(self) -> tuple[str, ...]:
        return self.inputs[: operand_count(self.op)]

    @property
    def extras(self) -> tuple[str, ...]:
        """The inputs that only the epilogue reads."""
        return self.inputs[operand_count(self.op) :]


def is_view(node: Node) -> bool:
    """Whether a node is only another name for what lies there already: no step runs for it."""
    return isinstance(node.op, Reshape | Join | Slice) and node.epilogue == ACC


@dataclass(frozen=True)
class Site:
    """A place where a rewrite had several options, and the one that it took."""

    rewrite: str  # the pass
    layer: str  # the value that it is about, unique in the graph that the pass was given
    layers: tuple[str, ...]  # the spec's layers that it came from
    options: tuple[str, ...]
    chosen: str

    @property
    def key(self) -> tuple[str, str]:
        return self.rewrite, self.layer


@dataclass(frozen=True)
class Graph:
    """The network at one batch size; a pass makes a new one."""

    name: str
    batch: int
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]  # in execution order
    outputs: tuple[str, ...]
    constants: Mapping[str, Constant] = field(default_factory=dict)
    sites: tuple[Site, ...] = ()  # where passes had a choice, in the order in which they made it

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """Every value by name: inputs, constants, then nodes in order."""
        return {
            **{value.name: value for value in self.inputs},
            **{name: constant.value for name, constant in self.constants.items()},
            **{node.name: node.value for node in self.nodes},
        }

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each value, in order, each once."""
        found: dict[str, list[Node]] = {name: [] for name in self.values}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found[name].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def sole_consumer(self, name: str) -> Node | None:
        """The one node that reads a value which is no output; None if there are more, or none."""
        readers = self.consumers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def with_nodes(self, nodes: Sequence[Node], constants: Mapping[str, Constant] | None = None) -> Graph:
        """This graph with other nodes (and constants), what nothing reads any more left out."""
        constants = self.constants if constants is None else constants
        needed = set(self.outputs)
        kept: list[Node] = []
        for node in reversed(nodes):
            if node.name in needed:
                kept.append(node)
                needed.update(node.inputs)
        return replace(
            self,
            nodes=tuple(reversed(kept)),
            constants={name: constant for name, constant in constants.items() if name in needed},
        )


def with_sites(graph: Graph, sites: Sequence[Site]) -> Graph:
    """The graph, knowing what was chosen in making it; a choice without an alternative is none."""
    return replace(graph, sites=(*graph.sites, *(site for site in sites if len(site.options) > 1)))


def unused(name: str, taken: Container[str]) -> str:
    """`name`, with a number behind it where it is taken: users may call a layer whatever they like."""
    number, fresh = 1, name
    while fresh in taken:
        number += 1
        fresh = f"{name}.{number}"
    return fresh


def add_inputs(node: Node, names: Sequence[str]) -> tuple[Node, dict[str, int]]:
    """The node with `names` among its epilogue's inputs, and the input number of each."""
    inputs = list(node.inputs)
    operands = operand_count(node.op)
    places: dict[str, int] = {}
    for name in names:
        if name not in inputs[operands:]:
            inputs.append(name)
        places[name] = inputs.index(name, operands)
    return replace(node, inputs=tuple(inputs)), places


def tidy(node: Node) -> Node:
    """The node without epilogue inputs that its epilogue no longer loads, the rest in order of first use."""
    operands = operand_count(node.op)
    used: list[str] = []
    for load in ex.loads(node.epilogue):
        if node.inputs[load.source] not in used:
            used.append(node.inputs[load.source])
    numbers = {
        load.source: operands + used.index(node.inputs[load.source]) for load in ex.loads(node.epilogue)
    }
    return replace(node, inputs=(*node.operands, *used), epilogue=ex.renumber(node.epilogue, numbers))


def with_numbers(node: Node, known: Mapping[str, float]) -> Node:
    """The node with a number in place of every epilogue load of a value that is the same everywhere."""

    def number(expr: Expr) -> Expr | None:
        if isinstance(expr, ex.Load) and node.inputs[expr.source] in known:
            return ex.Float(known[node.inputs[expr.source]])
        return None

    return tidy(replace(node, epilogue=ex.rewrite(node.epilogue, number)))
