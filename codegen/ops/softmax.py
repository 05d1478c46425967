"""softmax over one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.graph import Softmax as SoftmaxForm
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops import Softmax

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def reference_softmax(
    layer: Softmax, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    powers = np.exp(inputs[0] - inputs[0].max(axis=layer.axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=layer.axis, keepdims=True))


def lower_softmax(low: Lowering, layer: Softmax, inputs: list[str], shape: Shape) -> str:
    return low.emit(SoftmaxForm(layer.axis % len(shape)), inputs, shape, layout=low.values[inputs[0]].layout)


RULES = {"softmax": OpRules(reference_softmax, lower_softmax)}
