"""The ops' definitions against somebody else's: ONNX's reference implementation."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cnngen.codegen.graph import Array
from cnngen.codegen.ops import OPS as RULES
from cnngen.spec.ops import OPS
from cnngen.spec.ops.window import Sizes

helper = pytest.importorskip("onnx.helper")
reference = pytest.importorskip("onnx.reference")

X = np.random.default_rng(0).normal(size=(2, 6, 9, 8)).astype(np.float32)


def ours(op: str, fields: Mapping[str, Any], *inputs: Array, **weights: Array) -> Array:
    layer = OPS[op].model_validate({"name": "layer", "op": op, **fields})
    shape = layer.output_shape([array.shape for array in inputs])
    exact = {role: array.astype(np.float64) for role, array in weights.items()}
    result = RULES[op].reference(layer, [array.astype(np.float64) for array in inputs], exact, shape)
    assert result.shape == shape
    return result


def theirs(op: str, attributes: Mapping[str, Any], *inputs: Array | None, opset: int = 20) -> Array:
    names = [f"i{k}" if array is not None else "" for k, array in enumerate(inputs)]
    node = helper.make_node(op, names, ["y"], **attributes)
    known = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
    types = {"float32": 1, "int64": 7}
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info(name, types[a.dtype.name], a.shape) for name, a in known.items()],
        [helper.make_tensor_value_info("y", 1, None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    (result,) = reference.ReferenceEvaluator(model).run(None, known)
    return np.asarray(result)


def assert_same(got: Array, want: Array) -> None:
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def window(rng: random.Random, *, pooled: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same window as fields of the spec and as attributes of ONNX."""
    kernel, stride = [rng.randint(1, 3), rng.randint(1, 3)], [rng.randint(1, 3), rng.randint(1, 3)]
    dilation = [1, 1] if pooled else [rng.randint(1, 2), rng.randint(1, 2)]
    # ONNX's reference gives pools of auto_pad another shape than its specification.
    kind = "pads" if pooled else rng.choice(("same", "same_lower", "pads", "pads"))
    most = [k - 1 if pooled else 2 for k in kernel] * 2
    pads: Sizes = tuple(rng.randint(0, extent) for extent in most)  # type: ignore[assignment]
    fields = {"kernel": kernel, "stride": stride, "padding": kind if kind != "pads" else pads}
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride}
    attributes |= (
        {"pads": pads} if kind == "pads" else {"auto_pad": "SAME_UPPER" if kind == "same" else "SAME_LOWER"}
    )
    if not pooled:
        fields["dilation"] = attributes["dilations"] = dilation
    return fields, attributes


@pytest.mark.parametrize("seed", range(30))
def test_conv2d(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 (a seed that repeats)
    fields, attributes = window(rng, pooled=False)
    groups = rng.choice((1, 2, 3, 6))
    numbers = np.random.default_rng(seed)
    weight = numbers.normal(size=(2 * groups, 6 // groups, *fields["kernel"])).astype(np.float32)
    bias = numbers.normal(size=2 * groups).astype(np.float32)
    got = ours(
        "conv2d", {**fields, "out_channels": 2 * groups, "groups": groups}, X, weight=weight, bias=bias
    )
    assert_same(got, theirs("Conv", {**attributes, "group": groups}, X, weight, bias))


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_pools(seed: int, ceil: bool) -> None:
    rng = random.Random(seed)  # noqa: S311 (a seed that repeats)
    fields, attributes = window(rng, pooled=True)
    fields, attributes = {**fields, "ceil_mode": ceil}, {**attributes, "ceil_mode": int(ceil)}
    assert_same(ours("max_pool2d", fields, X), theirs("MaxPool", attributes, X))
    for include in (False, True):
        got = ours("avg_pool2d", {**fields, "count_include_pad": include}, X)
        assert_same(got, theirs("AveragePool", {**attributes, "count_include_pad": int(include)}, X))


@pytest.mark.parametrize("size", [(18, 16), (9, 24), (7, 11), (5, 3), (1, 1), (20, 1)])
@pytest.mark.parametrize(
    ("fields", "attributes"),
    [
        (
            {"mode": "nearest"},
            {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        ),
        ({"mode": "bilinear"}, {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
        (
            {"mode": "bilinear", "align_corners": True},
            {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        ),
    ],
)
def test_upsample(fields: Mapping[str, Any], attributes: Mapping[str, Any], size: tuple[int, int]) -> None:
    sizes = np.array([*X.shape[:2], *size], np.int64)
    assert_same(
        ours("upsample", {**fields, "size": size}, X), theirs("Resize", attributes, X, None, None, sizes)
    )


@pytest.mark.parametrize(
    ("op", "fields", "onnx_op", "attributes"),
    [
        ("relu", {}, "Relu", {}),
        ("leaky_relu", {"slope": 0.2}, "LeakyRelu", {"alpha": 0.2}),
        ("sigmoid", {}, "Sigmoid", {}),
        ("tanh", {}, "Tanh", {}),
        ("elu", {"alpha": 0.7}, "Elu", {"alpha": 0.7}),
        ("gelu", {}, "Gelu", {}),
        ("gelu", {"approximate": "tanh"}, "Gelu", {"approximate": "tanh"}),
        ("softplus", {}, "Softplus", {}),
        ("hard_sigmoid", {"alpha": 0.3, "beta": 0.4}, "HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("hard_swish", {}, "HardSwish", {}),
        ("mish", {}, "Mish", {}),
        ("global_avg_pool", {}, "GlobalAveragePool", {}),
        ("softmax", {"axis": 1}, "Softmax", {"axis": 1}),
        ("softmax", {}, "Softmax", {"axis": -1}),
        ("flatten", {}, "Flatten", {"axis": 1}),
        ("transpose", {"axes": [0, 3, 1, 2]}, "Transpose", {"perm": [0, 3, 1, 2]}),
    ],
)
def test_one_input(op: str, fields: Mapping[str, Any], onnx_op: str, attributes: Mapping[str, Any]) -> None:
    x = 4 * X  # into the saturated parts
    assert_same(ours(op, fields, x), theirs(onnx_op, attributes, x))


def test_prelu_and_batch_norm() -> None:
    slope, *norm = np.abs(np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32))
    assert_same(ours("prelu", {}, X, weight=slope), theirs("PRelu", {}, X, slope.reshape(6, 1, 1)))
    roles = dict(zip(("weight", "bias", "running_mean", "running_var"), norm, strict=True))
    got = ours("batch_norm", {"epsilon": 1e-3}, X, **roles)
    assert_same(got, theirs("BatchNormalization", {"epsilon": 1e-3}, X, *norm))


def test_pad_and_concat() -> None:
    pads = np.array([0, 0, 1, 2, 0, 0, 3, 0], np.int64)
    got = ours("pad", {"padding": [1, 2, 3, 0], "value": -0.5}, X)
    assert_same(got, theirs("Pad", {}, X, pads, np.array(-0.5, np.float32)))
    assert_same(ours("concat", {"axis": -1}, X, X), theirs("Concat", {"axis": 3}, X, X))
