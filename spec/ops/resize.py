"""Resizing of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, image
from cnngen.spec.types import Flag, Shape, Size2


class Upsample(LayerBase):
    """Resizes height and width; nearest reads pixel floor(y * in / out)."""

    op: Literal["upsample"] = "upsample"
    scale: Size2 | None = Field(default=None, description="whole factor: a number or [height, width]")
    size: Size2 | None = Field(
        default=None, description="output size instead, smaller ones too: [height, width]"
    )
    mode: Literal["nearest", "bilinear"] = Field(
        default="nearest", description="nearest, or linear along both axes"
    )
    align_corners: Flag = Field(
        default=False,
        description="bilinear: corner pixels' centres stay where they are; false: pixels are areas, whose "
        "centres lie at (y + 0.5) * in / out - 0.5",
    )

    @model_validator(mode="after")
    def _scale_or_size(self) -> Upsample:
        if (self.scale is None) == (self.size is None):
            raise PydanticCustomError("upsample", "give scale or size, one of them")
        if self.align_corners and self.mode == "nearest":
            raise PydanticCustomError("upsample", "align_corners needs mode: bilinear")
        return self

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C, H', W']."""
        n, c, h, w = image(inputs[0])
        if self.size is not None:
            return (n, c, *self.size)
        if self.scale is None:
            raise ShapeError("has neither scale nor size")
        return (n, c, h * self.scale[0], w * self.scale[1])
