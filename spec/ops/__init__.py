"""All layers: one class an op, and their union discriminated by `op`.

An op is added by its class in its family's module and here, and by its entry of the same name in codegen.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cnngen.spec.ops.activation import ACTIVATIONS, Activation, AnyActivationLayer
from cnngen.spec.ops.arithmetic import Add, AnyArithmetic, Binary, Div, Mul, Sub
from cnngen.spec.ops.base import LayerBase
from cnngen.spec.ops.blocks import AnyBlock
from cnngen.spec.ops.constants import AnyKnown, Zeros
from cnngen.spec.ops.conv import AnyConvolution, Conv2d, WeightedLayer
from cnngen.spec.ops.indexing import AnyIndexing
from cnngen.spec.ops.linear import AnyProduct, Linear
from cnngen.spec.ops.logic import AnyLogic
from cnngen.spec.ops.movement import AnyMovement, Concat, Flatten, Pad, Reshape, Transpose
from cnngen.spec.ops.norm import AnyNorm, BatchNorm
from cnngen.spec.ops.pool import AnyPool, AvgPool2d, GlobalAvgPool, MaxPool2d
from cnngen.spec.ops.reduce import AnyReduction
from cnngen.spec.ops.resize import AnyResize, Upsample
from cnngen.spec.ops.sampling import GridSample
from cnngen.spec.ops.softmax import AnySoftmax, Softmax
from cnngen.spec.ops.unary import AnyUnary, Identity, PRelu

AnyLayer = (
    AnyConvolution
    | AnyProduct
    | AnyPool
    | AnyNorm
    | AnyActivationLayer
    | AnyUnary
    | AnyArithmetic
    | AnyLogic
    | AnyMovement
    | AnyBlock
    | AnyIndexing
    | AnyResize
    | GridSample
    | AnySoftmax
    | AnyReduction
    | AnyKnown
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
    "AvgPool2d",
    "BatchNorm",
    "Binary",
    "Concat",
    "Conv2d",
    "Div",
    "Flatten",
    "GlobalAvgPool",
    "GridSample",
    "Identity",
    "Layer",
    "LayerBase",
    "Linear",
    "MaxPool2d",
    "Mul",
    "PRelu",
    "Pad",
    "Reshape",
    "Softmax",
    "Sub",
    "Transpose",
    "Upsample",
    "WeightedLayer",
    "Zeros",
]
