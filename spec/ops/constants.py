"""Values that are known beforehand. They take no input, and are the same for every item of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from cnngen.spec.ops.base import LayerBase, Name
from cnngen.spec.types import Positive, RealOrInfinite, Shape


class KnownLayer(LayerBase):
    """A layer without inputs."""

    min_inputs: ClassVar[int] = 0
    max_inputs: ClassVar[int | None] = 0
    shape: tuple[Positive, ...] = Field(min_length=1, description="without the batch, e.g. [64, 8, 8]")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """[N, *shape], or `shape` where there is no batch; `inputs` is [(N,)] or [()]."""
        return (*inputs[0], *self.shape)


class Zeros(KnownLayer):
    """A constant that is known to be zero; takes no input."""

    op: Literal["zeros"] = "zeros"


class Fill(KnownLayer):
    """One number everywhere; takes no input."""

    op: Literal["fill"] = "fill"
    value: RealOrInfinite = Field(description="the number")


class Constant(KnownLayer):
    """A tensor of the weight file; takes no input."""

    op: Literal["constant"] = "constant"
    parameter: Name = Field(description="the tensor's name")

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:  # noqa: ARG002
        """The tensor, of `shape`."""
        return {"parameter": self.shape}

    def weight_name(self, role: str) -> str:  # noqa: ARG002
        """The name that `parameter` gives."""
        return self.parameter


AnyKnown = Zeros | Fill | Constant
