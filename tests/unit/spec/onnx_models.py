"""Small ONNX models, what they compute by ONNX's reference, and what is imported of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnngen.codegen.interpret import outputs
from cnngen.codegen.lower import lower
from cnngen.spec import ImportModelError, NetworkSpec, check_weights, dump_spec, parse_spec, resolve
from cnngen.spec.manifest import Array
from cnngen.spec.onnx import import_onnx

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT = 1
F32 = np.float32


def rand(*shape: int, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(size=shape), np.float32)


W = {"c.weight": rand(4, 3, 3, 3), "c.bias": rand(4, seed=1)}


NUMBERS = {
    "root2": np.sqrt(2), "one": 1.0, "half": 0.5, "two": 2.0, "three": 3.0, "six": 6.0, "zero": 0.0, "sixth": 1 / 6,
    "k": np.sqrt(2 / np.pi), "c": 0.044715, "eps": 1e-5, "near": 1.01,
}  # fmt: skip


def number(value: float) -> Array:
    return np.array(value, F32)


def node(op: str, inputs: str, output: str, **attributes: object) -> Any:  # noqa: ANN401
    """A node; an input that is left out is a space more."""
    return helper.make_node(op, inputs.split(" "), output.split(" "), **attributes)


def save(
    file: Path,
    nodes: Sequence[object],
    constants: Mapping[str, Array] | None = None,
    shape: Sequence[int | str] = (2, 3, 8, 10),
    opset: int = 18,
    returns: str = "y",
) -> Path:
    """A model whose input is x, in a file."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in returns.split(" ")],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), file)
    return file


def run(spec: NetworkSpec, weights: Mapping[str, Array], x: Array) -> list[Array]:
    """The spec by the reference interpreter, in the layouts that a user gives and gets."""
    if next(iter(spec.inputs.values())).layout == "NHWC":
        x = x.transpose(0, 3, 1, 2)
    graph = lower(spec, weights, x.shape[0] if spec.batched else 1)
    values = outputs(graph, {graph.inputs[0].name: x}).values()
    layouts = [output.layout for output in resolve(spec).outputs]
    return [
        y.transpose(0, 2, 3, 1) if layout == "NHWC" else y for y, layout in zip(values, layouts, strict=True)
    ]


def check(file: Path, shape: Sequence[int] = (2, 3, 8, 10), **arguments: Any) -> NetworkSpec:  # noqa: ANN401
    """Imports, runs both, and gives the spec; the text is read back on the way."""
    spec, weights = import_onnx(file, **arguments)
    check_weights(resolve(spec), weights)
    spec = parse_spec(dump_spec(spec))
    x = rand(*shape, seed=7)
    expected = onnx.reference.ReferenceEvaluator(str(file)).run(None, {"x": x})
    for y, wanted in zip(run(spec, weights, x), expected, strict=True):
        assert y.shape == (wanted.shape or (1,))
        np.testing.assert_allclose(y.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)
    return spec


def layers(spec: NetworkSpec) -> list[str]:
    lines = dump_spec(spec).splitlines()
    return [line.removeprefix("  - ") for line in lines[lines.index("layers:") + 1 :]]


def ops(spec: NetworkSpec) -> list[str]:
    return [layer.op for layer in spec.layers]


def refused(file: Path, **arguments: Any) -> list[str]:  # noqa: ANN401
    with pytest.raises(ImportModelError) as caught:
        import_onnx(file, **arguments)
    return [problem.message for problem in caught.value.problems]
