"""Functions of one element that a model spells out."""

from __future__ import annotations

import math
from collections.abc import Callable

from cnngen.spec.importing.draft import Draft
from cnngen.spec.importing.patterns.graph import Graph, near, number

# the function, its fields, what it is applied to, the layers that it replaces
Found = tuple[str, dict[str, object], Draft, list[Draft]]
_Pattern = Callable[[Draft], "Found | None"]


def name_functions(graph: Graph) -> None:
    """Layers that make up one known function. Parts that others read stay, where somebody does."""
    for layer in graph.layers:
        for pattern in _PATTERNS.get(layer.op, ()):
            found = pattern(layer)
            if found is not None:
                function, fields, x, parts = found
                graph.become(layer, function, [x], fields, parts)
                break


def _gated(layer: Draft) -> Found | None:
    """X * sigmoid(x), x * hard_sigmoid(x), x * tanh(softplus(x))."""
    if len(layer.inputs) != 2:
        return None
    for x, gate in (layer.inputs, layer.inputs[::-1]):
        if gate.op == "sigmoid" and gate.inputs == [x]:
            return "silu", {}, x, [gate, layer]
        slope, offset = gate.fields.get("alpha"), gate.fields.get("beta")
        if gate.op == "hard_sigmoid" and gate.inputs == [x] and near(slope, 1 / 6) and near(offset, 0.5):
            return "hard_swish", {}, x, [gate, layer]
        inner = gate.inputs[0] if gate.op == "tanh" else gate
        if inner.op == "softplus" and inner is not gate and inner.inputs == [x] and not inner.fields:
            return "mish", {}, x, [inner, gate, layer]
    return None


def _gated_sixths(layer: Draft) -> Found | None:
    """X * min(max(x + 3, 0), 6) / 6, whatever the order of the factors."""
    factors, products, constant = _factors(layer)
    if len(factors) == 2 and near(constant, 1 / 6):
        for x, gate in (factors, factors[::-1]):
            shifted = _clipped(gate)
            if shifted is not None and shifted.inputs == [x]:
                return "hard_swish", {}, x, [shifted, gate, *products]
    return None


def _sixth(layer: Draft) -> Found | None:
    """min(max(x + 3, 0), 6) / 6."""
    value = number(layer)
    factor = None if not value else value if layer.op == "mul" else 1 / value
    shifted = _clipped(layer.inputs[0])
    if factor is None or shifted is None or not near(factor, 1 / 6):
        return None
    fields: dict[str, object] = {"alpha": 1 / 6, "beta": 0.5}
    return "hard_sigmoid", fields, shifted.inputs[0], [shifted, layer.inputs[0], layer]


def _clipped(gate: Draft) -> Draft | None:
    """The layer x + 3 of min(max(x + 3, 0), 6)."""
    bounded = gate.op == "relu6" or (
        gate.op == "clip" and near(gate.fields.get("min"), 0.0) and near(gate.fields.get("max"), 6.0)
    )
    shifted = gate.inputs[0] if bounded else gate
    return shifted if bounded and shifted.op == "add" and near(number(shifted), 3.0) else None


def _factors(layer: Draft) -> tuple[list[Draft], list[Draft], float]:
    """What a product is made of: its factors that are no products, the products, and its numbers together."""
    factors: list[Draft] = []
    products: list[Draft] = []
    constant, stack = 1.0, [layer]
    while stack and len(products) < 5:
        draft = stack.pop()
        value = number(draft)
        squared = len(draft.inputs) == 2 and draft.inputs[0] is draft.inputs[1]
        if draft.op == "mul" and len(draft.inputs) == 2 and not squared:
            products.append(draft)
            stack += draft.inputs
        elif draft.op in ("mul", "div") and value:
            products.append(draft)
            constant = constant * value if draft.op == "mul" else constant / value
            stack += draft.inputs
        else:
            factors.append(draft)
    return factors + stack, products, constant


def _gelu(layer: Draft) -> Found | None:
    """X * (1 + erf(x / sqrt 2)) / 2, or by tanh, whatever the order of the factors."""
    factors, products, constant = _factors(layer)
    if len(factors) != 2 or not near(constant, 0.5):
        return None
    for x, shifted in (factors, factors[::-1]):
        bell = shifted.inputs[0] if shifted.op == "add" and len(shifted.inputs) == 1 else shifted
        if not near(number(shifted), 1.0) or bell is shifted:
            continue
        if bell.op == "erf":
            inner, parts, scale = _factors(bell.inputs[0])
            if inner == [x] and near(scale, 1 / math.sqrt(2)):
                return "gelu", {}, x, [*parts, bell, shifted, *products]
        elif bell.op == "tanh":
            cubic = _cubic(bell.inputs[0], x)
            if cubic is not None:
                return "gelu", {"approximate": "tanh"}, x, [*cubic, bell, shifted, *products]
    return None


def _cubic(layer: Draft, x: Draft) -> list[Draft] | None:
    """The layers of sqrt(2 / pi) * (x + 0.044715 * x^3)."""
    sums, parts, scale = _factors(layer)
    if (
        len(sums) != 1
        or sums[0].op != "add"
        or len(sums[0].inputs) != 2
        or not near(scale, math.sqrt(2 / math.pi))
    ):
        return None
    terms = [term for term in sums[0].inputs if term is not x]
    if len(terms) != 1:
        return None
    powers, more, coefficient = _factors(terms[0])
    if not near(coefficient, 0.044715) or not _is_cube(powers, x):
        return None
    return [*powers, *more, sums[0], *parts]


def _is_cube(powers: list[Draft], x: Draft) -> bool:
    """x^3 as one power, or as products of x and x * x."""
    if len(powers) == 1:
        return powers[0].op == "pow" and powers[0].inputs == [x] and near(number(powers[0]), 3.0)
    count = 0
    for power in powers:
        count += 1 if power is x else 2 if power.op == "mul" and power.inputs == [x, x] else 4
    return count == 3


def _sigmoid(layer: Draft) -> Found | None:
    """1 / (1 + exp(-x)), and x / (1 + exp(-x)), which is silu."""
    over = layer.inputs[-1] if layer.op == "div" and len(layer.inputs) == 2 else layer.inputs[0]
    one = layer.op == "reciprocal" or (
        layer.op == "div" and layer.fields.get("reverse") is True and near(layer.fields.get("value"), 1.0)
    )
    if over.op != "add" or not near(number(over), 1.0):
        return None
    power = over.inputs[0]
    negated = power.inputs[0] if power.op == "exp" else power
    if power.op != "exp" or negated.op != "neg":
        return None
    x = negated.inputs[0]
    if one:
        return "sigmoid", {}, x, [negated, power, over, layer]
    return ("silu", {}, x, [negated, power, over, layer]) if layer.inputs[0] is x else None


def _softplus(layer: Draft) -> Found | None:
    """log(1 + exp(x))."""
    shifted = layer.inputs[0]
    if shifted.op != "add" or not near(number(shifted), 1.0) or shifted.inputs[0].op != "exp":
        return None
    return "softplus", {}, shifted.inputs[0].inputs[0], [shifted.inputs[0], shifted, layer]


_PATTERNS: dict[str, tuple[_Pattern, ...]] = {
    "mul": (_gated, _gated_sixths, _gelu, _sixth),
    "div": (_gated_sixths, _gelu, _sixth, _sigmoid),
    "reciprocal": (_sigmoid,),
    "log": (_softplus,),
}
