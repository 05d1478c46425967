"""What every layer has: a name, its inputs, a shape rule and its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from cnngen.spec.errors import ShapeError
from cnngen.spec.types import Model, PrecisionField, Shape


def _printable(text: str) -> str:
    # Control and direction characters would break a comment of the generated source, or hide in it.
    if not text.isprintable() or text != text.strip():
        raise PydanticCustomError(
            "name", "expected printable text without space at its ends, got {got}", {"got": ascii(text)}
        )
    return text


Name = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
"""The name of a layer, a network input or a weight: any printable text."""


class LayerBase(Model):
    """The fields of every layer, and what a layer must say of itself."""

    name: Name = Field(description="unique; profile, trace and errors speak of the layer by it")
    op: str
    input: Name | None = Field(
        default=None, description="layer or network input to read; default: the layer before"
    )
    inputs: tuple[Name, ...] | None = Field(default=None, description="the same for several inputs, in order")
    precision: PrecisionField | None = Field(
        default=None, description="of this layer; default: the network's"
    )

    min_inputs: ClassVar[int] = 1
    max_inputs: ClassVar[int | None] = 1  # None: any number

    @model_validator(mode="after")
    def _one_spelling(self) -> LayerBase:
        if self.input is not None and self.inputs is not None:
            raise PydanticCustomError("inputs", "give input or inputs, not both")
        return self

    @classmethod
    def field_order(cls) -> tuple[str, ...]:
        """The fields as a person writes them: name, op, inputs, the op's own, what holds for the result."""
        first, last = ("name", "op", "input", "inputs"), ("weight", "bias", "activation", "precision")
        own = tuple(field for field in cls.model_fields if field not in first + last)
        return (*first, *own, *(field for field in last if field in cls.model_fields))

    @property
    def sources(self) -> tuple[str, ...] | None:
        """The inputs that the spec names; None: it names none."""
        return (self.input,) if self.input is not None else self.inputs

    @property
    def arity(self) -> tuple[int, int | None]:
        """The smallest and largest number of inputs (None: no limit) with these fields."""
        return (self.min_inputs, self.max_inputs)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The output's logical shape. A layer without inputs is given `[(batch,)]`, or `[()]` where nothing is batched.

        Raises ShapeError when the inputs do not fit.
        """
        raise NotImplementedError

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:  # noqa: ARG002 (for the layers that may)
        """Whether it works along axis 0 or moves it, so that the items of a batch would meet.

        `inputs` has passed `output_shape`. Such a layer is refused where axis 0 is the batch.
        """
        return False

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:  # noqa: ARG002 (for the layers with weights)
        """The weights that the layer reads: role -> shape. `inputs` has passed `output_shape`."""
        return {}

    def weight_name(self, role: str) -> str:
        """The name of the tensor of that role in the weight file."""
        return f"{self.name}.{role}"


def show(shape: Shape) -> str:
    """The shape as text: [1, 3, 224, 224]."""
    return str(list(shape))


def image(shape: Shape) -> tuple[int, int, int, int]:
    """The shape as (N, C, H, W), or ShapeError."""
    if len(shape) != 4:
        raise ShapeError(f"needs a 4-D input [N, C, H, W], got {show(shape)}")
    return (shape[0], shape[1], shape[2], shape[3])


def axis_of(axis: int, shape: Shape, first: int = 0) -> int:
    """`axis` counted from the front, within [first, rank), or ShapeError."""
    rank = len(shape)
    positive = axis + rank if axis < 0 else axis
    if not first <= positive < rank:
        raise ShapeError(f"axis {axis} is not possible: {show(shape)} has axes {first} to {rank - 1}")
    return positive


def axes_of(axes: Sequence[int], shape: Shape) -> tuple[int, ...]:
    """`axes` counted from the front, in order, or ShapeError."""
    found = sorted(axis_of(axis, shape) for axis in axes)
    if len(set(found)) != len(found):
        raise ShapeError(f"axes {show(tuple(axes))} name an axis of {show(shape)} twice")
    return tuple(found)


def without(shape: Shape, axes: Sequence[int], *, keepdims: bool) -> Shape:
    """The shape after `axes` (counted from the front) are reduced: of size 1, or gone; a scalar is [1]."""
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes) or (1,)


def broadcast(a: Shape, b: Shape) -> Shape:
    """The broadcast, as numpy does it, of two shapes, or ShapeError that names the axis."""
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    for axis, (x, y) in enumerate(zip(left, right, strict=True)):
        if x != y and 1 not in (x, y):
            raise ShapeError(f"{show(a)} and {show(b)} do not broadcast: axis {axis} has {x} and {y}")
    return tuple(max(x, y) for x, y in zip(left, right, strict=True))
