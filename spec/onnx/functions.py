"""Functions that a model defines for itself: each call is replaced by the function's nodes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx.inliner

from cnngen.spec.errors import ImportModelError, Problem

_MOST_NODES = 1 << 20
_Key = tuple[str, str]


def inline_functions(model: onnx.ModelProto, where: str | None) -> onnx.ModelProto:
    """The model without functions. Raises ImportModelError where they call themselves, or without end."""
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    sizes: dict[_Key, float] = {}
    if sum(_size(node, bodies, sizes, ()) for node in model.graph.node) > _MOST_NODES:
        text = "its functions call themselves, or are too many when written out"
        raise ImportModelError(Problem(text, where=where))
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # noqa: BLE001 (whatever the library finds wrong with them)
        raise ImportModelError(Problem(f"its functions are damaged: {error}", where=where)) from None


def _size(
    node: onnx.NodeProto,
    bodies: dict[_Key, Sequence[onnx.NodeProto]],
    sizes: dict[_Key, float],
    callers: tuple[_Key, ...],
) -> float:
    """How many nodes stand in the place of one; infinite where a function calls itself."""
    key = (node.domain, node.op_type)
    if key not in bodies:
        return 1.0
    if key in callers:
        return float("inf")
    if key not in sizes:
        sizes[key] = sum(_size(inner, bodies, sizes, (*callers, key)) for inner in bodies[key])
    return sizes[key]
