"""The layers while they are rewritten: who reads what is kept as they change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cnngen.spec.importing.draft import Draft, Imported


class Graph:
    """Drafted layers in execution order. Inputs of layers change through its methods alone."""

    def __init__(self, imported: Imported) -> None:
        """Takes the layers that outputs depend on."""
        self.inputs = imported.inputs
        self.outputs = list(imported.outputs)
        self.names = imported.names
        self.nhwc = set(imported.nhwc)
        self.layers: list[Draft] = []
        self._readers: dict[Draft, dict[Draft, None]] = {}
        self._keep(imported)

    def imported(self) -> Imported:
        """The layers as they are now."""
        return Imported(
            self.inputs, tuple(self.layers), tuple(self.outputs), self.names, frozenset(self.nhwc)
        ).without_dead()

    def prune(self) -> None:
        """Drops what no output depends on."""
        self._keep(self.imported())

    def _keep(self, imported: Imported) -> None:
        self.layers = list(imported.without_dead().layers)
        self._readers = {}
        for layer in self.layers:
            for source in layer.inputs:
                self._readers.setdefault(source, {})[layer] = None

    def readers(self, draft: Draft) -> list[Draft]:
        """The layers that read one, each once."""
        return list(self._readers.get(draft, {}))

    def sole_user(self, source: Draft, user: Draft) -> bool:
        """Whether nothing but `user` reads a layer, nor is it handed out."""
        return list(self._readers.get(source, {})) == [user] and source not in self.outputs

    def rewire(self, layer: Draft, inputs: Sequence[Draft]) -> None:
        """Lets a layer read others."""
        for source in layer.inputs:
            self._readers.get(source, {}).pop(layer, None)
        layer.inputs = list(inputs)
        for source in inputs:
            self._readers.setdefault(source, {})[layer] = None

    def replace(self, old: Draft, new: Draft) -> None:
        """`new` wherever `old` was read, but by `new` itself, or handed out."""
        for reader in self.readers(old):
            if reader is not new:
                self.rewire(reader, [new if source is old else source for source in reader.inputs])
        self.outputs = [new if output is old else output for output in self.outputs]

    def become(
        self,
        layer: Draft,
        op: str,
        inputs: Sequence[Draft],
        fields: dict[str, object],
        parts: Sequence[Draft],
    ) -> None:
        """Makes `layer` the one that does what all `parts` did; its weights go."""
        own = self.names.layer(layer.node, op, None)
        layer.name = self.names.merged(own, [part.node for part in parts])
        layer.op, layer.fields, layer.parameters = op, fields, {}
        self.rewire(layer, inputs)


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
