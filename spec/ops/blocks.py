"""Rearrangements between channels and pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, image, show
from cnngen.spec.ops.window import Sizes, window_pads, window_shape
from cnngen.spec.types import Padding, Positive, Shape, Size2

_MODE = (
    "order of the channels that become a block, or that it becomes: dcr: the block's row, its column, the "
    "other channels; crd: the other channels first (as torch's pixel_shuffle)"
)


class DepthToSpace(LayerBase):
    """Each group of block x block channels becomes a square of pixels."""

    op: Literal["depth_to_space"] = "depth_to_space"
    block: Positive = Field(description="side of the square")
    mode: Literal["dcr", "crd"] = Field(default="dcr", description=_MODE)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C / block^2, H * block, W * block]."""
        n, c, h, w = image(inputs[0])
        if c % self.block**2:
            raise ShapeError(f"{c} channels do not make squares of {self.block}x{self.block}")
        return (n, c // self.block**2, h * self.block, w * self.block)


class SpaceToDepth(LayerBase):
    """Each square of pixels becomes block x block channels."""

    op: Literal["space_to_depth"] = "space_to_depth"
    block: Positive = Field(description="side of the square")
    mode: Literal["dcr", "crd"] = Field(default="dcr", description=_MODE)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C * block^2, H / block, W / block]."""
        n, c, h, w = image(inputs[0])
        if h % self.block or w % self.block:
            raise ShapeError(f"{h}x{w} pixels cannot be split into squares of {self.block}x{self.block}")
        return (n, c * self.block**2, h // self.block, w // self.block)


class ChannelShuffle(LayerBase):
    """The channels as a [groups, C / groups] table, transposed."""

    op: Literal["channel_shuffle"] = "channel_shuffle"
    groups: Positive = Field(description="rows of the table")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        if len(inputs[0]) < 2:
            raise ShapeError(f"needs channels in axis 1, got {show(inputs[0])}")
        if inputs[0][1] % self.groups:
            raise ShapeError(f"{inputs[0][1]} channels cannot be split into {self.groups} groups")
        return inputs[0]


class Unfold2d(LayerBase):
    """Every window of an image as a column: [N, C * kernel h * kernel w, windows]."""

    op: Literal["unfold2d"] = "unfold2d"
    kernel: Size2 = Field(description="window size: a number or [height, width]")
    stride: Size2 = Field(default=(1, 1), description="step: a number or [height, width]")
    padding: Padding = Field(
        default=(0, 0, 0, 0),
        description='zeros around the input: a number, [height, width], [top, left, bottom, right], "same" or '
        '"same_lower"',
    )
    dilation: Size2 = Field(
        default=(1, 1), description="distance of window taps: a number or [height, width]"
    )

    def pads(self, input_shape: Shape) -> Sizes:
        """The padding for that input as (top, left, bottom, right)."""
        return window_pads(self.padding, input_shape[2:], self.kernel, self.stride, self.dilation)

    def windows(self, input_shape: Shape) -> Sizes:
        """How many windows there are down and across."""
        pads = self.pads(input_shape)
        return window_shape(input_shape[2:], self.kernel, self.stride, self.dilation, pads)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C * kernel h * kernel w, windows]."""
        n, c, _, _ = image(inputs[0])
        down, across = self.windows(inputs[0])
        return (n, c * self.kernel[0] * self.kernel[1], down * across)


AnyBlock = DepthToSpace | SpaceToDepth | ChannelShuffle | Unfold2d
