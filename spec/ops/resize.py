"""Resizing of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, image
from cnngen.spec.ops.indexing import axes_of
from cnngen.spec.types import Flag, Integer, Positive, Real, Shape, Size2


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


class Resize(LayerBase):
    """Resizes along any axes, as ONNX's Resize defines it."""

    op: Literal["resize"] = "resize"
    axes: tuple[Integer, ...] | None = Field(
        default=None, min_length=1, description="along which; default: all from axis 2 on"
    )
    scales: tuple[Annotated[Real, Field(gt=0)], ...] | None = Field(
        default=None, min_length=1, description="factor of each axis; the size is rounded down"
    )
    sizes: tuple[Positive, ...] | None = Field(
        default=None, min_length=1, description="output size of each axis instead"
    )
    mode: Literal["nearest", "linear", "cubic"] = Field(
        default="nearest", description="how to read between elements"
    )
    coordinates: Literal[
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_half_pixel_for_nn",
        "tf_crop_and_resize",
    ] = Field(default="half_pixel", description="where an output element lies in the input")
    nearest: Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] = Field(
        default="round_prefer_floor", description="mode nearest: how a place becomes an index"
    )
    cubic_coeff: Real = Field(default=-0.75, description="mode cubic: the coefficient a")
    exclude_outside: Flag = Field(
        default=False, description="whether what lies outside has weight 0; false: it repeats the edge"
    )
    antialias: Flag = Field(default=False, description="a wider filter where the output is smaller")
    extrapolation: Real = Field(default=0.0, description="tf_crop_and_resize: the value outside the input")
    roi: tuple[Real, ...] | None = Field(
        default=None, description="tf_crop_and_resize: the starts along the axes, then the ends, 0 to 1"
    )

    @model_validator(mode="after")
    def _fields_meet(self) -> Resize:
        if (self.scales is None) == (self.sizes is None):
            raise PydanticCustomError("resize", "give scales or sizes, one of them")
        count = len(self.scales or self.sizes or ())
        if self.axes is not None and len(self.axes) != count:
            raise PydanticCustomError("resize", "give axes and scales (or sizes) one entry an axis")
        if (self.roi is not None) != (self.coordinates == "tf_crop_and_resize"):
            raise PydanticCustomError("resize", "roi and coordinates: tf_crop_and_resize go together")
        if self.roi is not None and len(self.roi) != 2 * count:
            raise PydanticCustomError("resize", "roi needs a start of every axis, then an end of every axis")
        return self

    def resized(self, shape: Shape) -> tuple[int, ...]:
        """The axes that are resized, counted from the front, or ShapeError."""
        axes = tuple(range(2, len(shape))) if self.axes is None else axes_of(self.axes, shape)
        count = len(self.scales or self.sizes or ())
        if len(axes) != count:
            raise ShapeError(f"has {count} {'scales' if self.scales else 'sizes'} for {len(axes)} axes")
        return axes

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's, with the resized axes' new sizes."""
        result = list(inputs[0])
        for place, axis in enumerate(self.resized(inputs[0])):
            if self.sizes is not None:
                result[axis] = self.sizes[place]
            elif self.scales is not None:
                # A factor that was rounded to float32 still means what it was: 10 * 0.7 is 7.
                result[axis] = math.floor(inputs[0][axis] * self.scales[place] * (1 + 1e-7))
            if result[axis] < 1:
                raise ShapeError(f"leaves nothing of axis {axis}, which has {inputs[0][axis]}")
        return tuple(result)

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where axis 0 is resized."""
        return 0 in self.resized(inputs[0])


AnyResize = Upsample | Resize
