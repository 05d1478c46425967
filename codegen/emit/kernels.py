"""What both targets' kernels are made of: a kernel's text as a view, how a step launches it, and its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnngen.codegen.emit.cpp import Source, kernel_names
from cnngen.codegen.graph import ITEM_BYTES, Graph, Node, Value
from cnngen.codegen.node_ops import Conv, Pool
from cnngen.spec.types import ElementType

LARGEST_INT = 2**31


@dataclass(frozen=True)
class Parameter:
    """A kernel's parameter."""

    type: str
    name: str


@dataclass(frozen=True)
class Kernel:
    """A kernel without its name. Equal kernels are written once."""

    parameters: tuple[Parameter, ...]
    lines: tuple[str, ...]
    headers: tuple[str, ...]  # of the target's kernels that it needs
    threads: int = 0  # of a block; a function on the CPU has none
    declares: tuple[str, ...] = ()  # headers of the target's kernels that its declaration needs
    capability: int = 0  # the least that it needs, 90 being compute capability 9.0
    waits: bool = True  # first of all for its inputs; else the runtime's kernel does, when it has to
    resident: int = 0  # blocks that a multiprocessor has registers for at least; 0: as the compiler likes


@dataclass(frozen=True)
class Grid:
    """A grid of clusters of blocks with `shared` bytes of memory each, at a plan's batch size."""

    blocks: int
    cluster: int
    shared: int


@dataclass(frozen=True)
class Launch:
    """How a step runs a kernel: on a GPU the grid, as an expression of the batch size or as a number."""

    kernel: Kernel
    items: int = 0  # threads an image takes, or blocks where `whole_blocks`
    whole_blocks: bool = False
    grid: Grid | None = None  # in place of `items`
    arguments: tuple[str, ...] = ()  # after the batch, before the pointers
    name: str = ""  # of a kernel that several layers share; "": that of the first that has it
    comment: str = ""  # likewise


def sources_of(node: Node, graph: Graph) -> list[Source]:
    """The node's inputs as its kernel sees them."""
    names = kernel_names(node.inputs, graph.constants)
    return [
        Source(parameter, graph.values[name], name in graph.constants)
        for name, parameter in zip(node.inputs, names, strict=True)
    ]


def parameters_of(
    sources: Sequence[Source], value: Value, types: Mapping[ElementType, str], mark: str = ""
) -> tuple[Parameter, ...]:
    """`int batch`, a pointer an input, and `y`.

    types: the target's spelling of each element type
    mark:  of pointers to what nothing writes while the network runs
    """
    pointers = {
        source.parameter: Parameter(
            f"const {types[source.value.dtype]}*{mark if source.constant else ''}", source.parameter
        )
        for source in sources
    }
    return (Parameter("int", "batch"), *pointers.values(), Parameter(f"{types[value.dtype]}*", "y"))


def aggregate(fields: Mapping[str, object]) -> str:
    """A designated initialiser."""
    return "{" + ", ".join(f".{name} = {value}" for name, value in fields.items()) + "}"


def product(value: Value, axes: Sequence[int]) -> int:
    """How many elements these axes of a value span."""
    result = 1
    for axis in axes:
        result *= value.shape[axis]
    return result


def needs_64_bits(value: Value, sources: Sequence[Source], graph: Graph, largest_batch: int) -> bool:
    """Whether an int cannot count the elements of a step's result or of an input, at the largest batch."""
    involved = [value, *(source.value for source in sources)]
    items = (v.span // ITEM_BYTES[v.dtype] for v in involved)
    return any(count // graph.batch * largest_batch >= LARGEST_INT for count in items)


def window_shape(x: Value, y: Value, kernel: tuple[int, int], op: Conv | Pool) -> str:
    """The geometry of a sliding window from x to y (both N, C, H, W), as the runtime's constant `shape`."""
    top, left, bottom, right = op.padding
    fields: dict[str, int] = {
        "c": x.shape[1],
        "h": x.shape[2],
        "w": x.shape[3],
        "oh": y.shape[2],
        "ow": y.shape[3],
        "r": kernel[0],
        "s": kernel[1],
    }
    optional = {
        "stride_h": (op.stride[0], 1),
        "stride_w": (op.stride[1], 1),
        "dilation_h": (op.dilation[0], 1),
        "dilation_w": (op.dilation[1], 1),
        "pad_top": (top, 0),
        "pad_left": (left, 0),
        "pad_bottom": (bottom, 0),
        "pad_right": (right, 0),
        "x_pixel": (x.extent(1), x.shape[1]),
        "y_pixel": (y.extent(1), y.shape[1]),
    }
    fields |= {name: number for name, (number, default) in optional.items() if number != default}
    return f"constexpr cnngen::WindowShape shape = {aggregate(fields)};"
