"""batch_norm at inference: a scale and a shift a channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen.graph import Affine, Array, Shape
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops import BatchNorm

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def _scale_and_shift(layer: BatchNorm, weights: Mapping[str, Array]) -> tuple[Array, Array]:
    """Y = x * scale + shift, from the running statistics (in float64)."""
    mean, variance = (np.asarray(weights[role], np.float64) for role in ("running_mean", "running_var"))
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if "weight" in weights:
        scale = scale * weights["weight"]
    shift = -mean * scale
    if "bias" in weights:
        shift = shift + weights["bias"]
    return scale, shift


def reference_batch_norm(
    layer: BatchNorm, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    channels = (1, -1) + (1,) * (inputs[0].ndim - 2)
    scale, shift = _scale_and_shift(layer, weights)
    return np.asarray(inputs[0] * scale.reshape(channels) + shift.reshape(channels))


def lower_batch_norm(low: Lowering, layer: BatchNorm, inputs: list[str], shape: Shape) -> str:
    scale, shift = _scale_and_shift(layer, {role: low.weight(role) for role in low.parameters})
    names = [
        low.constant(f"{low.layer}.{part}", array, "float32")
        for part, array in (("scale", scale), ("shift", shift))
    ]
    return low.emit(Affine(), [inputs[0], *names], shape)


RULES = {"batch_norm": OpRules(reference_batch_norm, lower_batch_norm)}
