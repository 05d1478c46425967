"""What becomes a field of a layer with weights: its bias, its padding, its activation."""

from __future__ import annotations

import numpy as np

from cnngen.spec.importing.draft import Draft, Parameter
from cnngen.spec.importing.patterns.graph import Graph, number, numbers
from cnngen.spec.ops import ACTIVATIONS, OPS, WeightedLayer

_FUNCTIONS = frozenset(str(cls.model_fields["op"].default) for cls in ACTIVATIONS)


def _weighted(layer: Draft) -> bool:
    return layer.op in OPS and issubclass(OPS[layer.op], WeightedLayer)


def add_biases(graph: Graph) -> None:
    """A constant a channel that is added to a convolution or a matrix product is its bias."""
    for layer in graph.layers:
        source = layer.inputs[0] if layer.inputs else layer
        if layer.op != "add" or len(layer.inputs) != 1 or not _weighted(source):
            continue
        bias = _bias(layer, source)
        free = source.fields.get("bias") is False and "activation" not in source.fields
        if bias is not None and free and layer.shape == source.shape and graph.sole_user(source, layer):
            del source.fields["bias"]
            source.parameters["bias"] = bias
            graph.replace(layer, source)


def _bias(layer: Draft, source: Draft) -> Parameter | None:
    """The constant operand as one value a channel."""
    last = source.op == "linear"
    channels = source.shape[-1] if last else source.shape[1]
    value, parameter = number(layer), layer.parameters.get("parameter")
    if value is not None:
        weight = source.parameters["weight"].array
        return Parameter(np.full(channels, value, weight.dtype))
    if parameter is None:
        return None
    shape = (channels,) if last else (channels, *(1,) * (len(source.shape) - 2))
    fits = parameter.array.shape == shape
    return Parameter(parameter.array.reshape(-1), parameter.origin) if fits else None


def fold_pads(graph: Graph) -> None:
    """Zeros around the input of a convolution or an average are its padding."""
    for layer in graph.layers:
        source = layer.inputs[0] if layer.inputs else layer
        if layer.op not in ("conv1d", "conv2d", "avg_pool2d") or source.op != "pad":
            continue
        extra = _zeros(source)
        padding = layer.fields.get("padding") or [0] * len(extra)
        if not extra or not isinstance(padding, list) or not graph.sole_user(source, layer):
            continue
        if layer.op == "avg_pool2d":
            inside = any(padding) or layer.fields.get("ceil_mode") or "dilation" in layer.fields
            kernel = layer.fields["kernel"]
            taps = numbers(kernel) * 2
            if inside or any(pad >= size for pad, size in zip(extra, taps, strict=True)):
                continue
            layer.fields["count_include_pad"] = True
        graph.rewire(layer, source.inputs)
        layer.fields["padding"] = [a + b for a, b in zip(padding, extra, strict=True)]


def _zeros(pad: Draft) -> list[int]:
    """How many zeros a pad puts around the spatial axes: (before..., after...); [] where it does otherwise."""
    if {"value", "mode"}.intersection(pad.fields):
        return []
    padding, pairs = pad.fields.get("padding"), pad.fields.get("pads")
    if isinstance(padding, list):
        return numbers(padding)
    if not isinstance(pairs, list) or any(map(any, pairs[:2])) or min(map(min, pairs)) < 0:
        return []
    return [before for before, _ in pairs[2:]] + [after for _, after in pairs[2:]]


def fold_activations(graph: Graph) -> None:
    """A function of nothing but a convolution's or linear's result is its activation."""
    for layer in graph.layers:
        source = layer.inputs[0] if layer.inputs else layer
        free = _weighted(source) and "activation" not in source.fields
        if layer.op in _FUNCTIONS and free and graph.sole_user(source, layer):
            source.fields["activation"] = {"op": layer.op, **layer.fields} if layer.fields else layer.op
            graph.replace(layer, source)
