"""A scale and shift, by channel or one for all, disappears into the convolution (or matmul) beside it.

What does not becomes one multiplication and one addition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import ACC, Call, Load
from cnngen.codegen.graph import FLOATS, Array, Constant, Graph, Node, Value, unused
from cnngen.codegen.node_ops import Affine, Conv, MatMul, Pointwise
from cnngen.codegen.rewriting import known_weights, with_weights

Linear: TypeAlias = tuple[Array, Array]  # scale and shift, by channel


def fold_batch_norm(graph: Graph) -> Graph:
    """Into the one before it; else, where exact, into the one after it; what is left in a row becomes one `Affine`."""
    graph = _join(_fold_back(graph))
    # One after the other comes into reach where several stand before a convolution.
    while len((folded := _fold_forward(graph)).nodes) < len(graph.nodes):
        graph = folded
    return graph


def _fold_back(graph: Graph) -> Graph:
    """w, b of the node before become w * scale and b * scale + shift."""
    constants = dict(graph.constants)
    replaced: dict[str, Node | None] = {}
    for node in graph.nodes:
        before = replaced.get(node.inputs[0]) or graph.producers.get(node.inputs[0]) if node.inputs else None
        if before is None or graph.sole_consumer(before.name) is not node:
            continue
        weights = known_weights(before, constants)
        if weights is None or (isinstance(before.op, MatMul) and len(before.value.shape) != 2):
            continue
        linear = _scale_and_shift(node, before.value, constants)
        if linear is None:
            continue
        (w, b), (scale, shift) = weights, linear
        w = w * scale.astype(np.float32).reshape(-1, *(1,) * (w.ndim - 1))
        fused = replace(before, value=node.value, layers=before.layers + node.layers, epilogue=ACC)
        replaced[before.name] = None
        replaced[node.name] = with_weights(fused, w, b * scale + shift, constants, graph)
    return _substitute(graph, replaced, constants)


def _fold_forward(graph: Graph) -> Graph:
    """W becomes w * scale over its input channels, b gains w's answer to the shift: exact where nothing is padded."""
    constants = dict(graph.constants)
    replaced: dict[str, Node | None] = {}
    for node in graph.nodes:
        after = graph.sole_consumer(node.name)
        if not isinstance(node.op, Affine) or after is None or not isinstance(after.op, Conv):
            continue
        if graph.values[node.inputs[0]].dtype != node.value.dtype:
            continue
        weights = known_weights(after, constants)
        scale, shift = (np.asarray(constants[name].array, np.float64) for name in node.inputs[1:3])
        if weights is None or after.inputs[0] != node.name or (any(after.op.padding) and shift.any()):
            continue
        w, b = weights
        per_group = w.shape[1]
        channels = np.arange(w.shape[0])[:, None] // (w.shape[0] // after.op.groups) * per_group + np.arange(
            per_group
        )
        b = b + np.einsum("kcrs,kc->k", w, shift[channels])
        w = w * scale.astype(np.float32)[channels][:, :, None, None]
        moved = replace(
            after, inputs=(node.inputs[0], *after.inputs[1:]), layers=node.layers + after.layers, epilogue=ACC
        )
        replaced[node.name] = None
        replaced[after.name] = with_weights(moved, w, b, constants, graph)
    return _substitute(graph, replaced, constants)


def _join(graph: Graph) -> Graph:
    """Several in a row become one, and so does a division: a multiplication takes a tenth of its time."""
    constants = dict(graph.constants)
    replaced: dict[str, Node | None] = {}
    rows: dict[str, tuple[list[Node], Linear]] = {}  # by the last node's name: all in a row, and what they do
    for node in graph.nodes:
        if node.value.dtype not in FLOATS or len(node.value.shape) < 2 or not node.inputs:
            continue
        linear = _scale_and_shift(node, graph.values[node.inputs[0]], constants)
        if linear is None:
            continue
        row = [node]
        if node.inputs[0] in rows and graph.sole_consumer(node.inputs[0]) is node:
            before, (a, b) = rows.pop(node.inputs[0])
            row, linear = [*before, node], (a * linear[0], b * linear[0] + linear[1])
        rows[node.name] = row, linear
    for name, (row, linear) in rows.items():
        # Numbers alone are no tensors to load.
        if all(len(node.inputs) == 1 for node in row) or (len(row) == 1 and not _divides(row[0].epilogue)):
            continue
        replaced |= dict.fromkeys((node.name for node in row), None)
        layers = tuple(layer for node in row for layer in node.layers)
        both = replace(row[-1], inputs=row[0].inputs, layers=layers)
        replaced[name] = _affine(both, linear, constants, graph)
    return _substitute(graph, replaced, constants)


def _divides(expr: ex.Expr) -> bool:
    return any(isinstance(e, Call) and e.function == "div" for e in ex.walk(expr))


def _affine(node: Node, linear: Linear, constants: dict[str, Constant], graph: Graph) -> Node:
    names = []
    for role, array in zip(("scale", "shift"), linear, strict=True):
        names.append(unused(f"{node.layers[-1]}.{role}", {**graph.values, **constants}))
        value = Value(names[-1], array.shape, "float32", "packed")
        constants[names[-1]] = Constant(value, array.astype(np.float32))
    return replace(node, op=Affine(), inputs=(node.inputs[0], *names), epilogue=ACC)


def _scale_and_shift(node: Node, x: Value, constants: Mapping[str, Constant]) -> Linear | None:
    """Both by channel, where a node is x * scale + shift: a norm, or arithmetic with what is known by channel."""
    if isinstance(node.op, Affine):
        scale, shift = (np.asarray(constants[name].array, np.float64) for name in node.inputs[1:3])
        return scale, shift
    if not isinstance(node.op, Pointwise) or (x.shape, x.layout) != (node.value.shape, node.value.layout):
        return None
    if x.dtype != node.value.dtype and x.dtype in FLOATS:  # it rounds
        return None
    if any(name not in constants for name in node.inputs[1:]):
        return None
    here = Load(0, ex.coords(len(x.shape)))
    none, one = np.zeros(x.shape[1]), np.ones(x.shape[1])

    def linear(expr: ex.Expr) -> Linear | None:
        match expr:
            case Load(0):
                return (one, none) if expr == here else None
            case Load(source, index):
                known = _by_channel(constants[node.inputs[source]].array, index)
                return None if known is None else (none, known * one)
            case ex.Float(number):
                return none, number * one
            case Call("add" | "sub" | "mul" | "div" as function, (first, second)):
                return _combined(function, linear(first), linear(second))
        return None

    found = linear(node.epilogue)
    if found is None or (np.all(found[0] == 1) and np.all(found[1] == 0)):
        return None
    return found


def _by_channel(array: Array, index: tuple[ex.Expr, ...]) -> Array | None:
    """What a load of a constant gives each channel, or all of them; None where it knows another coordinate."""
    places: list[int | slice] = []
    for entry in index:
        match entry:
            case ex.Int(place):
                places.append(place)
            case ex.Coord(1):
                places.append(slice(None))
            case _:
                return None
    return np.asarray(array[tuple(places)], np.float64) if places.count(slice(None)) < 2 else None


def _combined(function: str, first: Linear | None, second: Linear | None) -> Linear | None:
    """Of two (scale, shift); None where the result is not linear in x."""
    if first is None or second is None:
        return None
    (a, b), (c, d) = first, second
    match function:
        case "add":
            return a + c, b + d
        case "sub":
            return a - c, b - d
        case "mul" if not a.any() or not c.any():
            return a * d + c * b, b * d
        case "div" if not c.any() and d.all():
            return a / d, b / d
    return None


def _substitute(
    graph: Graph, replaced: Mapping[str, Node | None], constants: Mapping[str, Constant]
) -> Graph:
    nodes = [replaced.get(node.name, node) for node in graph.nodes]
    return graph.with_nodes([node for node in nodes if node is not None], constants)
