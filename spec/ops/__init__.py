"""All layers: one class an op, and their union discriminated by `op`.

An op is added by its class in its family's module and here, and by its entry of the same name in codegen.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cnngen.spec.ops.activation import (
    ACTIVATIONS,
    Activation,
    ClipLayer,
    EluLayer,
    GeluLayer,
    HardSigmoidLayer,
    HardSwishLayer,
    Identity,
    LeakyReluLayer,
    MishLayer,
    PRelu,
    Relu6Layer,
    ReluLayer,
    SigmoidLayer,
    SiluLayer,
    SoftplusLayer,
    TanhLayer,
)
from cnngen.spec.ops.arithmetic import Add, Arithmetic, Div, Mul, Sub
from cnngen.spec.ops.base import LayerBase
from cnngen.spec.ops.conv import Conv2d, WeightedLayer
from cnngen.spec.ops.linear import Linear
from cnngen.spec.ops.movement import Concat, Flatten, Pad, Reshape, Transpose, Zeros
from cnngen.spec.ops.norm import BatchNorm
from cnngen.spec.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d
from cnngen.spec.ops.resize import Upsample
from cnngen.spec.ops.softmax import Softmax

AnyLayer = (
    Conv2d
    | Linear
    | MaxPool2d
    | AvgPool2d
    | GlobalAvgPool
    | BatchNorm
    | ReluLayer
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
    | PRelu
    | Identity
    | Add
    | Sub
    | Mul
    | Div
    | Concat
    | Upsample
    | Pad
    | Flatten
    | Reshape
    | Transpose
    | Softmax
    | Zeros
)
Layer = Annotated[AnyLayer, Field(discriminator="op")]

OPS: dict[str, type[LayerBase]] = {str(cls.model_fields["op"].default): cls for cls in AnyLayer.__args__}
"""Every op's class by its name in the spec."""

__all__ = [
    "ACTIVATIONS",
    "OPS",
    "Activation",
    "Add",
    "AnyLayer",
    "Arithmetic",
    "AvgPool2d",
    "BatchNorm",
    "ClipLayer",
    "Concat",
    "Conv2d",
    "Div",
    "EluLayer",
    "Flatten",
    "GeluLayer",
    "GlobalAvgPool",
    "HardSigmoidLayer",
    "HardSwishLayer",
    "Identity",
    "Layer",
    "LayerBase",
    "LeakyReluLayer",
    "Linear",
    "MaxPool2d",
    "MishLayer",
    "Mul",
    "PRelu",
    "Pad",
    "Relu6Layer",
    "ReluLayer",
    "Reshape",
    "SigmoidLayer",
    "SiluLayer",
    "Softmax",
    "SoftplusLayer",
    "Sub",
    "TanhLayer",
    "Transpose",
    "Upsample",
    "WeightedLayer",
    "Zeros",
]
