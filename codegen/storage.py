"""How values lie in memory: element types, and logical arrays to and from memory order."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from cnngen.codegen.graph import Array, Value
from cnngen.spec.types import ElementType

NUMPY_TYPES: dict[ElementType, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "bool": np.bool_,
}


def to_memory(array: Array, value: Value) -> Array:
    """The logical array as it is stored: axes in memory order, in the storage type, contiguous."""
    return np.ascontiguousarray(array.transpose(value.axes).astype(NUMPY_TYPES[value.dtype], copy=False))


def from_memory(data: Array, value: Value) -> Array:
    """The stored array (any shape, contiguous) in logical order."""
    stored = data.reshape([value.shape[axis] for axis in value.axes])
    return np.asarray(stored.transpose(np.argsort(value.axes)))
