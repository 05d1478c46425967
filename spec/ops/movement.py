"""Layers that move data and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, axis_of, image, show
from cnngen.spec.types import Integer, Positive, Real, Shape, Sides


class Concat(LayerBase):
    """The inputs one after the other along an axis."""

    op: Literal["concat"] = "concat"
    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = None
    axis: Integer = Field(default=1, description="along which; negative: from the end")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The first input's, with the axis summed."""
        first = inputs[0]
        axis = axis_of(self.axis, first, first=1)
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


class Pad(LayerBase):
    """A constant border around height and width."""

    op: Literal["pad"] = "pad"
    padding: Sides = Field(description="pixels: a number, [height, width] or [top, left, bottom, right]")
    value: Real = Field(default=0.0, description="of the border")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, C, top + H + bottom, left + W + right]."""
        n, c, h, w = image(inputs[0])
        top, left, bottom, right = self.padding
        return (n, c, top + h + bottom, left + w + right)


class Flatten(LayerBase):
    """The axes from `axis` on as one."""

    op: Literal["flatten"] = "flatten"
    axis: Integer = Field(default=1, description="the first axis that is merged; negative: from the end")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[..., product of the merged axes]."""
        axis = axis_of(self.axis, inputs[0], first=1)
        return (*inputs[0][:axis], math.prod(inputs[0][axis:]))


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


class Zeros(LayerBase):
    """A constant that is known to be zero; takes no input."""

    op: Literal["zeros"] = "zeros"
    min_inputs: ClassVar[int] = 0
    max_inputs: ClassVar[int | None] = 0
    shape: tuple[Positive, ...] = Field(min_length=1, description="without the batch, e.g. [64, 8, 8]")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, *shape]."""
        return (inputs[0][0], *self.shape)
