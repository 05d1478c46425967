"""Normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, axis_of, show
from cnngen.spec.types import Flag, Integer, Positive, Real, Shape

_EPSILON = "added to the variance"
_AXIS = "the first axis that is normalised over; negative: from the end"


class BatchNorm(LayerBase):
    """(x - running_mean) / sqrt(running_var + epsilon) * weight + bias, each [C], over axis 1."""

    op: Literal["batch_norm"] = "batch_norm"
    epsilon: Real = Field(default=1e-5, ge=0, description=_EPSILON)
    affine: Flag = Field(default=True, description="false: no weight and bias")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        if len(inputs[0]) < 2:
            raise ShapeError(f"needs channels in axis 1, got {show(inputs[0])}")
        return inputs[0]

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """Each [C]."""
        roles = ("weight", "bias") if self.affine else ()
        return dict.fromkeys((*roles, "running_mean", "running_var"), (inputs[0][1],))


class InstanceNorm(LayerBase):
    """Each channel of each image to mean 0 and variance 1, over all axes from 2 on; weight and bias are [C]."""

    op: Literal["instance_norm"] = "instance_norm"
    epsilon: Real = Field(default=1e-5, ge=0, description=_EPSILON)
    affine: Flag = Field(default=False, description="times weight, plus bias")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        if len(inputs[0]) < 3:
            raise ShapeError(f"needs an input [N, C, ...] of at least three axes, got {show(inputs[0])}")
        return inputs[0]

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """Each [C]."""
        return dict.fromkeys(("weight", "bias"), (inputs[0][1],)) if self.affine else {}


class GroupNorm(LayerBase):
    """Each group of channels of each image to mean 0 and variance 1; weight and bias are [C]."""

    op: Literal["group_norm"] = "group_norm"
    groups: Positive = Field(description="the channels are split into so many groups of neighbours")
    epsilon: Real = Field(default=1e-5, ge=0, description=_EPSILON)
    affine: Flag = Field(default=True, description="times weight, plus bias")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        if len(inputs[0]) < 2:
            raise ShapeError(f"needs channels in axis 1, got {show(inputs[0])}")
        if inputs[0][1] % self.groups:
            raise ShapeError(f"{inputs[0][1]} channels cannot be split into {self.groups} groups")
        return inputs[0]

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """Each [C]."""
        return dict.fromkeys(("weight", "bias"), (inputs[0][1],)) if self.affine else {}


class LayerNorm(LayerBase):
    """To mean 0 and variance 1 over the axes from `axis` on; weight and bias have the sizes of these axes."""

    op: Literal["layer_norm"] = "layer_norm"
    axis: Integer = Field(default=-1, description=_AXIS)
    epsilon: Real = Field(default=1e-5, ge=0, description=_EPSILON)
    affine: Flag = Field(default=True, description="times weight, plus bias")
    bias: Flag = Field(default=True, description="false: affine without bias")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        axis_of(self.axis, inputs[0])
        return inputs[0]

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where it normalises over axis 0 too."""
        return axis_of(self.axis, inputs[0]) == 0

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """The sizes of the axes from `axis` on."""
        shape = inputs[0][axis_of(self.axis, inputs[0]) :]
        roles = ("weight", "bias") if self.bias else ("weight",)
        return dict.fromkeys(roles, shape) if self.affine else {}


class RmsNorm(LayerBase):
    """x / sqrt(mean(x^2) + epsilon) over the axes from `axis` on; the weight has the sizes of these axes."""

    op: Literal["rms_norm"] = "rms_norm"
    axis: Integer = Field(default=-1, description=_AXIS)
    epsilon: Real = Field(default=1e-5, ge=0, description="added to the mean of squares")
    affine: Flag = Field(default=True, description="times weight")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        axis_of(self.axis, inputs[0])
        return inputs[0]

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where it normalises over axis 0 too."""
        return axis_of(self.axis, inputs[0]) == 0

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """The sizes of the axes from `axis` on."""
        return {"weight": inputs[0][axis_of(self.axis, inputs[0]) :]} if self.affine else {}


class Lrn(LayerBase):
    """x / (bias + alpha / size * sum(x^2))^beta, the sum over `size` channels around each."""

    op: Literal["lrn"] = "lrn"
    size: Positive = Field(
        description="channels that are summed: (size - 1) / 2 before, rounded down, the rest after"
    )
    alpha: Real = Field(default=1e-4, description="factor of the sum, which is divided by size")
    beta: Real = Field(default=0.75, description="the power")
    bias: Real = Field(default=1.0, description="added to the sum")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        if len(inputs[0]) < 2:
            raise ShapeError(f"needs channels in axis 1, got {show(inputs[0])}")
        return inputs[0]


class LpNorm(LayerBase):
    """x / (sum |x|^p)^(1 / p) along an axis; 0 where that norm is 0."""

    op: Literal["lp_norm"] = "lp_norm"
    axis: Integer = Field(default=-1, description="along which; negative: from the end")
    p: Real = Field(default=2.0, gt=0, description="the power: 2 for the Euclidean norm")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        axis_of(self.axis, inputs[0])
        return inputs[0]

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where the axis is the first."""
        return axis_of(self.axis, inputs[0]) == 0


AnyNorm = BatchNorm | InstanceNorm | GroupNorm | LayerNorm | RmsNorm | Lrn | LpNorm
