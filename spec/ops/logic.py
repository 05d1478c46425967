"""Comparisons, logic and choice: what is true is 1, what is false 0, stored as bool; any number but 0 is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from cnngen.spec.ops.activation import ElementwiseLayer
from cnngen.spec.ops.arithmetic import Binary, broadcast_all, broadcast_mixes_items
from cnngen.spec.ops.base import LayerBase
from cnngen.spec.types import Shape


class Equal(Binary):
    """Whether a == b."""

    op: Literal["equal"] = "equal"


class Greater(Binary):
    """Whether a > b."""

    op: Literal["greater"] = "greater"


class GreaterOrEqual(Binary):
    """Whether a >= b."""

    op: Literal["greater_or_equal"] = "greater_or_equal"


class Less(Binary):
    """Whether a < b."""

    op: Literal["less"] = "less"


class LessOrEqual(Binary):
    """Whether a <= b."""

    op: Literal["less_or_equal"] = "less_or_equal"


class LogicalAnd(Binary):
    """Whether a and b are both true."""

    op: Literal["logical_and"] = "logical_and"


class LogicalOr(Binary):
    """Whether a or b is true."""

    op: Literal["logical_or"] = "logical_or"


class LogicalXor(Binary):
    """Whether one of a and b is true."""

    op: Literal["logical_xor"] = "logical_xor"


class LogicalNot(ElementwiseLayer):
    """Whether x is false."""

    op: Literal["logical_not"] = "logical_not"


class Where(LayerBase):
    """`inputs: [condition, a, b]`: a where the condition is true, else b, with numpy's broadcast."""

    op: Literal["where"] = "where"
    min_inputs: ClassVar[int] = 3
    max_inputs: ClassVar[int | None] = 3

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The broadcast of all three."""
        return broadcast_all(inputs)

    def mixes_items(self, inputs: Sequence[Shape]) -> bool:
        """Where axis 0 of an input meets another axis, or is broadcast."""
        return broadcast_mixes_items(inputs)


AnyLogic = (
    Equal
    | Greater
    | GreaterOrEqual
    | Less
    | LessOrEqual
    | LogicalAnd
    | LogicalOr
    | LogicalXor
    | LogicalNot
    | Where
)
