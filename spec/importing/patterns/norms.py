"""Normalisation that a model spells out: mean, deviation, quotient, and the scale and bias behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnngen.spec.importing.draft import Draft, Parameter
from cnngen.spec.importing.patterns.graph import Graph, near, number, numbers
from cnngen.spec.types import Shape

_OF_CHANNELS = ("instance_norm", "group_norm")
_NORMS = (*_OF_CHANNELS, "layer_norm", "rms_norm")


def name_norms(graph: Graph) -> None:
    """layer_norm, instance_norm, rms_norm and group_norm, each with its scale and bias."""
    for layer in graph.layers:
        if layer.op in ("div", "mul"):
            _name(graph, layer)
        elif layer.op == "reshape":
            _name_group_norm(graph, layer)
        elif layer.op == "add":
            _name_batch_norm(graph, layer)
    for layer in graph.layers:
        if layer.op in _NORMS and not layer.parameters:
            _take_affine(graph, layer)


@dataclass(frozen=True)
class _Scaled:
    """x / sqrt(square + epsilon), and the layers that make the divisor."""

    x: Draft
    square: Draft
    epsilon: float
    parts: list[Draft]


def _name(graph: Graph, layer: Draft) -> None:
    found = _scaled(layer)
    if found is None:
        return
    axes = _mean_axes(found.square)
    power = found.square.inputs[0]
    if not axes or power.op != "mul" or len(power.inputs) != 2 or power.inputs[0] is not power.inputs[1]:
        return
    rank, base = len(layer.shape), power.inputs[0]
    fields: dict[str, object] = {} if near(found.epsilon, 1e-5) else {"epsilon": found.epsilon}
    trailing = axes == list(range(axes[0], rank))
    if base is found.x and trailing and not _centre(base, axes):
        fields = _axis(axes[0], rank) | fields | {"affine": False}
        graph.become(layer, "rms_norm", [base], fields, [power, found.square, *found.parts, layer])
        return
    x, centred = _centre(base, axes), _centre(found.x, axes)
    if x is None or x is not centred or not trailing:
        return
    parts = [*base.inputs[1:], base, power, found.square, *found.parts, layer]
    if rank > 3 and axes[0] == 2:
        graph.become(layer, "instance_norm", [x], fields, parts)
    else:
        graph.become(layer, "layer_norm", [x], _axis(axes[0], rank) | fields | {"affine": False}, parts)


def _axis(axis: int, rank: int) -> dict[str, object]:
    return {} if axis == rank - 1 else {"axis": axis}


def _scaled(layer: Draft) -> _Scaled | None:
    """The quotient by a square root, as one or as a product."""
    if len(layer.inputs) != 2:
        return None
    pairs = [layer.inputs] if layer.op == "div" else [layer.inputs, layer.inputs[::-1]]
    for x, other in pairs:
        parts = [other]
        if layer.op == "mul":
            inverted = other.op == "reciprocal" or (
                other.op == "div"
                and other.fields.get("reverse") is True
                and near(other.fields.get("value"), 1.0)
            )
            if not inverted and other.op != "rsqrt":
                continue
            if inverted:
                other = other.inputs[0]
                parts.append(other)
        if other.op != ("rsqrt" if parts[0].op == "rsqrt" else "sqrt"):
            continue
        shifted = other.inputs[0]
        epsilon = number(shifted)
        if shifted.op == "add" and epsilon is not None and epsilon >= 0:
            return _Scaled(x, shifted.inputs[0], epsilon, [shifted, *parts])
    return None


def _mean_axes(layer: Draft) -> list[int]:
    """The axes of a mean that keeps them; [] for any other layer."""
    if layer.fields.get("keepdims") is False:
        return []
    if layer.op == "global_avg_pool":
        return list(range(2, len(layer.shape)))
    return numbers(layer.fields.get("axes")) if layer.op == "reduce_mean" else []


def _centre(layer: Draft, axes: list[int]) -> Draft | None:
    """The x of a layer x - mean(x)."""
    if layer.op != "sub" or len(layer.inputs) != 2:
        return None
    x, mean = layer.inputs
    return x if mean.inputs == [x] and _mean_axes(mean) == axes else None


def _name_group_norm(graph: Graph, layer: Draft) -> None:
    """A norm of groups of channels that stand as the channels of another shape."""
    inner = layer.inputs[0]
    outer = inner.inputs[0] if inner.op == "instance_norm" else inner
    if inner.op != "instance_norm" or outer.op != "reshape" or inner.fields.get("affine"):
        return
    x = outer.inputs[0]
    same = x.shape == layer.shape and len(x.shape) > 2 and outer.shape[0] == x.shape[0]
    if not same or x.shape[1] % outer.shape[1]:
        return
    fields: dict[str, object] = {"groups": outer.shape[1], **inner.fields, "affine": False}
    graph.become(layer, "group_norm", [x], fields, [outer, inner, layer])


def _name_batch_norm(graph: Graph, layer: Draft) -> None:
    """(x - mean) * weight + bias, a constant a channel each: a batch_norm whose variance is 1."""
    scaled = layer.inputs[0]
    centred = scaled.inputs[0] if scaled.op == "mul" else scaled
    parts = [centred, scaled, layer]
    if [part.op for part in parts] != ["sub", "mul", "add"] or any(len(part.inputs) != 1 for part in parts):
        return
    shape = (*layer.shape[1:2], *(1,) * (len(layer.shape) - 2))
    given = [part.parameters.get("parameter") for part in parts]
    arrays = [
        parameter.array for parameter in given if parameter is not None and parameter.array.shape == shape
    ]
    alone = graph.sole_user(centred, scaled) and graph.sole_user(scaled, layer)
    if len(arrays) < 3 or len(shape) < 2 or centred.fields.get("reverse") or not alone:
        return
    mean, weight, bias = (array.reshape(-1) for array in arrays)
    graph.become(layer, "batch_norm", centred.inputs, {"epsilon": 0.0}, parts)
    values = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": np.ones_like(mean)}
    layer.parameters = {role: Parameter(array) for role, array in values.items()}


def _take_affine(graph: Graph, norm: Draft) -> None:
    """Makes the product and the sum behind a norm its weight and bias."""
    found: dict[str, Parameter] = {}
    last = norm
    for op, role in (("mul", "weight"), ("add", "bias")):
        readers = graph.readers(last)
        behind = readers[0] if len(readers) == 1 and last not in graph.outputs else None
        given = _affine(behind, norm) if behind is not None and behind.op == op else None
        if behind is not None and given is not None and not (role == "bias" and norm.op == "rms_norm"):
            found[role], last = given, behind
    if not found:
        return
    shape, dtype = next((given.array.shape, given.array.dtype) for given in found.values())
    weight = found.get("weight") or Parameter(np.ones(shape, dtype))
    norm.parameters = {"weight": weight} | ({"bias": found["bias"]} if "bias" in found else {})
    norm.fields.pop("affine", None)
    if norm.op == "instance_norm":
        norm.fields["affine"] = True
    if norm.op == "layer_norm" and "bias" not in found:
        norm.fields["bias"] = False
    if norm.op in _OF_CHANNELS and "bias" not in found:
        norm.parameters["bias"] = Parameter(np.zeros(shape, dtype))
    graph.replace(last, norm)


def _affine(layer: Draft, norm: Draft) -> Parameter | None:
    """The constant operand where it has the shape of a norm's weight."""
    parameter = layer.parameters.get("parameter")
    if parameter is None or layer.shape != norm.shape:
        return None
    rank, axis = len(norm.shape), norm.fields.get("axis", -1)
    if norm.op in _OF_CHANNELS:
        shape: Shape = norm.shape[1:2]
        expected: Shape = (*shape, *(1,) * (rank - 2))
    else:
        shape = expected = norm.shape[axis % rank if isinstance(axis, int) else 0 :]
    if parameter.array.shape != expected:
        return None
    return Parameter(parameter.array.reshape(shape), parameter.origin)
