"""Arithmetic of tensors, or of a tensor and a constant, with numpy's broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, Name, broadcast, show
from cnngen.spec.types import Flag, Positive, RealOrInfinite, Shape


def broadcast_all(shapes: Sequence[Shape]) -> Shape:
    """The broadcast of all shapes, as numpy does it, or ShapeError."""
    result: Shape = ()
    for shape in shapes:
        result = broadcast(result, shape)
    return result


def broadcast_mixes_items(inputs: Sequence[Shape], constants: Sequence[Shape] = ()) -> bool:
    """Whether a broadcast meets axis 0 of an input with anything but axis 0 of the others."""
    result = broadcast_all([*inputs, *constants])
    same = all(len(shape) == len(result) and shape[0] == result[0] for shape in inputs)
    return not same or any(len(shape) == len(result) and shape[0] != 1 for shape in constants)


class Binary(LayerBase):
    """A function of two operands; the second is a second input, a `value`, or a constant tensor (`parameter`)."""

    most_inputs: ClassVar[int | None] = 2

    value: RealOrInfinite | None = Field(default=None, description="a number as the second operand")
    parameter: Name | None = Field(
        default=None, description="name of a constant tensor as the second operand"
    )
    parameter_shape: tuple[Positive, ...] | None = Field(
        default=None, description="the constant's shape; default: one value a channel, [C, 1, 1]"
    )

    @model_validator(mode="after")
    def _one_operand(self) -> Binary:
        if self.value is not None and self.parameter is not None:
            raise PydanticCustomError("operand", "give value or parameter, not both")
        if self.parameter_shape is not None and self.parameter is None:
            raise PydanticCustomError(
                "operand", "parameter_shape needs parameter, the name of the constant tensor"
            )
        return self

    @property
    def arity(self) -> tuple[int, int | None]:
        """Two inputs (add, mul, minimum, maximum: or more), or one and a constant."""
        return (2, self.most_inputs) if self.value is None and self.parameter is None else (1, 1)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The broadcast of all operands."""
        return broadcast_all([*inputs, *self.parameters(inputs).values()])

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where axis 0 of an operand meets another axis, or is broadcast."""
        return broadcast_mixes_items(inputs, [*self.parameters(inputs).values()])

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """The constant tensor, where there is one."""
        return {} if self.parameter is None else {"parameter": self._constant_shape(inputs[0])}

    def weight_name(self, role: str) -> str:
        """The name that `parameter` gives."""
        return self.parameter if self.parameter is not None else super().weight_name(role)

    def _constant_shape(self, shape: Shape) -> Shape:
        if self.parameter_shape is not None:
            return self.parameter_shape
        if len(shape) < 2:
            raise ShapeError(f"needs channels in axis 1, got {show(shape)}; give parameter_shape")
        return (shape[1], *(1,) * (len(shape) - 2))


class Add(Binary):
    """a + b + ..."""

    op: Literal["add"] = "add"
    most_inputs: ClassVar[int | None] = None


class Mul(Binary):
    """a * b * ..."""

    op: Literal["mul"] = "mul"
    most_inputs: ClassVar[int | None] = None


class Minimum(Binary):
    """The smallest of a, b, ..."""

    op: Literal["minimum"] = "minimum"
    most_inputs: ClassVar[int | None] = None


class Maximum(Binary):
    """The largest of a, b, ..."""

    op: Literal["maximum"] = "maximum"
    most_inputs: ClassVar[int | None] = None


class Sub(Binary):
    """a - b."""

    op: Literal["sub"] = "sub"
    reverse: Flag = Field(default=False, description="b - a, e.g. 1 - x with value: 1")


class Div(Binary):
    """a / b."""

    op: Literal["div"] = "div"
    reverse: Flag = Field(default=False, description="b / a, e.g. 1 / x with value: 1")


class Pow(Binary):
    """a to the power of b."""

    op: Literal["pow"] = "pow"
    reverse: Flag = Field(default=False, description="b to the power of a, e.g. 2^x with value: 2")


class Mod(Binary):
    """The remainder of a / b, with the sign of b."""

    op: Literal["mod"] = "mod"
    fmod: Flag = Field(default=False, description="with the sign of a instead, as C's fmod")
    reverse: Flag = Field(default=False, description="the remainder of b / a")


class Mean(LayerBase):
    """The mean of the inputs, with numpy's broadcast."""

    op: Literal["mean"] = "mean"
    max_inputs: ClassVar[int | None] = None

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The broadcast of all inputs."""
        return broadcast_all(inputs)

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where axis 0 of an input meets another axis, or is broadcast."""
        return broadcast_mixes_items(inputs)


AnyArithmetic = Add | Mul | Minimum | Maximum | Sub | Div | Pow | Mod | Mean
