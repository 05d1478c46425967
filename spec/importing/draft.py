"""Layers in the making: what an importer rewrites before it becomes a spec."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from cnngen.spec.importing.naming import Names
from cnngen.spec.manifest import Array
from cnngen.spec.types import Shape

FLOATS = ("float32", "float16", "bfloat16")
"""The element types that are computed with."""


class RefusalError(Exception):
    """Why a node cannot be expressed; `needs`: the network inputs that would have to be constants."""

    def __init__(self, reason: str, needs: Iterable[Draft] = ()) -> None:
        super().__init__(reason)
        self.needs = frozenset(needs)


@dataclass(frozen=True)
class Parameter:
    """A weight of a layer; `origin` names the model's tensor that it is made of."""

    array: Array
    origin: str | None = None


@dataclass(frozen=True)
class Constant:
    """A value known at import; `origin`: its name in the model."""

    array: Array
    origin: str | None = None


@dataclass(eq=False)
class Draft:
    """A layer, or a network input (op "input"). `fields` are the spec's, without name, op and inputs.

    shape:      whole, with axis 0
    parameters: role -> weight; the role "parameter" is a constant operand
    node:       the model's name of the node
    scalar:     the model's value has no axes; here it is [1]
    """

    name: str
    op: str
    inputs: list[Draft]
    shape: Shape
    dtype: str
    fields: dict[str, object] = field(default_factory=dict)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    node: str = ""
    scalar: bool = False


Value = Constant | Draft


@dataclass(frozen=True)
class Imported:
    """A model as drafted layers, in execution order.

    nhwc: inputs and output layers whose user's array is NHWC
    """

    inputs: tuple[Draft, ...]
    layers: tuple[Draft, ...]
    outputs: tuple[Draft, ...]
    names: Names
    nhwc: frozenset[Draft] = frozenset()

    def without_dead(self) -> Imported:
        """The layers that outputs depend on."""
        wanted, stack = set(), list(self.outputs)
        while stack:
            draft = stack.pop()
            if draft not in wanted:
                wanted.add(draft)
                stack.extend(draft.inputs)
        return replace(self, layers=tuple(layer for layer in self.layers if layer in wanted))


def short(value: float) -> float:
    """The shortest decimal that is the same float32: 0.009999999776 is 0.01."""
    return float(str(np.float32(value)))
