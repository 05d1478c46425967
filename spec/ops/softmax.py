"""Softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from cnngen.spec.ops.base import LayerBase, axis_of
from cnngen.spec.types import Integer, Shape


class Softmax(LayerBase):
    """exp(x) / sum(exp(x)) along an axis."""

    op: Literal["softmax"] = "softmax"
    axis: Integer = Field(default=-1, description="along which; negative: from the end")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        axis_of(self.axis, inputs[0], first=1)
        return inputs[0]
