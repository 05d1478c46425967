"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, Pads, image, window_pads, window_shape
from cnngen.spec.types import Flag, Padding, Shape, Size2

_STRIDE = "step: a number or [height, width]; default: the kernel's size"
_PADDING = (
    'a number, [height, width], [top, left, bottom, right], "same" or "same_lower"; less than the kernel'
)
_CEIL = "also a last window that begins inside the input and ends outside"


class _Pool2d(LayerBase):
    kernel: Size2 = Field(description="window size: a number or [height, width]")
    stride: Size2 = Field(default_factory=lambda data: data.get("kernel", (1, 1)), description=_STRIDE)
    padding: Padding = Field(default=(0, 0, 0, 0), description=_PADDING)
    ceil_mode: Flag = Field(default=False, description=_CEIL)

    def _dilation(self) -> tuple[int, int]:
        return (1, 1)

    def pads(self, input_shape: Shape) -> Pads:
        """The padding for that input as (top, left, bottom, right)."""
        return window_pads(self.padding, input_shape, self.kernel, self.stride, self._dilation())

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C, H', W']."""
        n, c, _, _ = image(inputs[0])
        pads, dilation = self.pads(inputs[0]), self._dilation()
        for side, pad, kernel, step in zip(
            ("top", "left", "bottom", "right"), pads, self.kernel * 2, dilation * 2, strict=True
        ):
            # a window may not lie in the padding alone
            if pad > step * (kernel - 1):
                raise ShapeError(
                    f"padding {pad} at the {side} is not less than the window's {step * (kernel - 1) + 1}"
                )
        return (n, c, *window_shape(inputs[0], self.kernel, self.stride, dilation, pads, self.ceil_mode))


class MaxPool2d(_Pool2d):
    """The largest element of each window; padding never wins."""

    op: Literal["max_pool2d"] = "max_pool2d"
    dilation: Size2 = Field(
        default=(1, 1), description="distance of window taps: a number or [height, width]"
    )

    def _dilation(self) -> tuple[int, int]:
        return self.dilation


class AvgPool2d(_Pool2d):
    """The mean of each window."""

    op: Literal["avg_pool2d"] = "avg_pool2d"
    count_include_pad: Flag = Field(
        default=False, description="whether padding counts as elements of value 0"
    )


class GlobalAvgPool(LayerBase):
    """The mean over height and width: [N, C, 1, 1]."""

    op: Literal["global_avg_pool"] = "global_avg_pool"
    keepdims: Flag = Field(default=True, description="false: the output is [N, C]")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C, 1, 1] or [N, C]."""
        n, c, _, _ = image(inputs[0])
        return (n, c, 1, 1) if self.keepdims else (n, c)
