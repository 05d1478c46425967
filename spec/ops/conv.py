"""Convolution, plain and transposed, over one and two axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.activation import ActivationField
from cnngen.spec.ops.base import LayerBase, Name, show
from cnngen.spec.ops.window import Sizes, sizes, spatial, window_pads, window_shape
from cnngen.spec.types import (
    NonNegative,
    Padding,
    Padding1,
    Pair0,
    Positive,
    Shape,
    Sides,
    Sides1,
    Size1,
    Size2,
)

_GROUPS = "channels are split into so many independent convolutions"


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


class Convolution(WeightedLayer):
    """What conv1d and conv2d share; their fields are numbers for one axis, tuples for two."""

    spatial_axes: ClassVar[int]
    out_channels: Positive = Field(description="number of filters")
    kernel: int | Sizes
    stride: int | Sizes = 1
    padding: Sizes | str
    dilation: int | Sizes = 1
    groups: Positive = Field(default=1, description=_GROUPS)

    def pads(self, input_shape: Shape) -> Sizes:
        """The padding for that input: (left, right), or (top, left, bottom, right)."""
        space = spatial(input_shape, self.spatial_axes)
        return window_pads(self.padding, space, sizes(self.kernel), sizes(self.stride), sizes(self.dilation))

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, out_channels, L'] or [N, out_channels, H', W']."""
        space = spatial(inputs[0], self.spatial_axes)
        _check_groups(inputs[0][1], self.out_channels, self.groups)
        window = (sizes(self.kernel), sizes(self.stride), sizes(self.dilation))
        return (inputs[0][0], self.out_channels, *window_shape(space, *window, self.pads(inputs[0])))

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """The weight [K, C / groups, S] or [K, C / groups, R, S], and the bias [K]."""
        weight = (self.out_channels, inputs[0][1] // self.groups, *sizes(self.kernel))
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}


class Conv1d(Convolution):
    """1-D convolution of [N, C, L]; weight [out_channels, C / groups, kernel], bias [out_channels]."""

    op: Literal["conv1d"] = "conv1d"
    spatial_axes: ClassVar[int] = 1
    kernel: Size1 = Field(description="filter size")
    stride: Size1 = Field(default=1, description="step")
    padding: Padding1 = Field(
        default=(0, 0), description='zeros around the input: a number, [left, right], "same" or "same_lower"'
    )
    dilation: Size1 = Field(default=1, description="distance of filter taps")


class Conv2d(Convolution):
    """2-D convolution; weight [out_channels, C / groups, kernel h, kernel w], bias [out_channels]."""

    op: Literal["conv2d"] = "conv2d"
    spatial_axes: ClassVar[int] = 2
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


class TransposedConvolution(WeightedLayer):
    """What conv_transpose1d and conv_transpose2d share: the gradient of a convolution by its input."""

    spatial_axes: ClassVar[int]
    out_channels: Positive = Field(description="channels of the result")
    kernel: int | Sizes
    stride: int | Sizes = 1
    padding: Sizes
    output_padding: int | Sizes = 0
    dilation: int | Sizes = 1
    groups: Positive = Field(default=1, description=_GROUPS)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, out_channels, L'] or [N, out_channels, H', W']."""
        space = spatial(inputs[0], self.spatial_axes)
        _check_groups(inputs[0][1], self.out_channels, self.groups)
        before, after = self.padding[: len(space)], self.padding[len(space) :]
        reach = [d * (k - 1) + 1 for k, d in zip(sizes(self.kernel), sizes(self.dilation), strict=True)]
        whole = [
            (size - 1) * step + window + more
            for size, step, window, more in zip(
                space, sizes(self.stride), reach, sizes(self.output_padding), strict=True
            )
        ]
        result = tuple(size - first - last for size, first, last in zip(whole, before, after, strict=True))
        if min(result) < 1:
            raise ShapeError(
                f"padding {show(self.padding)} leaves nothing of the result, {show(tuple(whole))} without it"
            )
        return (inputs[0][0], self.out_channels, *result)

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """The weight [C, K / groups, S] or [C, K / groups, R, S], and the bias [K]."""
        weight = (inputs[0][1], self.out_channels // self.groups, *sizes(self.kernel))
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}


class ConvTranspose1d(TransposedConvolution):
    """Transposed 1-D convolution of [N, C, L]; weight [C, out_channels / groups, kernel], bias [out_channels]."""

    op: Literal["conv_transpose1d"] = "conv_transpose1d"
    spatial_axes: ClassVar[int] = 1
    kernel: Size1 = Field(description="filter size")
    stride: Size1 = Field(default=1, description="distance of an input element's results")
    padding: Sides1 = Field(default=(0, 0), description="cut from the result: a number or [left, right]")
    output_padding: NonNegative = Field(default=0, description="added to the result's end")
    dilation: Size1 = Field(default=1, description="distance of filter taps")


class ConvTranspose2d(TransposedConvolution):
    """Transposed 2-D convolution; weight [C, out_channels / groups, kernel h, kernel w], bias [out_channels]."""

    op: Literal["conv_transpose2d"] = "conv_transpose2d"
    spatial_axes: ClassVar[int] = 2
    kernel: Size2 = Field(description="filter size: a number or [height, width]")
    stride: Size2 = Field(
        default=(1, 1), description="distance of an input pixel's results: a number or [height, width]"
    )
    padding: Sides = Field(
        default=(0, 0, 0, 0),
        description="cut from the result: a number, [height, width] or [top, left, bottom, right]",
    )
    output_padding: Pair0 = Field(
        default=(0, 0), description="added to the result's bottom and right: a number or [height, width]"
    )
    dilation: Size2 = Field(
        default=(1, 1), description="distance of filter taps: a number or [height, width]"
    )


def _check_groups(channels: int, out_channels: int, groups: int) -> None:
    if channels % groups:
        raise ShapeError(f"{channels} input channels cannot be split into {groups} groups")
    if out_channels % groups:
        raise ShapeError(f"{out_channels} out_channels cannot be split into {groups} groups")


AnyConvolution = Conv1d | Conv2d | ConvTranspose1d | ConvTranspose2d
