"""Functions that a model defines for itself: each call is replaced by the function's nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

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


def body_of(node: onnx.NodeProto, opset: int, types: Sequence[onnx.TypeProto]) -> onnx.FunctionProto | None:
    """What ONNX itself says that an operator is made of; None where it is one of its own.

    Args:
        node: a node of the operator.
        opset: the version of ONNX's operators.
        types: of the node's inputs; one without a type for each that is left out.
    """
    version = min(opset, onnx.defs.onnx_opset_version())
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, max_inclusive_version=version)
        if schema.has_context_dependent_function:
            found = schema.context_dependent_function_opset_versions
            given = max(number for number in found if number <= version)
            data = [kind.SerializeToString() for kind in types]
            text = schema.get_context_dependent_function_with_opset_version(
                given, node.SerializeToString(), data
            )
        elif schema.has_function:
            given = max(number for number in schema.function_opset_versions if number <= version)
            text = schema.get_function_with_opset_version(given)
        else:
            return None
        function = onnx.FunctionProto()
        function.ParseFromString(text)
    except Exception:  # noqa: BLE001 (whatever the library finds wrong with the node)
        return None
    return function


def call(function: onnx.FunctionProto, node: onnx.NodeProto, prefix: str) -> list[onnx.NodeProto]:
    """The nodes that stand in the place of `node`; every name inside begins with `prefix`."""
    names = {formal: actual for formal, actual in zip(function.input, node.input, strict=False) if actual}
    names |= {formal: actual for formal, actual in zip(function.output, node.output, strict=False) if actual}
    given = {attribute.name: attribute for attribute in (*function.attribute_proto, *node.attribute)}
    known = names.keys() | {name for inner in function.node for name in inner.output}
    return [_written_out(inner, names, known, given, prefix) for inner in function.node]


def _written_out(
    inner: onnx.NodeProto,
    names: Mapping[str, str],
    known: AbstractSet[str],
    given: Mapping[str, onnx.AttributeProto],
    prefix: str,
) -> onnx.NodeProto:
    """A node of a function's body with the caller's names and attributes."""

    def name_of(name: str) -> str:
        if not name or name not in known:
            return ""  # an input that the caller leaves out
        return names.get(name) or f"{prefix}{name}"

    copy = onnx.NodeProto()
    copy.CopyFrom(inner)
    copy.name = ""
    copy.input[:] = [name_of(name) for name in inner.input]
    copy.output[:] = [name_of(name) for name in inner.output]
    del copy.attribute[:]
    for attribute in inner.attribute:
        if not attribute.ref_attr_name:
            copy.attribute.append(attribute)
        elif attribute.ref_attr_name in given:
            bound = copy.attribute.add()
            bound.CopyFrom(given[attribute.ref_attr_name])
            bound.name = attribute.name
    for attribute in copy.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
            outer = {name: name_of(name) for name in known}
            _rename(graph, outer)
    return copy


_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def _rename(graph: onnx.GraphProto, outer: Mapping[str, str]) -> None:
    """Gives what a branch reads from outside its new name."""
    own = {name for node in graph.node for name in node.output}
    for node in graph.node:
        node.input[:] = [name if name in own else outer.get(name, name) for name in node.input]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
                _rename(inner, {name: new for name, new in outer.items() if name not in own})
    for output in graph.output:
        if output.name not in own:
            output.name = outer.get(output.name, output.name)
