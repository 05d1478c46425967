"""Layers that move data and compute nothing: joined, padded, under another shape or in another order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, axis_of, broadcast, image, show
from cnngen.spec.types import Integer, Positive, RealOrInfinite, Shape, Sides


class Concat(LayerBase):
    """The inputs one after the other along an axis."""

    op: Literal["concat"] = "concat"
    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = None
    axis: Integer = Field(default=1, description="along which; negative: from the end")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The first input's, with the axis summed."""
        first = inputs[0]
        axis = axis_of(self.axis, first)
        for other in inputs[1:]:
            if len(other) != len(first):
                raise ShapeError(f"cannot join {show(first)} and {show(other)}: they differ in rank")
            for k, (a, b) in enumerate(zip(first, other, strict=True)):
                if a != b and k != axis:
                    raise ShapeError(
                        f"cannot join {show(first)} and {show(other)} along axis {axis}: "
                        f"axis {k} has {a} and {b}"
                    )
        return (*first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :])

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where axis 0 is the one that is joined."""
        return axis_of(self.axis, inputs[0]) == 0


class Pad(LayerBase):
    """A border, around height and width (`padding`) or along any axis (`pads`)."""

    op: Literal["pad"] = "pad"
    padding: Sides | None = Field(
        default=None, description="pixels: a number, [height, width] or [top, left, bottom, right]"
    )
    pads: tuple[tuple[Integer, Integer], ...] | None = Field(
        default=None,
        min_length=1,
        description="instead, for any rank: [before, after] of every axis; negative: so many are cut off first",
    )
    mode: Literal["constant", "reflect", "edge", "wrap"] = Field(
        default="constant",
        description="what the border shows: `value`, the mirror image without the edge itself, the edge, or the "
        "other end",
    )
    value: RealOrInfinite = Field(default=0.0, description="of a constant border")

    @model_validator(mode="after")
    def _one_spelling_of_pads(self) -> Pad:
        if (self.padding is None) == (self.pads is None):
            raise PydanticCustomError("pad", "give padding or pads, one of them")
        if self.value and self.mode != "constant":
            raise PydanticCustomError("pad", "value needs mode: constant")
        return self

    def both_sides(self, shape: Shape) -> tuple[tuple[int, int], ...]:
        """(before, after) of every axis of an input, or ShapeError."""
        if self.padding is not None:
            image(shape)
            top, left, bottom, right = self.padding
            return ((0, 0), (0, 0), (top, bottom), (left, right))
        pads = self.pads or ()
        if len(pads) != len(shape):
            raise ShapeError(f"pads has {len(pads)} entries, [before, after] for each axis of {show(shape)}")
        return pads

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Every axis with what is added before and after."""
        result = []
        for axis, (extent, (before, after)) in enumerate(
            zip(inputs[0], self.both_sides(inputs[0]), strict=True)
        ):
            left = extent + min(before, 0) + min(after, 0)
            if left < 1:
                raise ShapeError(f"pads {[before, after]} leave nothing of axis {axis}, which has {extent}")
            most = {"reflect": left - 1, "wrap": left}.get(self.mode)
            if most is not None and max(before, after) > most:
                raise ShapeError(
                    f"pads {[before, after]} of axis {axis}: mode {self.mode} allows at most {most} here"
                )
            result.append(left + max(before, 0) + max(after, 0))
        return tuple(result)

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where axis 0 is padded."""
        return self.both_sides(inputs[0])[0] != (0, 0)


class Flatten(LayerBase):
    """The axes from `axis` on as one."""

    op: Literal["flatten"] = "flatten"
    axis: Integer = Field(default=1, description="the first axis that is merged; negative: from the end")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[..., product of the merged axes]."""
        axis = axis_of(self.axis, inputs[0])
        return (*inputs[0][:axis], math.prod(inputs[0][axis:]))

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where axis 0 is among the merged ones."""
        return axis_of(self.axis, inputs[0]) == 0


class Reshape(LayerBase):
    """The same elements in logical (NCHW) order under another shape."""

    op: Literal["reshape"] = "reshape"
    shape: tuple[Annotated[int, Field(strict=True, ge=-1)], ...] = Field(
        min_length=1,
        description="0 copies the input's axis, one -1 is inferred; start with 0 to keep the batch",
    )

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """`shape`, with 0 and -1 worked out."""
        source = inputs[0]
        if self.shape.count(-1) > 1:
            raise ShapeError(f"only one axis of {show(self.shape)} can be -1")
        result: list[int] = []
        for axis, size in enumerate(self.shape):
            if size == 0 and axis >= len(source):
                raise ShapeError(
                    f"axis {axis} of {show(self.shape)} is 0 (copy), but {show(source)} has no such axis"
                )
            result.append(source[axis] if size == 0 else size)
        known = math.prod(size for size in result if size != -1)
        total = math.prod(source)
        if -1 in result and total % known == 0:
            result[result.index(-1)] = total // known
        if math.prod(result) != total:
            raise ShapeError(f"{show(source)} has {total} elements, which do not fill {show(self.shape)}")
        return tuple(result)


class Transpose(LayerBase):
    """The axes in another order."""

    op: Literal["transpose"] = "transpose"
    axes: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = Field(
        min_length=1, description="output axis k is input axis axes[k]"
    )

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's axes in the order `axes`."""
        if sorted(self.axes) != list(range(len(inputs[0]))):
            raise ShapeError(f"axes {show(self.axes)} do not name each axis of {show(inputs[0])} once")
        return tuple(inputs[0][axis] for axis in self.axes)


class Expand(LayerBase):
    """The input repeated along axes of size 1, by numpy's broadcast."""

    op: Literal["expand"] = "expand"
    shape: tuple[Positive, ...] = Field(
        min_length=1, description="what the input is broadcast to; 1: as the input has it"
    )

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The broadcast of the input's and `shape`."""
        return broadcast(inputs[0], self.shape)

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where the result's axis 0 is not the input's."""
        rank = len(inputs[0])
        return len(self.shape) > rank or (len(self.shape) == rank and self.shape[0] != 1)


class Tile(LayerBase):
    """The input several times, one after the other, along each axis."""

    op: Literal["tile"] = "tile"
    repeats: tuple[Positive, ...] = Field(min_length=1, description="how often, for every axis")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Every axis times its repeats."""
        if len(self.repeats) != len(inputs[0]):
            raise ShapeError(f"repeats {show(self.repeats)} is not one number an axis of {show(inputs[0])}")
        return tuple(a * b for a, b in zip(inputs[0], self.repeats, strict=True))

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:  # noqa: ARG002
        """Where axis 0 is repeated."""
        return self.repeats[0] != 1


AnyMovement = Concat | Pad | Flatten | Reshape | Transpose | Expand | Tile
