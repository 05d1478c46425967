"""Functions of one element that are no activations, and the names and types of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.activation import ElementwiseLayer
from cnngen.spec.ops.arithmetic import broadcast_mixes_items
from cnngen.spec.ops.base import broadcast, show
from cnngen.spec.types import ElementType, Flag, Positive, Shape


class Abs(ElementwiseLayer):
    """|x|."""

    op: Literal["abs"] = "abs"


class Neg(ElementwiseLayer):
    """-x."""

    op: Literal["neg"] = "neg"


class Exp(ElementwiseLayer):
    """The exponential function."""

    op: Literal["exp"] = "exp"


class Log(ElementwiseLayer):
    """The natural logarithm."""

    op: Literal["log"] = "log"


class Sqrt(ElementwiseLayer):
    """The square root."""

    op: Literal["sqrt"] = "sqrt"


class Rsqrt(ElementwiseLayer):
    """1 / sqrt(x)."""

    op: Literal["rsqrt"] = "rsqrt"


class Reciprocal(ElementwiseLayer):
    """1 / x."""

    op: Literal["reciprocal"] = "reciprocal"


class Floor(ElementwiseLayer):
    """The largest whole number that is not above x."""

    op: Literal["floor"] = "floor"


class Ceil(ElementwiseLayer):
    """The smallest whole number that is not below x."""

    op: Literal["ceil"] = "ceil"


class Round(ElementwiseLayer):
    """The nearest whole number, halves to the even one."""

    op: Literal["round"] = "round"


class Erf(ElementwiseLayer):
    """The error function."""

    op: Literal["erf"] = "erf"


class Sign(ElementwiseLayer):
    """-1, 0 or 1."""

    op: Literal["sign"] = "sign"


class Sin(ElementwiseLayer):
    """The sine."""

    op: Literal["sin"] = "sin"


class Cos(ElementwiseLayer):
    """The cosine."""

    op: Literal["cos"] = "cos"


class Tan(ElementwiseLayer):
    """The tangent."""

    op: Literal["tan"] = "tan"


class Asin(ElementwiseLayer):
    """The inverse of the sine."""

    op: Literal["asin"] = "asin"


class Acos(ElementwiseLayer):
    """The inverse of the cosine."""

    op: Literal["acos"] = "acos"


class Atan(ElementwiseLayer):
    """The inverse of the tangent."""

    op: Literal["atan"] = "atan"


class Sinh(ElementwiseLayer):
    """The hyperbolic sine."""

    op: Literal["sinh"] = "sinh"


class Cosh(ElementwiseLayer):
    """The hyperbolic cosine."""

    op: Literal["cosh"] = "cosh"


class Asinh(ElementwiseLayer):
    """The inverse of the hyperbolic sine."""

    op: Literal["asinh"] = "asinh"


class Acosh(ElementwiseLayer):
    """The inverse of the hyperbolic cosine."""

    op: Literal["acosh"] = "acosh"


class Atanh(ElementwiseLayer):
    """The inverse of the hyperbolic tangent."""

    op: Literal["atanh"] = "atanh"


class IsNan(ElementwiseLayer):
    """Whether x is not a number."""

    op: Literal["is_nan"] = "is_nan"


class IsInf(ElementwiseLayer):
    """Whether x is infinite."""

    op: Literal["is_inf"] = "is_inf"
    positive: Flag = Field(default=True, description="whether infinity counts")
    negative: Flag = Field(default=True, description="whether -infinity counts")


class Cast(ElementwiseLayer):
    """The input as another element type; towards 0 to integers, `x != 0` to bool."""

    op: Literal["cast"] = "cast"
    to: ElementType = Field(description="the element type; int64 is int32 inside the network")


class Identity(ElementwiseLayer):
    """The input as it is: a second name for it."""

    op: Literal["identity"] = "identity"


class PRelu(ElementwiseLayer):
    """x where x >= 0, else weight * x; weight: [C], one slope a channel, or [1] (`shared: true`), or `shape`."""

    op: Literal["prelu"] = "prelu"
    shared: Flag = Field(default=False, description="one slope for all channels: the weight is [1]")
    shape: tuple[Positive, ...] | None = Field(
        default=None, min_length=1, description="the weight's shape, which broadcasts to the input's"
    )

    @model_validator(mode="after")
    def _one_shape(self) -> PRelu:
        if self.shared and self.shape is not None:
            raise PydanticCustomError("prelu", "give shared or shape, not both")
        return self

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        if self.shape is not None and broadcast(inputs[0], self.shape) != inputs[0]:
            raise ShapeError(f"the weight {show(self.shape)} does not broadcast to {show(inputs[0])}")
        if not self.shared and self.shape is None and len(inputs[0]) < 2:
            raise ShapeError(f"needs channels in axis 1, got {show(inputs[0])}; give shared or shape")
        return inputs[0]

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where each item has slopes of its own."""
        return self.shape is not None and broadcast_mixes_items(inputs, [self.shape])

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """The slopes: [C], [1] or `shape`."""
        return {"weight": self.shape or ((1,) if self.shared else (inputs[0][1],))}


AnyUnary = (
    Abs
    | Neg
    | Exp
    | Log
    | Sqrt
    | Rsqrt
    | Reciprocal
    | Floor
    | Ceil
    | Round
    | Erf
    | Sign
    | Sin
    | Cos
    | Tan
    | Asin
    | Acos
    | Atan
    | Sinh
    | Cosh
    | Asinh
    | Acosh
    | Atanh
    | IsNan
    | Identity
    | IsInf
    | Cast
    | PRelu
)
