"""ONNX's own architecture files, whose weights are all one number, with seeded weights instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Array = np.ndarray[Any, np.dtype[Any]]

ARCHITECTURES = ("squeezenet", "shufflenet", "densenet121", "inception_v1", "inception_v2")
GAINS = {
    "shufflenet": 1e-6,
    "inception_v1": 4.0,
    "inception_v2": 0.1,
}  # of a classifier, so that softmax is not 0 or 1


def seeded(name: str) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The model and what to feed it.

    Each ConstantOfShape, which stands for a weight, becomes an initializer.
    """
    model = onnx.load(Path(onnx.__file__).parent / "backend/test/data/light" / f"light_{name}.onnx")
    graph, rng = model.graph, np.random.default_rng(0)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for position, read in enumerate(node.input):
            readers.setdefault(read, []).append((node, position))
    gain = GAINS.get(name, 1.0)
    kept = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    constants = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    weights = [
        numpy_helper.from_array(
            _weight(*_reader(node.output[0], readers), tuple(stored[node.input[0]].tolist()), rng, gain),
            node.output[0],
        )
        for node in constants
    ]
    unused = {node.input[0] for node in constants} - {read for node in kept for read in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name not in unused]
    inputs = [value for value in graph.input if value.name not in unused]
    del graph.node[:], graph.initializer[:], graph.input[:]
    graph.node.extend(kept)
    graph.initializer.extend(initializers + weights)
    graph.input.extend(inputs)
    data = next(value for value in inputs if value.name not in stored)
    shape = [dim.dim_value for dim in data.type.tensor_type.shape.dim]
    return model, {data.name: rng.standard_normal(shape).astype(np.float32)}


def _reader(name: str, readers: dict[str, list[tuple[onnx.NodeProto, int]]]) -> tuple[str, int]:
    """The operator that reads a weight, through reshapes, and at which position."""
    node, position = readers[name][0]
    while node.op_type in ("Unsqueeze", "Reshape"):
        node, position = readers[node.output[0]][0]
    return node.op_type, position


def _weight(op: str, position: int, shape: tuple[int, ...], rng: np.random.Generator, gain: float) -> Array:
    if op == "BatchNormalization":
        scale, variance = rng.uniform(0.7, 1.3, shape), rng.uniform(0.5, 1.5, shape)
        array = {1: scale, 4: variance}.get(position, rng.normal(0, 0.1, shape))
    elif op in ("Conv", "Gemm") and position == 1:
        array = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape) * (gain if op == "Gemm" else 1.0)
    else:
        array = rng.uniform(0.7, 1.3, shape) if op == "Mul" else rng.normal(0, 0.05, shape)
    return array.astype(np.float32)
