"""Activation functions: as layers of their own, and as the `activation:` field of conv2d and linear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from cnngen.spec.ops.base import LayerBase
from cnngen.spec.types import Model, Real, Shape


class Activation(Model):
    """A function of one element, without weights."""

    op: str


class Relu(Activation):
    """max(x, 0)."""

    op: Literal["relu"] = "relu"


class Relu6(Activation):
    """min(max(x, 0), 6)."""

    op: Literal["relu6"] = "relu6"


class LeakyRelu(Activation):
    """x where x >= 0, else slope * x."""

    op: Literal["leaky_relu"] = "leaky_relu"
    slope: Real = Field(default=0.01, description="factor of negative elements")


class Clip(Activation):
    """min(max(x, min), max)."""

    op: Literal["clip"] = "clip"
    min: Real | None = Field(default=None, description="lower bound; default: none")
    max: Real | None = Field(default=None, description="upper bound; default: none")

    @model_validator(mode="after")
    def _has_bounds(self) -> Clip:
        if self.min is None and self.max is None:
            raise PydanticCustomError("clip", "give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise PydanticCustomError(
                "clip", "min must not be above max, got {min} and {max}", {"min": self.min, "max": self.max}
            )
        return self


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    op: Literal["sigmoid"] = "sigmoid"


class Tanh(Activation):
    """The hyperbolic tangent."""

    op: Literal["tanh"] = "tanh"


class Elu(Activation):
    """x where x >= 0, else alpha * (exp(x) - 1)."""

    op: Literal["elu"] = "elu"
    alpha: Real = Field(default=1.0, description="limit of the negative branch, negated")


class Gelu(Activation):
    """x * Phi(x), Phi the normal distribution function."""

    op: Literal["gelu"] = "gelu"
    approximate: Literal["none", "tanh"] = Field(
        default="none", description="exact by erf, or the tanh formula"
    )


class Softplus(Activation):
    """log(1 + exp(beta * x)) / beta."""

    op: Literal["softplus"] = "softplus"
    beta: Real = Field(default=1.0, gt=0, description="sharpness")


class Silu(Activation):
    """x * sigmoid(x), also known as swish."""

    op: Literal["silu"] = "silu"


class HardSigmoid(Activation):
    """min(max(alpha * x + beta, 0), 1)."""

    op: Literal["hard_sigmoid"] = "hard_sigmoid"
    alpha: Real = Field(default=1 / 6, description="slope; default: 1/6")
    beta: Real = Field(default=0.5, description="value at 0")


class HardSwish(Activation):
    """x * min(max(x / 6 + 0.5, 0), 1)."""

    op: Literal["hard_swish"] = "hard_swish"


class Mish(Activation):
    """x * tanh(softplus(x))."""

    op: Literal["mish"] = "mish"


class Selu(Activation):
    """gamma * (x where x >= 0, else alpha * (exp(x) - 1))."""

    op: Literal["selu"] = "selu"
    alpha: Real = Field(default=1.6732632423543772, description="limit of the negative branch, negated")
    gamma: Real = Field(default=1.0507009873554805, description="factor of the whole")


class Celu(Activation):
    """x where x >= 0, else alpha * (exp(x / alpha) - 1)."""

    op: Literal["celu"] = "celu"
    alpha: Real = Field(default=1.0, gt=0, description="limit of the negative branch, negated")


class Softsign(Activation):
    """x / (1 + |x|)."""

    op: Literal["softsign"] = "softsign"


class ThresholdedRelu(Activation):
    """x where x > alpha, else 0."""

    op: Literal["thresholded_relu"] = "thresholded_relu"
    alpha: Real = Field(default=1.0, description="the threshold")


class Shrink(Activation):
    """x + bias where x < -lambd, x - bias where x > lambd, else 0."""

    op: Literal["shrink"] = "shrink"
    bias: Real = Field(default=0.0, description="how far what remains is moved towards 0")
    lambd: Real = Field(default=0.5, description="what is not larger in magnitude becomes 0")


class Swish(Activation):
    """x * sigmoid(alpha * x)."""

    op: Literal["swish"] = "swish"
    alpha: Real = Field(default=1.0, description="factor inside the sigmoid")


ACTIVATIONS: tuple[type[Activation], ...] = (
    Relu,
    Relu6,
    LeakyRelu,
    Clip,
    Sigmoid,
    Tanh,
    Elu,
    Gelu,
    Softplus,
    Silu,
    HardSigmoid,
    HardSwish,
    Mish,
    Selu,
    Celu,
    Softsign,
    ThresholdedRelu,
    Shrink,
    Swish,
)

AnyActivation = Annotated[
    Relu
    | Relu6
    | LeakyRelu
    | Clip
    | Sigmoid
    | Tanh
    | Elu
    | Gelu
    | Softplus
    | Silu
    | HardSigmoid
    | HardSwish
    | Mish
    | Selu
    | Celu
    | Softsign
    | ThresholdedRelu
    | Shrink
    | Swish,
    Field(discriminator="op"),
]
ActivationName = Literal[
    "relu",
    "relu6",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "elu",
    "gelu",
    "softplus",
    "silu",
    "hard_sigmoid",
    "hard_swish",
    "mish",
    "selu",
    "celu",
    "softsign",
    "thresholded_relu",
    "shrink",
    "swish",
]
"""The activations whose fields all have defaults."""


def _from_name(value: object) -> object:
    return {"op": value} if isinstance(value, str) else value


ActivationField = Annotated[
    AnyActivation, BeforeValidator(_from_name, json_schema_input_type=ActivationName | AnyActivation)
]
"""`relu`, or `{op: leaky_relu, slope: 0.2}`."""


class ElementwiseLayer(LayerBase):
    """A layer of one input whose output has the input's shape."""

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's."""
        return inputs[0]


class ReluLayer(Relu, ElementwiseLayer):
    """max(x, 0)."""


class Relu6Layer(Relu6, ElementwiseLayer):
    """min(max(x, 0), 6)."""


class LeakyReluLayer(LeakyRelu, ElementwiseLayer):
    """x where x >= 0, else slope * x."""


class ClipLayer(Clip, ElementwiseLayer):
    """min(max(x, min), max)."""


class SigmoidLayer(Sigmoid, ElementwiseLayer):
    """1 / (1 + exp(-x))."""


class TanhLayer(Tanh, ElementwiseLayer):
    """The hyperbolic tangent."""


class EluLayer(Elu, ElementwiseLayer):
    """x where x >= 0, else alpha * (exp(x) - 1)."""


class GeluLayer(Gelu, ElementwiseLayer):
    """x * Phi(x), Phi the normal distribution function."""


class SoftplusLayer(Softplus, ElementwiseLayer):
    """log(1 + exp(beta * x)) / beta."""


class SiluLayer(Silu, ElementwiseLayer):
    """x * sigmoid(x), also known as swish."""


class HardSigmoidLayer(HardSigmoid, ElementwiseLayer):
    """min(max(alpha * x + beta, 0), 1)."""


class HardSwishLayer(HardSwish, ElementwiseLayer):
    """x * min(max(x / 6 + 0.5, 0), 1)."""


class MishLayer(Mish, ElementwiseLayer):
    """x * tanh(softplus(x))."""


class SeluLayer(Selu, ElementwiseLayer):
    """gamma * (x where x >= 0, else alpha * (exp(x) - 1))."""


class CeluLayer(Celu, ElementwiseLayer):
    """x where x >= 0, else alpha * (exp(x / alpha) - 1)."""


class SoftsignLayer(Softsign, ElementwiseLayer):
    """x / (1 + |x|)."""


class ThresholdedReluLayer(ThresholdedRelu, ElementwiseLayer):
    """x where x > alpha, else 0."""


class ShrinkLayer(Shrink, ElementwiseLayer):
    """x + bias where x < -lambd, x - bias where x > lambd, else 0."""


class SwishLayer(Swish, ElementwiseLayer):
    """x * sigmoid(alpha * x)."""


AnyActivationLayer = (
    ReluLayer
    | Relu6Layer
    | LeakyReluLayer
    | ClipLayer
    | SigmoidLayer
    | TanhLayer
    | EluLayer
    | GeluLayer
    | SoftplusLayer
    | SiluLayer
    | HardSigmoidLayer
    | HardSwishLayer
    | MishLayer
    | SeluLayer
    | CeluLayer
    | SoftsignLayer
    | ThresholdedReluLayer
    | ShrinkLayer
    | SwishLayer
)
