"""Rewrites of drafted layers to what a person would have written: each says one pattern shorter."""

from __future__ import annotations

import math
from dataclasses import replace

from cnngen.spec.importing.draft import Draft, Imported, users
from cnngen.spec.ops import ACTIVATIONS

_FUNCTIONS = frozenset(str(cls.model_fields["op"].default) for cls in ACTIVATIONS)
_TO_NHWC, _TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def simplify(imported: Imported) -> Imported:
    """All rewrites, in order."""
    for rewrite in (
        _merge_reshapes,  # first: shape noise stands between the layers of the others
        _cancel_transposes,
        _name_functions,
        _add_biases,  # before activations, which come after the bias
        _fold_pads,
        _fold_activations,
        _fold_layouts,
    ):
        imported = rewrite(imported).without_dead()
    return imported


def _instead(imported: Imported, old: Draft, new: Draft) -> Imported:
    """`new` wherever `old` was read or handed out."""
    for layer in imported.layers:
        layer.inputs = [new if source is old else source for source in layer.inputs]
    return replace(imported, outputs=tuple(new if output is old else output for output in imported.outputs))


def _sole_user(imported: Imported, source: Draft, user: Draft) -> bool:
    return source not in imported.outputs and users(imported.layers).get(source) == [user]


def _merge_reshapes(imported: Imported) -> Imported:
    """A reshape of a reshape is one, or none."""
    for layer in imported.layers:
        if layer.op not in ("reshape", "flatten"):
            continue
        source = layer.inputs[0]
        while source.op in ("reshape", "flatten"):
            source = source.inputs[0]
        layer.inputs = [source]
        if layer.op == "reshape" or source.shape[0] != layer.shape[0]:
            free = 0 if source.shape[0] == layer.shape[0] else -1
            layer.op, layer.fields = "reshape", {"shape": [free, *layer.shape[1:]]}
        if source.shape == layer.shape and layer not in imported.outputs:
            imported = _instead(imported, layer, source)
    return imported


def _cancel_transposes(imported: Imported) -> Imported:
    """A transpose and its inverse are nothing."""
    for layer in imported.layers:
        source = layer.inputs[0] if layer.inputs else layer
        if layer.op == source.op == "transpose" and layer not in imported.outputs:
            first, second = source.fields["axes"], layer.fields["axes"]
            if isinstance(first, list) and isinstance(second, list):
                axes = [first[axis] for axis in second]
                layer.inputs, layer.fields = [source.inputs[0]], {"axes": axes}
                if axes == sorted(axes):
                    imported = _instead(imported, layer, source.inputs[0])
    return imported


def _name_functions(imported: Imported) -> Imported:
    """Products that make up one known function: silu, hard_swish, mish, gelu."""
    for layer in imported.layers:
        found = (_gated(layer) or _gelu(layer)) if layer.op == "mul" else None
        if found is not None:
            function, x, parts = found
            layer.name = imported.names.merged(layer.name, [part.node for part in parts])
            layer.op, layer.inputs, layer.fields, layer.parameters = function, [x], {}, {}
    return imported


# the function, what it is applied to, the layers that it replaces
_Found = tuple[str, Draft, list[Draft]]


def _gated(layer: Draft) -> _Found | None:
    """X * sigmoid(x), x * hard_sigmoid(x), x * tanh(softplus(x))."""
    if len(layer.inputs) != 2:
        return None
    for x, gate in (layer.inputs, layer.inputs[::-1]):
        if gate.op == "sigmoid" and gate.inputs == [x]:
            return "silu", x, [gate, layer]
        slope, offset = gate.fields.get("alpha"), gate.fields.get("beta")
        if gate.op == "hard_sigmoid" and gate.inputs == [x] and _near(slope, 1 / 6) and _near(offset, 0.5):
            return "hard_swish", x, [gate, layer]
        inner = gate.inputs[0] if gate.op == "tanh" else gate
        if inner.op == "softplus" and inner is not gate and inner.inputs == [x]:
            return "mish", x, [inner, gate, layer]
    return None


def _gelu(layer: Draft) -> _Found | None:
    """X * (1 + erf(x / sqrt 2)) * 0.5, whatever the order of the factors."""
    factors: list[Draft] = []
    products: list[Draft] = []
    constant, stack = 1.0, [layer]
    while stack and len(products) < 4:
        draft = stack.pop()
        value = draft.fields.get("value")
        if draft.op == "mul" and len(draft.inputs) == 2:
            products.append(draft)
            stack += draft.inputs
        elif (
            draft.op in ("mul", "div")
            and isinstance(value, float)
            and value
            and "reverse" not in draft.fields
        ):
            products.append(draft)
            constant = constant * value if draft.op == "mul" else constant / value
            stack += draft.inputs
        else:
            factors.append(draft)
    if len(factors) != 2 or not _near(constant, 0.5):
        return None
    for x, shifted in (factors, factors[::-1]):
        bell = shifted.inputs[0] if shifted.op == "add" else shifted
        if bell.op == "erf" and _near(shifted.fields.get("value"), 1.0):
            scaled = bell.inputs[0]
            by = {"mul": 1 / math.sqrt(2), "div": math.sqrt(2)}.get(scaled.op, math.nan)
            if scaled.inputs == [x] and _near(scaled.fields.get("value"), by):
                return "gelu", x, [scaled, bell, shifted, *products]
    return None


def _near(value: object, wanted: float) -> bool:
    return isinstance(value, float) and math.isclose(value, wanted, rel_tol=1e-4)


def _add_biases(imported: Imported) -> Imported:
    """A constant a channel that is added to a convolution or a matrix product is its bias."""
    for layer in imported.layers:
        source = layer.inputs[0] if layer.inputs else layer
        parameter = layer.parameters.get("parameter")
        weighted = source.op in ("conv2d", "linear") and source.fields.get("bias") is False
        if layer.op != "add" or parameter is None or not weighted or not _sole_user(imported, source, layer):
            continue
        channels = source.shape[1] if source.op == "conv2d" else source.shape[-1]
        shape = (channels, 1, 1) if source.op == "conv2d" else (channels,)
        if parameter.array.shape == shape:
            del source.fields["bias"]
            source.parameters["bias"] = replace(parameter, array=parameter.array.reshape(-1))
            imported = _instead(imported, layer, source)
    return imported


def _fold_pads(imported: Imported) -> Imported:
    """Zeros around a convolution's input are its padding."""
    for layer in imported.layers:
        source = layer.inputs[0] if layer.inputs else layer
        padding = layer.fields.get("padding", [0, 0, 0, 0])
        extra = source.fields.get("padding")
        if layer.op != "conv2d" or source.op != "pad" or "value" in source.fields:
            continue
        if isinstance(padding, list) and isinstance(extra, list) and _sole_user(imported, source, layer):
            layer.inputs = list(source.inputs)
            layer.fields["padding"] = [a + b for a, b in zip(padding, extra, strict=True)]
    return imported


def _fold_activations(imported: Imported) -> Imported:
    """A function of nothing but a convolution's or linear's result is its activation."""
    for layer in imported.layers:
        source = layer.inputs[0] if layer.inputs else layer
        weighted = source.op in ("conv2d", "linear") and "activation" not in source.fields
        if layer.op in _FUNCTIONS and weighted and _sole_user(imported, source, layer):
            source.fields["activation"] = {"op": layer.op, **layer.fields} if layer.fields else layer.op
            imported = _instead(imported, layer, source)
    return imported


def _fold_layouts(imported: Imported) -> Imported:
    """A transpose of an input or output between NCHW and NHWC is the layout of the user's array."""
    nhwc = set(imported.nhwc)
    readers = users(imported.layers)
    for draft in imported.inputs:
        read = readers.get(draft, [])
        if read and all(user.op == "transpose" and user.fields["axes"] == _TO_NCHW for user in read):
            n, h, w, c = draft.shape
            draft.shape = (n, c, h, w)
            nhwc.add(draft)
            for user in read:
                imported = _instead(imported, user, draft)
    for output in imported.outputs:
        if output.op == "transpose" and output.fields["axes"] == _TO_NHWC and output not in readers:
            source = output.inputs[0]
            if source.op != "input" and source not in imported.outputs:
                nhwc.add(source)
                imported = _instead(imported, output, source)
    return replace(imported, nhwc=frozenset(nhwc))
