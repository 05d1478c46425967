"""What both targets' kernels are made of: a kernel's text as a view, how a step launches it, and its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnngen.codegen.emit.cpp import Source, kernel_names
from cnngen.codegen.graph import Graph, Node, Value
from cnngen.spec.types import ElementType


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


@dataclass(frozen=True)
class Launch:
    """How a step runs a kernel: on a GPU the grid, as an expression of the batch size."""

    kernel: Kernel
    items: int = 0  # threads an image takes, or blocks where `whole_blocks`
    whole_blocks: bool = False


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
    """`int batch`, a pointer an input, and `y`; `types`: the target's spelling of each element type."""
    pointers = {
        source.parameter: Parameter(f"const {types[source.value.dtype]}*{mark}", source.parameter)
        for source in sources
    }
    return (Parameter("int", "batch"), *pointers.values(), Parameter(f"{types[value.dtype]}*{mark}", "y"))


def aggregate(fields: Mapping[str, object]) -> str:
    """A designated initialiser."""
    return "{" + ", ".join(f".{name} = {value}" for name, value in fields.items()) + "}"


def product(value: Value, axes: Sequence[int]) -> int:
    """How many elements these axes of a value span."""
    result = 1
    for axis in axes:
        result *= value.shape[axis]
    return result
