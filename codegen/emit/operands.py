"""What the generated text says for a value: a pointer, an address, a tensor with its shape and type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnngen.codegen.emit.titles import plan_key
from cnngen.codegen.graph import Value, is_view
from cnngen.codegen.node_ops import Reshape
from cnngen.codegen.plan import BatchPlan
from cnngen.spec.names import CppIdentifier
from cnngen.spec.types import ElementType


class Operands:
    """Texts of values by name, in any plan of a network; `used`: the buffers that they name, by title, in order."""

    def __init__(
        self,
        elements: Mapping[ElementType, str],
        titles: Mapping[tuple[int, int], Mapping[str, str]],
        identifiers: Mapping[str, CppIdentifier],
        weight_names: Mapping[str, CppIdentifier],
    ) -> None:
        self.elements = elements
        self.titles = titles
        self.identifiers = identifiers
        self.weight_names = weight_names
        self.used: dict[str, None] = {}

    def weight(self, batch: BatchPlan, name: str) -> CppIdentifier:
        """The name of a constant's tensor in the slab."""
        return self.weight_names[batch.weights[name].name]

    def place(self, batch: BatchPlan, name: str) -> str:
        """The buffer of a value by its title; a view's is its input's."""
        producer = batch.graph.producers.get(name)
        while producer is not None and isinstance(producer.op, Reshape) and is_view(producer):
            name = producer.inputs[0]
            producer = batch.graph.producers.get(name)
        title = self.titles[plan_key(batch)][name]
        self.used[title] = None
        return f"at::{self.identifiers[title]}"

    def pointer(self, batch: BatchPlan, name: str) -> str:
        """A kernel's argument."""
        graph, value = batch.graph, batch.graph.values[name]
        element = self.elements[value.dtype]
        inputs = [v.name for v in graph.inputs]
        if name in inputs:
            return f"pass.input<{element}>({inputs.index(name)})"
        if name in graph.outputs:
            return f"pass.output<{element}>({graph.outputs.index(name)})"
        if name in graph.constants:
            return f"pass.weight<{element}>(weights::{self.weight(batch, name)})"
        return f"pass.at<{element}>({self.place(batch, name)})"

    def address(self, batch: BatchPlan, name: str) -> str:
        """Where a library's operand lies."""
        graph = batch.graph
        if name in graph.outputs:
            element = self.elements[graph.values[name].dtype]
            return f"pass.output<{element}>({graph.outputs.index(name)}).data"
        if name in graph.constants:
            return f"pass.weight(weights::{self.weight(batch, name)})"
        return f"pass.at({self.place(batch, name)})"

    def tensor(self, batch: BatchPlan, name: str, *, real: bool = False) -> str:
        """The value as a cnngen::Tensor; `real`: without the channels that are only padding."""
        value = batch.graph.values[name]
        images = rows_text(value.shape[0], batch.batch)
        address = self.address(batch, name)
        if len(value.shape) == 4:
            layout = "nchw" if value.layout == "NCHW" else "nhwc"
            extents = [images, *map(str, value.shape[1:])]
            if value.pixel or (real and value.padding):
                channels = value.shape[1] - (value.padding if real else 0)
                extents = [images, str(channels), *map(str, value.shape[2:]), str(value.extent(1))]
            return f"{layout}({address}, {dtype_text(value)}, {', '.join(extents)})"
        columns = value.elements // value.shape[0]
        return f"rows({address}, {dtype_text(value)}, {images}, {columns})"

    def rows(self, batch: BatchPlan, name: str, shape: Sequence[int]) -> str:
        """The value as a matrix whose columns are the last axis of `shape`."""
        value = batch.graph.values[name]
        count = value.elements // shape[-1]
        return f"rows({self.address(batch, name)}, {dtype_text(value)}, {rows_text(count, batch.batch)}, {shape[-1]})"

    def matrices(self, batch: BatchPlan, name: str) -> str:
        """The value of rank 3 as a stack of matrices."""
        value = batch.graph.values[name]
        count = (
            str(value.shape[0]) if name in batch.graph.constants else rows_text(value.shape[0], batch.batch)
        )
        address = self.address(batch, name)
        return (
            f"cnngen::matrices({address}, {dtype_text(value)}, {count}, {value.shape[1]}, {value.shape[2]})"
        )

    def filter(self, batch: BatchPlan, name: str) -> str:
        """A convolution's weight."""
        value = batch.graph.values[name]
        pointer = f"pass.weight(weights::{self.weight(batch, name)})"
        function = "nchw" if value.layout == "NCHW" else "filter"
        return f"{function}({pointer}, {dtype_text(value)}, {', '.join(map(str, value.shape))})"


def dtype_text(value: Value) -> str:
    """A value's cnngen::DType."""
    return f"DType::{'boolean' if value.dtype == 'bool' else value.dtype}"


def rows_text(count: int, batch: int) -> str:
    """A count of rows that grows with the batch."""
    if count % batch:
        return str(count)
    return "pass.batch()" if count == batch else f"pass.batch() * {count // batch}"
