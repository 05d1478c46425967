"""Arithmetic of two tensors, or of a tensor and a constant, with numpy's broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, Name, broadcast, show
from cnngen.spec.types import Flag, Positive, Real, Shape


class Arithmetic(LayerBase):
    """The second operand is a second input, a `value`, or a constant tensor (`parameter`)."""

    value: Real | None = Field(default=None, description="a number as the second operand")
    parameter: Name | None = Field(
        default=None, description="name of a constant tensor as the second operand"
    )
    parameter_shape: tuple[Positive, ...] | None = Field(
        default=None, description="the constant's shape; default: one value a channel, [C, 1, 1]"
    )

    @model_validator(mode="after")
    def _one_operand(self) -> Arithmetic:
        if self.value is not None and self.parameter is not None:
            raise PydanticCustomError("operand", "give value or parameter, not both")
        if self.parameter_shape is not None and self.parameter is None:
            raise PydanticCustomError(
                "operand", "parameter_shape needs parameter, the name of the constant tensor"
            )
        return self

    @property
    def arity(self) -> tuple[int, int | None]:
        """Two inputs, or one and a constant."""
        return (2, 2) if self.value is None and self.parameter is None else (1, 1)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The broadcast of both operands."""
        if self.value is not None:
            return inputs[0]
        other = inputs[1] if self.parameter is None else self._constant_shape(inputs[0])
        result = broadcast(inputs[0], other)
        if self.parameter is not None and result[:1] != inputs[0][:1]:
            raise ShapeError(f"the constant {show(other)} would change the batch axis of {show(inputs[0])}")
        return result

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


class Add(Arithmetic):
    """a + b."""

    op: Literal["add"] = "add"


class Mul(Arithmetic):
    """a * b."""

    op: Literal["mul"] = "mul"


class Sub(Arithmetic):
    """a - b."""

    op: Literal["sub"] = "sub"
    reverse: Flag = Field(default=False, description="b - a, e.g. 1 - x with value: 1")


class Div(Arithmetic):
    """a / b."""

    op: Literal["div"] = "div"
    reverse: Flag = Field(default=False, description="b / a, e.g. 1 / x with value: 1")
