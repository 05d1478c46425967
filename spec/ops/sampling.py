"""Reading an image at places that another layer computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, show
from cnngen.spec.types import Flag, Shape


class GridSample(LayerBase):
    """`inputs: [x, grid]`: x (N, C, H, W) read at places (x, y) of grid (N, H', W', 2), -1 to 1 across the image."""

    op: Literal["grid_sample"] = "grid_sample"
    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2
    mode: Literal["bilinear", "nearest", "bicubic"] = Field(
        default="bilinear", description="how to read between pixels"
    )
    padding: Literal["zeros", "border", "reflection"] = Field(
        default="zeros", description="what lies outside the image: 0, its edge, or its mirror image"
    )
    align_corners: Flag = Field(
        default=False,
        description="whether -1 and 1 are the centres of the corner pixels, or their outer edges",
    )

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C, H', W']."""
        x, grid = inputs
        if len(x) != 4 or len(grid) != 4 or grid[0] != x[0] or grid[3] != 2:
            raise ShapeError(
                f"needs x [N, C, H, W] and a grid [N, H', W', 2], got {show(x)} and {show(grid)}"
            )
        return (x[0], x[1], grid[1], grid[2])
