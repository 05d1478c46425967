"""The fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import show
from cnngen.spec.ops.conv import WeightedLayer
from cnngen.spec.types import Positive, Shape


class Linear(WeightedLayer):
    """x W^T + bias over the last axis; weight [out_features, in_features], bias [out_features]."""

    op: Literal["linear"] = "linear"
    out_features: Positive = Field(description="size of the last axis of the output")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[..., out_features]."""
        if len(inputs[0]) < 2:
            raise ShapeError(f"needs an input of at least two axes, got {show(inputs[0])}")
        return (*inputs[0][:-1], self.out_features)

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """The weight [out, in] and the bias [out]."""
        weight = (self.out_features, inputs[0][-1])
        return {"weight": weight, "bias": (self.out_features,)} if self.bias else {"weight": weight}
