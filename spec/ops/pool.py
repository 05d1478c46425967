"""Pooling over windows, over adaptive parts and over whole images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, show, without
from cnngen.spec.ops.window import Sizes, check_pads, sizes, spatial, window_pads, window_shape
from cnngen.spec.types import Flag, Padding, Padding1, Real, Shape, Sides, Sides1, Size1, Size2

_CEIL = "also a last window that begins inside the input and ends outside"
_COUNT = "whether padding counts as elements of value 0"
_POWER = "the power: 2 for the Euclidean norm"


class WindowPool(LayerBase):
    """What the pools over windows share; their fields are numbers for one axis, tuples for two."""

    spatial_axes: ClassVar[int]
    kernel: int | Sizes
    stride: int | Sizes
    padding: Sizes | str
    dilation: int | Sizes
    ceil_mode: Flag = Field(default=False, description=_CEIL)

    def pads(self, input_shape: Shape) -> Sizes:
        """The padding for that input: (left, right), or (top, left, bottom, right)."""
        space = spatial(input_shape, self.spatial_axes)
        return window_pads(self.padding, space, sizes(self.kernel), sizes(self.stride), sizes(self.dilation))

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C, L'] or [N, C, H', W']."""
        space, pads = spatial(inputs[0], self.spatial_axes), self.pads(inputs[0])
        kernel, stride, dilation = sizes(self.kernel), sizes(self.stride), sizes(self.dilation)
        check_pads(pads, kernel, dilation)
        return (*inputs[0][:2], *window_shape(space, kernel, stride, dilation, pads, self.ceil_mode))


def _stride(hint: str) -> Any:  # noqa: ANN401 - as Field itself
    return Field(
        default_factory=lambda data: data.get("kernel", 1),
        description=f"step{hint}; default: the kernel's size",
    )


class _Pool1d(WindowPool):
    spatial_axes: ClassVar[int] = 1
    kernel: Size1 = Field(description="window size")
    stride: Size1 = _stride("")
    padding: Padding1 = Field(
        default=(0, 0), description='a number, [left, right], "same" or "same_lower"; less than the kernel'
    )
    ceil_mode: Flag = Field(default=False, description=_CEIL)
    dilation: Size1 = Field(default=1, description="distance of window taps")


class _Pool2d(WindowPool):
    spatial_axes: ClassVar[int] = 2
    kernel: Size2 = Field(description="window size: a number or [height, width]")
    stride: Size2 = _stride(": a number or [height, width]")
    padding: Padding = Field(
        default=(0, 0, 0, 0),
        description="a number, [height, width], [top, left, bottom, right], "
        '"same" or "same_lower"; less than the kernel',
    )
    ceil_mode: Flag = Field(default=False, description=_CEIL)
    dilation: Size2 = Field(
        default=(1, 1), description="distance of window taps: a number or [height, width]"
    )


class MaxPool1d(_Pool1d):
    """The largest element of each window; padding never wins."""

    op: Literal["max_pool1d"] = "max_pool1d"


class MaxPool2d(_Pool2d):
    """The largest element of each window; padding never wins."""

    op: Literal["max_pool2d"] = "max_pool2d"


class MaxPool1dIndices(_Pool1d):
    """Where max_pool1d finds each element, the first of equals: its place along L, as int32."""

    op: Literal["max_pool1d_indices"] = "max_pool1d_indices"


class MaxPool2dIndices(_Pool2d):
    """Where max_pool2d finds each element, the first of equals: h * W + w in the input, as int32."""

    op: Literal["max_pool2d_indices"] = "max_pool2d_indices"


class AvgPool1d(_Pool1d):
    """The mean of each window."""

    op: Literal["avg_pool1d"] = "avg_pool1d"
    count_include_pad: Flag = Field(default=False, description=_COUNT)


class AvgPool2d(_Pool2d):
    """The mean of each window."""

    op: Literal["avg_pool2d"] = "avg_pool2d"
    count_include_pad: Flag = Field(default=False, description=_COUNT)


class LpPool1d(_Pool1d):
    """The norm of each window: (sum |x|^p)^(1 / p)."""

    op: Literal["lp_pool1d"] = "lp_pool1d"
    p: Real = Field(default=2.0, gt=0, description=_POWER)


class LpPool2d(_Pool2d):
    """The norm of each window: (sum |x|^p)^(1 / p)."""

    op: Literal["lp_pool2d"] = "lp_pool2d"
    p: Real = Field(default=2.0, gt=0, description=_POWER)


class MaxUnpool(LayerBase):
    """What max_unpool1d and max_unpool2d share."""

    spatial_axes: ClassVar[int]
    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2
    kernel: int | Sizes
    stride: int | Sizes
    padding: Sizes
    output_size: int | Sizes | None

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C, L'] or [N, C, H', W']."""
        x, indices = inputs
        space = spatial(x, self.spatial_axes)
        if x != indices:
            raise ShapeError(f"needs an index for each element, got {show(x)} and indices {show(indices)}")
        if self.output_size is not None:
            return (*x[:2], *sizes(self.output_size))
        before, after = self.padding[: len(space)], self.padding[len(space) :]
        result = tuple(
            (size - 1) * step + window - first - last
            for size, step, window, first, last in zip(
                space, sizes(self.stride), sizes(self.kernel), before, after, strict=True
            )
        )
        if min(result) < 1:
            raise ShapeError(f"padding {show(self.padding)} leaves nothing of the result")
        return (*x[:2], *result)


class MaxUnpool1d(MaxUnpool):
    """Puts each element where its index says, which is one of max_pool1d_indices: a place in its window; else 0.

    Where several windows have an element for one place, the last one's stays.
    """

    op: Literal["max_unpool1d"] = "max_unpool1d"
    spatial_axes: ClassVar[int] = 1
    kernel: Size1 = Field(description="window size of the max pool")
    stride: Size1 = _stride("")
    padding: Sides1 = Field(default=(0, 0), description="of the max pool: a number or [left, right]")
    output_size: Size1 | None = Field(
        default=None, description="of the result; default: the smallest that the max pool may have read"
    )


class MaxUnpool2d(MaxUnpool):
    """Puts each element where its index says, which is one of max_pool2d_indices: a place in its window; else 0.

    Where several windows have an element for one place, the last one's stays.
    """

    op: Literal["max_unpool2d"] = "max_unpool2d"
    spatial_axes: ClassVar[int] = 2
    kernel: Size2 = Field(description="window size of the max pool: a number or [height, width]")
    stride: Size2 = _stride(": a number or [height, width]")
    padding: Sides = Field(
        default=(0, 0, 0, 0),
        description="of the max pool: a number, [height, width] or [top, left, bottom, right]",
    )
    output_size: Size2 | None = Field(
        default=None,
        description="of the result: [height, width]; default: the smallest that the max pool may have read",
    )


class AdaptivePool(LayerBase):
    """What the adaptive pools share: window i reaches from floor(i * in / out) to ceil((i + 1) * in / out)."""

    spatial_axes: ClassVar[int]
    output_size: int | Sizes

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C, *output_size]."""
        spatial(inputs[0], self.spatial_axes)
        return (*inputs[0][:2], *sizes(self.output_size))


class _Adaptive1d(AdaptivePool):
    spatial_axes: ClassVar[int] = 1
    output_size: Size1 = Field(description="windows along L")


class _Adaptive2d(AdaptivePool):
    spatial_axes: ClassVar[int] = 2
    output_size: Size2 = Field(description="windows: a number or [height, width]")


class AdaptiveAvgPool1d(_Adaptive1d):
    """The mean of each of output_size windows, which cover the input."""

    op: Literal["adaptive_avg_pool1d"] = "adaptive_avg_pool1d"


class AdaptiveAvgPool2d(_Adaptive2d):
    """The mean of each of output_size windows, which cover the input."""

    op: Literal["adaptive_avg_pool2d"] = "adaptive_avg_pool2d"


class AdaptiveMaxPool1d(_Adaptive1d):
    """The largest element of each of output_size windows, which cover the input."""

    op: Literal["adaptive_max_pool1d"] = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_Adaptive2d):
    """The largest element of each of output_size windows, which cover the input."""

    op: Literal["adaptive_max_pool2d"] = "adaptive_max_pool2d"


class GlobalPool(LayerBase):
    """What the pools over all of an image share."""

    keepdims: Flag = Field(default=True, description="false: the output is [N, C]")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C, 1, ...] or [N, C]."""
        if len(inputs[0]) < 3:
            raise ShapeError(f"needs an input [N, C, ...] of at least three axes, got {show(inputs[0])}")
        return without(inputs[0], range(2, len(inputs[0])), keepdims=self.keepdims)


class GlobalAvgPool(GlobalPool):
    """The mean over all axes from 2 on, such as height and width: [N, C, 1, 1]."""

    op: Literal["global_avg_pool"] = "global_avg_pool"


class GlobalMaxPool(GlobalPool):
    """The largest element over all axes from 2 on, such as height and width: [N, C, 1, 1]."""

    op: Literal["global_max_pool"] = "global_max_pool"


class GlobalLpPool(GlobalPool):
    """The norm over all axes from 2 on: (sum |x|^p)^(1 / p)."""

    op: Literal["global_lp_pool"] = "global_lp_pool"
    p: Real = Field(default=2.0, gt=0, description=_POWER)


AnyPool = (
    MaxPool1d
    | MaxPool2d
    | MaxPool1dIndices
    | MaxPool2dIndices
    | AvgPool1d
    | AvgPool2d
    | LpPool1d
    | LpPool2d
    | MaxUnpool1d
    | MaxUnpool2d
    | AdaptiveAvgPool1d
    | AdaptiveAvgPool2d
    | AdaptiveMaxPool1d
    | AdaptiveMaxPool2d
    | GlobalAvgPool
    | GlobalMaxPool
    | GlobalLpPool
)
