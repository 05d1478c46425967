"""What every layer has: a name, its inputs, a shape rule and its weights."""

from __future__ import annotations

import math
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
        """The output's logical shape. A layer without inputs is given `[(batch,)]`.

        Raises ShapeError when the inputs do not fit.
        """
        raise NotImplementedError

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
        what = "axis 0 is the batch" if positive == 0 else f"{show(shape)} has axes {first} to {rank - 1}"
        raise ShapeError(f"axis {axis} is not possible: {what}")
    return positive


def same_padding(size: int, kernel: int, stride: int, dilation: int, lower: bool) -> tuple[int, int]:
    """Zeros before and after for ceil(size / stride) windows; an odd one goes after (`lower`: before)."""
    total = max(0, (math.ceil(size / stride) - 1) * stride + dilation * (kernel - 1) + 1 - size)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


Pads = tuple[int, int, int, int]


def window_pads(
    padding: Pads | str,
    shape: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Pads:
    """The padding in pixels as (top, left, bottom, right), with "same" and "same_lower" worked out."""
    if isinstance(padding, tuple):
        return padding
    _, _, h, w = image(shape)
    lower = padding == "same_lower"
    top, bottom = same_padding(h, kernel[0], stride[0], dilation[0], lower)
    left, right = same_padding(w, kernel[1], stride[1], dilation[1], lower)
    return (top, left, bottom, right)


def windows(
    size: int, kernel: int, stride: int, dilation: int, before: int, after: int, ceil: bool = False
) -> int:
    """How many windows fit along an axis (below 1: none); with `ceil` the last may end outside."""
    room = size + before + after - dilation * (kernel - 1) - 1
    if not ceil:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + before else count


def window_shape(
    shape: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pads: Pads,
    ceil: bool = False,
) -> tuple[int, int]:
    """Height and width after a sliding window, or ShapeError when it does not fit once."""
    _, _, h, w = image(shape)
    top, left, bottom, right = pads
    out_h = windows(h, kernel[0], stride[0], dilation[0], top, bottom, ceil)
    out_w = windows(w, kernel[1], stride[1], dilation[1], left, right, ceil)
    if out_h < 1 or out_w < 1:
        reach = f"{dilation[0] * (kernel[0] - 1) + 1}x{dilation[1] * (kernel[1] - 1) + 1}"
        raise ShapeError(
            f"a {reach} window does not fit into the padded input: {h + top + bottom}x{w + left + right}, "
            f"{h}x{w} without padding"
        )
    return out_h, out_w


def broadcast(a: Shape, b: Shape) -> Shape:
    """The broadcast, as numpy does it, of two shapes, or ShapeError that names the axis."""
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    for axis, (x, y) in enumerate(zip(left, right, strict=True)):
        if x != y and 1 not in (x, y):
            raise ShapeError(f"{show(a)} and {show(b)} do not broadcast: axis {axis} has {x} and {y}")
    return tuple(max(x, y) for x, y in zip(left, right, strict=True))
