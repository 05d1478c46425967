"""What torch spells out that the spec has a word for."""

from __future__ import annotations

from dataclasses import replace

from cnngen.spec.importing.draft import Draft, Imported

_LRN = ("pow", "add", "mul", "avg_pool2d", "pad", "mul")  # behind the division, shapes aside
_SHAPES = ("reshape", "flatten")


def name_normalisations(imported: Imported) -> Imported:
    """local_response_norm: x / (bias + alpha * mean(x^2 of neighbouring channels))^beta is one layer."""
    layers = [_lrn(layer) or layer for layer in imported.layers]
    return replace(imported, layers=tuple(layers)).without_dead()


def _lrn(layer: Draft) -> Draft | None:
    if layer.op != "div" or len(layer.inputs) != 2:
        return None
    x, power = layer.inputs
    chain = _chain(power, len(_LRN))
    if tuple(part.op for part in chain) != _LRN or chain[-1].inputs != [x, x]:
        return None
    beta, bias, alpha = (part.fields.get("value") for part in chain[:3])
    kernel = chain[3].fields.get("kernel")
    size = kernel[0] if isinstance(kernel, list) else 0
    # the spec's window reaches as far before as behind; torch's reaches one further before where its size is even
    if None in (beta, bias, alpha) or size % 2 == 0 or "stride" not in chain[3].fields:
        return None
    layer.op, layer.inputs = "lrn", [x]
    layer.fields = {"size": size, "alpha": alpha, "beta": beta, "bias": bias}
    return layer


def _chain(last: Draft, length: int) -> list[Draft]:
    """The layers that lead to `last`, which comes first, without reshapes."""
    found: list[Draft] = []
    draft = last
    while len(found) < length:
        if draft.op not in _SHAPES:
            found.append(draft)
        if not draft.inputs:
            break
        draft = draft.inputs[0]
    return found
