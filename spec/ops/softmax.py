"""Softmax and what is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, axis_of, show
from cnngen.spec.types import Integer, Positive, Shape


class _AlongAxis(LayerBase):
    axis: Integer = Field(default=-1, description="along which; negative: from the end")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        axis_of(self.axis, inputs[0])
        return inputs[0]

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where the axis is the first."""
        return axis_of(self.axis, inputs[0]) == 0


class Softmax(_AlongAxis):
    """exp(x) / sum(exp(x)) along an axis."""

    op: Literal["softmax"] = "softmax"


class LogSoftmax(_AlongAxis):
    """x - log(sum(exp(x))) along an axis."""

    op: Literal["log_softmax"] = "log_softmax"


class Dfl(LayerBase):
    """A box side from its distribution: softmax over the bins, then the expected bin; [N, S * bins, A] to [N, S, A]."""

    op: Literal["dfl"] = "dfl"
    bins: Positive = Field(description="of each distribution, one after the other in axis 1")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C / bins, A]."""
        shape = inputs[0]
        if len(shape) != 3:
            raise ShapeError(f"needs a 3-D input [N, sides * bins, anchors], got {show(shape)}")
        if shape[1] % self.bins:
            raise ShapeError(f"{shape[1]} channels cannot be split into distributions of {self.bins} bins")
        return (shape[0], shape[1] // self.bins, shape[2])


AnySoftmax = Softmax | LogSoftmax | Dfl
