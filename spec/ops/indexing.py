"""Parts of a tensor, and its elements in another place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, Name, axis_of, show
from cnngen.spec.types import Integer, Positive, Shape

Axes = Annotated[tuple[Integer, ...], Field(min_length=1)]


def axes_of(axes: Sequence[int], shape: Shape) -> tuple[int, ...]:
    """The axes counted from the front, or ShapeError where one does not exist or stands twice."""
    found = tuple(axis_of(axis, shape) for axis in axes)
    if len(set(found)) != len(found):
        raise ShapeError(f"axes {show(tuple(axes))} name an axis of {show(shape)} twice")
    return found


class Slice(LayerBase):
    """x[start:end:step] along some axes, as in numpy."""

    op: Literal["slice"] = "slice"
    axes: Axes = Field(description="along which; negative: from the end")
    starts: tuple[Integer | None, ...] = Field(
        description="first index of each axis; negative: from the end, null: the first in the step's direction"
    )
    ends: tuple[Integer | None, ...] = Field(
        description="the index before which each ends; negative: from the end, null: with the last"
    )
    steps: tuple[Integer, ...] | None = Field(default=None, description="default: 1; negative: backwards")

    @model_validator(mode="after")
    def _one_each(self) -> Slice:
        lengths = {len(self.axes), len(self.starts), len(self.ends), len(self.steps or self.axes)}
        if len(lengths) > 1:
            raise PydanticCustomError("slice", "give axes, starts, ends and steps one entry an axis")
        if 0 in (self.steps or ()):
            raise PydanticCustomError("slice", "a step must not be 0")
        return self

    def ranges(self, shape: Shape) -> dict[int, range]:
        """The indices that are taken, by axis, or ShapeError."""
        steps = self.steps or (1,) * len(self.axes)
        found = {}
        for axis, start, end, step in zip(
            axes_of(self.axes, shape), self.starts, self.ends, steps, strict=True
        ):
            taken = range(*slice(start, end, step).indices(shape[axis]))
            if not taken:
                text = ":".join("" if x is None else str(x) for x in (start, end, step))
                raise ShapeError(f"[{text}] takes nothing of axis {axis}, which has {shape[axis]}")
            found[axis] = taken
        return found

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's, with as many as are taken."""
        ranges = self.ranges(inputs[0])
        return tuple(len(ranges.get(axis, range(extent))) for axis, extent in enumerate(inputs[0]))

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where not all of axis 0 is taken in order."""
        every = range(inputs[0][0])
        return self.ranges(inputs[0]).get(0, every) != every


def _nested(value: object) -> object:
    """Lists as tuples, all the way down; their lengths are checked with the shape."""
    if isinstance(value, list | tuple):
        return tuple(_nested(item) for item in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise PydanticCustomError(
        "indices", "expected whole numbers, in lists of equal lengths, got {got}", {"got": repr(value)}
    )


def _shape_of(nested: object) -> Shape:
    if not isinstance(nested, tuple):
        return ()
    shapes = {_shape_of(item) for item in nested}
    if len(shapes) != 1:
        raise PydanticCustomError("indices", "the lists of indices are empty, or their lengths differ")
    return (len(nested), *shapes.pop())


def _is_rectangular(value: object) -> object:
    _shape_of(value)
    return value


def _flat(nested: Any) -> list[int]:  # noqa: ANN401
    return [number for item in nested for number in _flat(item)] if isinstance(nested, tuple) else [nested]


_INTEGERS = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {}}]}
Indices = Annotated[
    Any,
    BeforeValidator(_nested),
    AfterValidator(_is_rectangular),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "array", "items": _INTEGERS}]}),
]


class Gather(LayerBase):
    """Elements along an axis by known indices: x[..., indices, ...]; the axis becomes those of the indices."""

    op: Literal["gather"] = "gather"
    axis: Integer = Field(default=1, description="along which; negative: from the end")
    indices: Indices = Field(
        default=None,
        validate_default=False,
        description="a number (the axis disappears), a list, or lists of lists; negative: from the end",
    )
    indices_parameter: Name | None = Field(
        default=None, description="instead, the name of a tensor of indices in the weight file"
    )
    indices_shape: tuple[Positive, ...] | None = Field(default=None, description="its shape")

    @model_validator(mode="after")
    def _one_kind_of_indices(self) -> Gather:
        if (self.indices is None) == (self.indices_parameter is None):
            raise PydanticCustomError("gather", "give indices or indices_parameter, one of them")
        if (self.indices_parameter is None) != (self.indices_shape is None):
            raise PydanticCustomError("gather", "indices_parameter and indices_shape go together")
        return self

    def shape_of_indices(self) -> Shape:
        """() for a number."""
        return self.indices_shape if self.indices_shape is not None else _shape_of(self.indices)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's, with the indices' axes in place of the axis."""
        axis = axis_of(self.axis, inputs[0])
        extent = inputs[0][axis]
        wrong = [] if self.indices is None else [i for i in _flat(self.indices) if not -extent <= i < extent]
        if wrong:
            raise ShapeError(f"index {wrong[0]} is not in axis {axis}, which has {extent}")
        return (*inputs[0][:axis], *self.shape_of_indices(), *inputs[0][axis + 1 :]) or (1,)

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where it gathers along axis 0."""
        return axis_of(self.axis, inputs[0]) == 0

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:  # noqa: ARG002
        """The tensor of indices, where there is one."""
        return {} if self.indices_shape is None else {"indices": self.indices_shape}

    def weight_name(self, role: str) -> str:
        """The name that `indices_parameter` gives."""
        return self.indices_parameter if self.indices_parameter is not None else super().weight_name(role)


class Flip(LayerBase):
    """The input backwards along some axes."""

    op: Literal["flip"] = "flip"
    axes: Axes = Field(description="along which; negative: from the end")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        axes_of(self.axes, inputs[0])
        return inputs[0]

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where axis 0 is turned."""
        return 0 in axes_of(self.axes, inputs[0])


class Roll(LayerBase):
    """The input moved along some axes; what leaves at the end comes in at the beginning."""

    op: Literal["roll"] = "roll"
    axes: Axes = Field(description="along which; negative: from the end")
    shifts: tuple[Integer, ...] = Field(description="how far along each; negative: towards the beginning")

    @model_validator(mode="after")
    def _one_shift_an_axis(self) -> Roll:
        if len(self.axes) != len(self.shifts):
            raise PydanticCustomError("roll", "give axes and shifts one entry an axis")
        return self

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        axes_of(self.axes, inputs[0])
        return inputs[0]

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where it moves along axis 0."""
        return 0 in axes_of(self.axes, inputs[0])


AnyIndexing = Slice | Gather | Flip | Roll
