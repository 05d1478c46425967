"""One model imported for several input shapes as one: its layers in words that hold for every shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from cnngen.spec.errors import ImportModelError, Problem, SpecError
from cnngen.spec.importing.draft import Draft, Imported
from cnngen.spec.manifest import Array
from cnngen.spec.network import NetworkSpec
from cnngen.spec.resolve import resolve
from cnngen.spec.types import Shape

InputShapes = Mapping[str, Sequence[int] | Sequence[Sequence[int]]] | Sequence[Mapping[str, Sequence[int]]]
"""Shapes by input, or several of them; or a mapping a profile."""


def profiles_of(shapes: InputShapes | None, where: str | None = None) -> list[dict[str, Shape]]:
    """The input shapes of each profile, at least of one. Raises ImportModelError where inputs differ in how many."""
    if shapes is None:
        return [{}]
    if not isinstance(shapes, Mapping):
        return [{name: tuple(shape) for name, shape in profile.items()} for profile in shapes] or [{}]
    every = {name: _several(given) for name, given in shapes.items()}
    counts = {name: len(given) for name, given in every.items() if len(given) > 1}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} for {name!r}" for name, count in counts.items())
        text = f"several shapes are as many profiles, so each input needs one shape or as many as others, got {told}"
        raise ImportModelError(Problem(text, where=where))
    return [
        {name: given[k if len(given) > 1 else 0] for name, given in every.items()}
        for k in range(max(counts.values(), default=1))
    ]


def _several(given: Sequence[int] | Sequence[Sequence[int]]) -> list[Shape]:
    shapes = [tuple(shape) for shape in given if isinstance(shape, Sequence)]
    return shapes or [tuple(size for size in given if not isinstance(size, Sequence))]


def merge(profiles: Sequence[Imported], where: str | None = None) -> Imported:
    """The first one, with what depends on the input's size said relative to it.

    Raises ImportModelError with every layer that cannot be the same in all profiles.
    """
    first = profiles[0]
    if len(profiles) == 1:
        return first
    for other in profiles[1:]:
        if _structure(other) != _structure(first):
            text = (
                f"it has other layers with {_told(other)} than with {_told(first)}, {_parting(first, other)}"
            )
            raise ImportModelError(Problem(f"{text}; profiles share their layers", where=where))
    problems = []
    for same in zip(*(imported.layers for imported in profiles), strict=True):
        fields = _fields(same)
        if fields is None:
            differing = _differing(same)
            each = "; ".join(
                f"{_words(layer, differing)} with {_told(imported)}"
                for layer, imported in zip(same, profiles, strict=True)
            )
            text = f"{same[0].op}: depends on the input's size, but profiles share their layers: {each}"
            problems.append(Problem(text, where=where, layer=same[0].name))
            continue
        for role, parameter in same[0].parameters.items():
            if not all(_equal(parameter.array, layer.parameters[role].array) for layer in same[1:]):
                text = (
                    f"{same[0].op}: its {role} depends on the input's size, but profiles share their weights"
                )
                problems.append(Problem(text, where=where, layer=same[0].name))
        same[0].fields = fields
    if problems:
        raise ImportModelError(problems)
    return first


def check_shapes(spec: NetworkSpec, profiles: Sequence[Imported], where: str | None = None) -> None:
    """Raises ImportModelError where a layer of the spec has another shape in a profile than the model's."""
    problems = []
    for k, imported in enumerate(profiles):
        try:
            shapes = resolve(spec, imported.inputs[0].shape[0], k).shapes
        except SpecError as error:
            raise ImportModelError(Problem(str(problem), where=where) for problem in error.problems) from None
        known: set[Draft] = set()  # what depends on no input stands for any batch
        for layer, own in zip(imported.layers, profiles[0].layers, strict=True):
            if known.issuperset(layer.inputs):
                known.add(layer)
            elif shapes[own.name] != layer.shape:
                text = f"{layer.op}: would be {list(shapes[own.name])} with {_told(imported)}, is {list(layer.shape)}"
                problems.append(Problem(text, where=where, layer=own.name))
                break  # those behind it follow
    if problems:
        raise ImportModelError(problems)


def _told(imported: Imported) -> str:
    return ", ".join(f"{draft.name} {'x'.join(map(str, draft.shape))}" for draft in imported.inputs)


def _structure(imported: Imported) -> object:
    """What has to be equal before layers can be compared: ops, who reads what, types, kinds of weights."""
    number = {draft: k for k, draft in enumerate((*imported.inputs, *imported.layers))}
    layers = [
        (layer.op, layer.dtype, tuple(number[source] for source in layer.inputs), tuple(layer.parameters))
        for layer in imported.layers
    ]
    nhwc = {number[draft] for draft in imported.nhwc if draft in number}
    return len(imported.inputs), layers, [number[draft] for draft in imported.outputs], nhwc


def _parting(a: Imported, b: Imported) -> str:
    """Where the layers of two imports part."""
    ops = [[layer.op for layer in imported.layers] for imported in (a, b)]
    place = next((k for k, (x, y) in enumerate(zip(*ops, strict=False)) if x != y), min(map(len, ops)))
    before = f"after {a.layers[place - 1].name!r}" if place else "at first"
    ours, theirs = (found[place] if place < len(found) else "none" for found in ops)
    return f"{before} {theirs} in place of {ours}" if ours != theirs else "which read others"


def _differing(same: Sequence[Draft]) -> list[str]:
    """The fields that are not equal in all profiles."""
    names = dict.fromkeys(name for layer in same for name in layer.fields)
    return [
        name for name in names if any(layer.fields.get(name) != same[0].fields.get(name) for layer in same)
    ]


def _words(layer: Draft, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {layer.fields[name]}" for name in names if name in layer.fields)


def _fields(same: Sequence[Draft]) -> dict[str, object] | None:
    """Fields that mean the layer in every profile; None where there are no such."""
    differing = _differing(same)
    if not differing:
        return same[0].fields
    relative = {"reshape": _reshape, "resize": _resize, "upsample": _upsample, "slice": _slice}.get(
        same[0].op
    )
    changed = relative(same) if relative else None
    if changed is None or not set(differing) <= set(changed):
        return None
    fields = {**same[0].fields, **changed}
    return {name: value for name, value in fields.items() if value is not None}


def _reshape(same: Sequence[Draft]) -> dict[str, object] | None:
    """0 where an axis is the input's, -1 for one other."""
    shape: list[int] = []
    for axis in range(len(same[0].shape)):
        given = {_numbers(layer, "shape")[axis] for layer in same}
        is_kept = all(
            axis < len(layer.inputs[0].shape) and layer.inputs[0].shape[axis] == layer.shape[axis]
            for layer in same
        )
        shape.append(given.pop() if len(given) == 1 else 0 if is_kept else -1)
    return {"shape": shape} if shape.count(-1) < 2 else None


def _resize(same: Sequence[Draft]) -> dict[str, object] | None:
    """The same factors in place of sizes."""
    if any("sizes" not in layer.fields for layer in same):
        return None
    factors = []
    for layer in same:
        x = layer.inputs[0].shape
        axes = _numbers(layer, "axes") if "axes" in layer.fields else range(2, len(x))
        factors.append([Fraction(layer.shape[axis], x[axis]) for axis in axes])
    if any(found != factors[0] for found in factors):
        return None
    return {"sizes": None, "scales": [float(factor) for factor in factors[0]]}


def _upsample(same: Sequence[Draft]) -> dict[str, object] | None:
    """A whole factor in place of a size."""
    factors = [
        [Fraction(layer.shape[axis], layer.inputs[0].shape[axis]) for axis in (2, 3)] for layer in same
    ]
    if any(found != factors[0] for found in factors) or any(f.denominator != 1 for f in factors[0]):
        return None
    return {"size": None, "scale": [int(factor) for factor in factors[0]]}


def _slice(same: Sequence[Draft]) -> dict[str, object] | None:
    """Bounds counted from the end, where they are equal so."""
    axes = _numbers(same[0], "axes")
    if any(layer.fields["axes"] != same[0].fields["axes"] for layer in same):
        return None
    changed: dict[str, object] = {}
    for name in ("starts", "ends"):
        bounds: list[int | None] = []
        for place, axis in enumerate(axes):
            given = [_bounds(layer, name)[place] for layer in same]
            extents = [layer.inputs[0].shape[axis] for layer in same]
            from_end = {None if g is None else g - extent for g, extent in zip(given, extents, strict=True)}
            if len(set(given)) == 1:
                bounds.append(given[0])
            elif from_end == {0} and name == "ends":
                bounds.append(None)
            elif len(from_end) == 1 and (least := from_end.pop()) is not None and least < 0:
                bounds.append(least)
            else:
                return None
        changed[name] = bounds
    return changed


def _numbers(layer: Draft, field: str) -> list[int]:
    value = layer.fields[field]
    return [int(number) for number in value] if isinstance(value, (list, tuple)) else []


def _bounds(layer: Draft, field: str) -> list[int | None]:
    value = layer.fields[field]
    return list(value) if isinstance(value, (list, tuple)) else []


def _equal(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
