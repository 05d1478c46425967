"""Operators that ask for shapes, and those that are nothing at inference."""

from __future__ import annotations

import math

import numpy as np

from cnngen.spec.importing.draft import RefusalError
from cnngen.spec.manifest import Array
from cnngen.spec.onnx.node import Node
from cnngen.spec.onnx.rules.rule import Result, Rule
from cnngen.spec.types import Shape


def _shape(node: Node) -> Shape:
    x = node.tensor()
    return () if x.scalar else x.shape


def shape(node: Node) -> Array:
    """Shape."""
    sizes = _shape(node)
    return np.asarray(sizes[node.integer("start", 0) : node.integer("end", len(sizes))], np.int64)


def size(node: Node) -> Array:
    """Size."""
    return np.asarray(math.prod(_shape(node)), np.int64)


def dropout(node: Node) -> Result:
    """Dropout at inference: its mask is true everywhere."""
    x = node.tensor()
    training, ratio = node.constant(2, "training_mode"), node.constant(1, "the ratio")
    trained = training is not None and bool(np.all(training))
    if trained and not (ratio is not None and not np.any(ratio)):
        raise RefusalError("it is in training mode")
    return [x, np.ones(x.shape, np.bool_)] if node.uses(1) else x


RULES: dict[str, Rule] = {"Shape": shape, "Size": size, "Dropout": dropout}
