"""The fully connected layer, and products of two tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, broadcast, show
from cnngen.spec.ops.conv import WeightedLayer
from cnngen.spec.types import Flag, Positive, Shape


class Linear(WeightedLayer):
    """x W^T + bias over the last axis; weight [out_features, in_features], bias [out_features]."""

    op: Literal["linear"] = "linear"
    out_features: Positive = Field(description="size of the last axis of the output")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[..., out_features]."""
        if len(inputs[0]) < 2:
            raise ShapeError(f"needs an input of at least two axes, got {show(inputs[0])}")
        return (*inputs[0][:-1], self.out_features)

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """The weight [out, in] and the bias [out]."""
        weight = (self.out_features, inputs[0][-1])
        return {"weight": weight, "bias": (self.out_features,)} if self.bias else {"weight": weight}


class MatMul(LayerBase):
    """The matrix product of two tensors over their last two axes; the axes before broadcast as numpy's do."""

    op: Literal["matmul"] = "matmul"
    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2
    transpose_a: Flag = Field(default=False, description="the last two axes of the first input change places")
    transpose_b: Flag = Field(
        default=False, description="the last two axes of the second input change places"
    )

    def matrices(self, inputs: Sequence[Shape]) -> tuple[Shape, Shape]:
        """Both shapes as [..., M, K] and [..., K, N]: one axis is a row on the left, a column on the right."""
        a, b = inputs
        rows = (1, *a) if len(a) == 1 else _swapped(a) if self.transpose_a else a
        columns = (*b, 1) if len(b) == 1 else _swapped(b) if self.transpose_b else b
        return rows, columns

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[..., M, N], without M or N where that input has one axis; [1] where both have."""
        a, b = self.matrices(inputs)
        if a[-1] != b[-2]:
            raise ShapeError(
                f"cannot multiply {show(inputs[0])} by {show(inputs[1])}: {a[-1]} columns meet {b[-2]} rows"
            )
        rows = () if len(inputs[0]) == 1 else (a[-2],)
        columns = () if len(inputs[1]) == 1 else (b[-1],)
        return (*broadcast(a[:-2], b[:-2]), *rows, *columns) or (1,)

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where the first axis of the left input is summed over or becomes columns."""
        a, b = inputs
        return len(b) <= 2 and (len(a) == 1 or (len(a) == 2 and self.transpose_a))


def _swapped(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2])


AnyProduct = Linear | MatMul
