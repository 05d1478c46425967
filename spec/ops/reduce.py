"""Reductions along axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, axes_of, axis_of, show, without
from cnngen.spec.types import Flag, Integer, Shape


class Reduction(LayerBase):
    """What the reductions share."""

    axes: Annotated[tuple[Integer, ...], Field(min_length=1)] | None = Field(
        default=None, description="which are reduced; negative: from the end; default: all but the first"
    )
    keepdims: Flag = Field(default=True, description="whether a reduced axis stays, with size 1")

    def reduced(self, shape: Shape) -> tuple[int, ...]:
        """The axes that are reduced, from the front, or ShapeError."""
        if self.axes is not None:
            return axes_of(self.axes, shape)
        if len(shape) < 2:
            raise ShapeError(f"{show(shape)} has no axis but the first: give axes")
        return tuple(range(1, len(shape)))

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's, the reduced axes of size 1 or gone; [1] where none is left."""
        return without(inputs[0], self.reduced(inputs[0]), keepdims=self.keepdims)

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where axis 0 is reduced."""
        return 0 in self.reduced(inputs[0])


class ReduceMean(Reduction):
    """The mean."""

    op: Literal["reduce_mean"] = "reduce_mean"


class ReduceSum(Reduction):
    """The sum."""

    op: Literal["reduce_sum"] = "reduce_sum"


class ReduceMax(Reduction):
    """The largest element."""

    op: Literal["reduce_max"] = "reduce_max"


class ReduceMin(Reduction):
    """The smallest element."""

    op: Literal["reduce_min"] = "reduce_min"


class ReduceProd(Reduction):
    """The product."""

    op: Literal["reduce_prod"] = "reduce_prod"


class ReduceL1(Reduction):
    """sum(|x|)."""

    op: Literal["reduce_l1"] = "reduce_l1"


class ReduceL2(Reduction):
    """sqrt(sum(x^2))."""

    op: Literal["reduce_l2"] = "reduce_l2"


class ReduceSumSquare(Reduction):
    """sum(x^2)."""

    op: Literal["reduce_sum_square"] = "reduce_sum_square"


class ReduceLogSum(Reduction):
    """log(sum(x))."""

    op: Literal["reduce_log_sum"] = "reduce_log_sum"


class ReduceLogSumExp(Reduction):
    """log(sum(exp(x)))."""

    op: Literal["reduce_log_sum_exp"] = "reduce_log_sum_exp"


class ArgReduction(LayerBase):
    """What argmax and argmin share."""

    axis: Integer = Field(description="along which; negative: from the end")
    keepdims: Flag = Field(default=True, description="whether the axis stays, with size 1")
    last: Flag = Field(default=False, description="of equal elements the last, not the first")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's, the axis of size 1 or gone."""
        return without(inputs[0], (axis_of(self.axis, inputs[0]),), keepdims=self.keepdims)

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where the axis is the first."""
        return axis_of(self.axis, inputs[0]) == 0


class ArgMax(ArgReduction):
    """The place of the largest element along an axis, as int32."""

    op: Literal["argmax"] = "argmax"


class ArgMin(ArgReduction):
    """The place of the smallest element along an axis, as int32."""

    op: Literal["argmin"] = "argmin"


AnyReduction = (
    ReduceMean
    | ReduceSum
    | ReduceMax
    | ReduceMin
    | ReduceProd
    | ReduceL1
    | ReduceL2
    | ReduceSumSquare
    | ReduceLogSum
    | ReduceLogSumExp
    | ArgMax
    | ArgMin
)
