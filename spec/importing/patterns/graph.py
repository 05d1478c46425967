"""What the rewrites share: who reads what, and replacing one layer by another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cnngen.spec.importing.draft import Draft, Imported, users


def instead(imported: Imported, old: Draft, new: Draft) -> Imported:
    """`new` wherever `old` was read or handed out."""
    for layer in imported.layers:
        if old in layer.inputs and layer is not new:
            layer.inputs = [new if source is old else source for source in layer.inputs]
    return replace(imported, outputs=tuple(new if output is old else output for output in imported.outputs))


def sole_user(imported: Imported, source: Draft, user: Draft) -> bool:
    """Whether nothing but `user` reads a layer, nor is it handed out."""
    return source not in imported.outputs and users(imported.layers).get(source) == [user]


def become(
    imported: Imported, layer: Draft, op: str, inputs: Sequence[Draft], fields: dict[str, object],
    parts: Sequence[Draft],
) -> None:  # fmt: skip
    """Makes `layer` the one that does what all `parts` did; its weights go."""
    own = imported.names.layer(layer.node, op, None)
    layer.name = imported.names.merged(own, [part.node for part in parts])
    layer.op, layer.inputs, layer.fields, layer.parameters = op, list(inputs), fields, {}


def near(value: object, wanted: float) -> bool:
    """Whether a field is that number, as far as float32 tells."""
    return isinstance(value, float) and math.isclose(value, wanted, rel_tol=1e-6, abs_tol=1e-12)


def number(layer: Draft) -> float | None:
    """The number that is a layer's second operand; None where it has another, or stands first."""
    value = layer.fields.get("value")
    return value if isinstance(value, float) and not layer.fields.get("reverse") else None


def numbers(value: object) -> list[int]:
    """A field that is a list of whole numbers; [] where it is none."""
    return value if isinstance(value, list) and all(isinstance(item, int) for item in value) else []


def is_range(array: object, count: int) -> bool:
    """Whether a tensor holds 0, 1, ..., count - 1."""
    flat = np.asarray(array).reshape(-1)
    return flat.size == count and bool(np.array_equal(flat.astype(np.float64), np.arange(count)))
