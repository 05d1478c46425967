"""Normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import LayerBase, show
from cnngen.spec.types import Flag, Real, Shape


class BatchNorm(LayerBase):
    """(x - running_mean) / sqrt(running_var + epsilon) * weight + bias, each [C], over axis 1."""

    op: Literal["batch_norm"] = "batch_norm"
    epsilon: Real = Field(default=1e-5, ge=0, description="added to the variance")
    affine: Flag = Field(default=True, description="false: no weight and bias")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        if len(inputs[0]) < 2:
            raise ShapeError(f"needs channels in axis 1, got {show(inputs[0])}")
        return inputs[0]

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """Each [C]."""
        roles = ("weight", "bias") if self.affine else ()
        return dict.fromkeys((*roles, "running_mean", "running_var"), (inputs[0][1],))
