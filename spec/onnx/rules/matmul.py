"""Matrix products."""

from __future__ import annotations

import numpy as np

from cnngen.spec.importing.draft import Constant, Draft, Parameter, RefusalError
from cnngen.spec.onnx.node import Node
from cnngen.spec.onnx.rules.rule import Rule, same_type


def matmul(node: Node) -> Draft:
    """MatMul; by a constant second matrix it is a linear layer."""
    a, b = node.required(0), node.required(1)
    if isinstance(a, Draft) and isinstance(b, Constant) and b.array.ndim == 2 and len(a.shape) >= 2:
        node.floats(0)
        return _linear(node, a, b)
    left, right = node.floats(0), node.floats(1)
    same_type([left, right])
    return node.draft("matmul", [left, right])


def _linear(node: Node, x: Draft, matrix: Constant) -> Draft:
    fields: dict[str, object] = {"out_features": matrix.array.shape[1], "bias": False}
    transposed = Parameter(np.ascontiguousarray(matrix.array.T), matrix.origin)
    return node.draft("linear", [x], fields, {"weight": transposed})


def gemm(node: Node) -> Draft:
    """Gemm: a linear layer where the second matrix and the bias are constant, else a product and a sum."""
    a, b, c = node.required(0), node.required(1), node.value(2)
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    if beta == 0.0:
        c = None
    if isinstance(b, Constant) and isinstance(a, Draft) and not isinstance(c, Draft):
        x = node.draft("transpose", [a], {"axes": [1, 0]}, named=False) if node.flag("transA") else a
        node.floats(0)
        return _gemm_linear(node, x, b, c, alpha, beta)
    left, right = node.floats(0), node.floats(1)
    same_type([left, right])
    if len(left.shape) != 2 or len(right.shape) != 2:
        raise RefusalError(f"its matrices {list(left.shape)} and {list(right.shape)} are not 2-D")
    transposed = {f"transpose_{name.lower()}": True for name in "AB" if node.flag(f"trans{name}")}
    result = node.draft("matmul", [left, right], transposed)
    if alpha != 1.0:
        result = node.binary("mul", result, alpha)
    if c is None:
        return result
    if beta != 1.0:
        if isinstance(c, Constant):
            c = Constant(c.array * np.asarray(beta, c.array.dtype))
        else:
            c = node.binary("mul", c, beta)
    return node.binary("add", result, c)


def _gemm_linear(
    node: Node, x: Draft, matrix: Constant, bias: Constant | None, alpha: float, beta: float
) -> Draft:
    if len(x.shape) != 2 or matrix.array.ndim != 2:
        raise RefusalError(f"its matrices {list(x.shape)} and {list(matrix.array.shape)} are not 2-D")
    array = matrix.array if node.flag("transB") else matrix.array.T
    if alpha != 1.0:
        array = array * np.asarray(alpha, array.dtype)
    weight = Parameter(np.ascontiguousarray(array), matrix.origin)
    fields: dict[str, object] = {"out_features": array.shape[0]}
    if bias is None:
        return node.draft("linear", [x], fields | {"bias": False}, {"weight": weight})
    value = bias.array if beta == 1.0 else bias.array * np.asarray(beta, bias.array.dtype)
    if value.ndim == 2 and value.shape[0] != 1:  # it differs by row
        product = node.draft("linear", [x], fields | {"bias": False}, {"weight": weight})
        return node.binary("add", product, Constant(value, bias.origin))
    if value.size not in (1, array.shape[0]):
        raise RefusalError(f"its bias {list(bias.array.shape)} does not fit {array.shape[0]} columns")
    value = np.ascontiguousarray(np.broadcast_to(value.reshape(-1), (array.shape[0],)))
    return node.draft("linear", [x], fields, {"weight": weight, "bias": Parameter(value, bias.origin)})


RULES: dict[str, Rule] = {"MatMul": matmul, "Gemm": gemm}
