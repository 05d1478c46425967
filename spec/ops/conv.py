"""Convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.activation import ActivationField
from cnngen.spec.ops.base import LayerBase, Name, Pads, image, window_pads, window_shape
from cnngen.spec.types import Padding, Positive, Shape, Size2


def _bias(value: object) -> object:
    if isinstance(value, (bool, str)):
        return value
    raise PydanticCustomError(
        "bias", "expected true, false or the name of a tensor, got {got}", {"got": repr(value)}
    )


class WeightedLayer(LayerBase):
    """A layer with a weight, a bias and an activation."""

    bias: Annotated[bool | Name, BeforeValidator(_bias, json_schema_input_type=bool | Name)] = Field(
        default=True, description="whether a bias is added; a text names its tensor"
    )
    weight: Name | None = Field(
        default=None, description="name of the weight's tensor; default: <layer>.weight"
    )
    activation: ActivationField | None = Field(
        default=None, description="applied to the result: a name, or {op: leaky_relu, slope: 0.2}"
    )

    def weight_name(self, role: str) -> str:
        """The name that `weight` or `bias` gives, else `<layer>.<role>`."""
        if role == "weight" and self.weight is not None:
            return self.weight
        if role == "bias" and isinstance(self.bias, str):
            return self.bias
        return super().weight_name(role)


class Conv2d(WeightedLayer):
    """2-D convolution; weight [out_channels, C / groups, kernel h, kernel w], bias [out_channels]."""

    op: Literal["conv2d"] = "conv2d"
    out_channels: Positive = Field(description="number of filters")
    kernel: Size2 = Field(description="filter size: a number or [height, width]")
    stride: Size2 = Field(default=(1, 1), description="step: a number or [height, width]")
    padding: Padding = Field(
        default=(0, 0, 0, 0),
        description='zeros around the input: a number, [height, width], [top, left, bottom, right], "same" '
        '(ceil(size / stride) outputs, an odd zero at the end) or "same_lower" (at the beginning)',
    )
    dilation: Size2 = Field(
        default=(1, 1), description="distance of filter taps: a number or [height, width]"
    )
    groups: Positive = Field(
        default=1, description="channels are split into so many independent convolutions"
    )

    def pads(self, input_shape: Shape) -> Pads:
        """The padding for that input as (top, left, bottom, right)."""
        return window_pads(self.padding, input_shape, self.kernel, self.stride, self.dilation)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, out_channels, H', W']."""
        n, c, _, _ = image(inputs[0])
        if c % self.groups:
            raise ShapeError(f"{c} input channels cannot be split into {self.groups} groups")
        if self.out_channels % self.groups:
            raise ShapeError(f"{self.out_channels} out_channels cannot be split into {self.groups} groups")
        h, w = window_shape(inputs[0], self.kernel, self.stride, self.dilation, self.pads(inputs[0]))
        return (n, self.out_channels, h, w)

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """The weight [K, C / groups, R, S] and the bias [K]."""
        weight = (self.out_channels, inputs[0][1] // self.groups, *self.kernel)
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}
