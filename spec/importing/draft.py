"""Layers in the making: what an importer rewrites before it becomes a spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import ValidationError

from cnngen.spec.errors import ShapeError
from cnngen.spec.importing.naming import Names
from cnngen.spec.manifest import Array
from cnngen.spec.ops import OPS
from cnngen.spec.types import Shape


class RefusalError(Exception):
    """Why a node cannot be expressed."""


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
    """

    name: str
    op: str
    inputs: list[Draft]
    shape: Shape
    dtype: str
    fields: dict[str, object] = field(default_factory=dict)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    node: str = ""


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


@dataclass
class Builder:
    """Adds layers one by one.

    batch: the size of axis 0 of the network's inputs
    """

    names: Names
    batch: int
    layers: list[Draft] = field(default_factory=list)

    def draft(
        self,
        op: str,
        inputs: Sequence[Draft],
        fields: dict[str, object] | None = None,
        parameters: dict[str, Parameter] | None = None,
        dtype: str | None = None,
        node: str = "",
    ) -> Draft:
        """Adds a layer, named after its weight, `node` or its op. Raises RefusalError where it cannot be."""
        fields, parameters = fields or {}, parameters or {}
        shape = shape_of(op, fields, inputs, parameters, self.batch)
        origins = [parameter.origin for parameter in parameters.values()]
        name = self.names.layer(node, op, origins[0] if origins else None)
        layer = Draft(name, op, list(inputs), shape, dtype or inputs[0].dtype, fields, parameters, node)
        self.layers.append(layer)
        return layer

    def reshape(self, source: Draft, target: Shape) -> Draft:
        """`source` under another shape; nothing, a flatten or a reshape that keeps the batch free."""
        if target == source.shape:
            return source
        if len(target) == 2 and target[0] == source.shape[0]:
            return self.draft("flatten", [source])
        free = [0 if target[0] == source.shape[0] else -1, *target[1:]]
        return self.draft("reshape", [source], {"shape": free})


def shape_of(
    op: str,
    fields: Mapping[str, object],
    inputs: Sequence[Draft],
    parameters: Mapping[str, Parameter],
    batch: int,
) -> Shape:
    """The output shape of a layer, by the spec's own rules. Raises RefusalError, for weights too."""
    try:
        layer = OPS[op].model_validate({"name": "layer", "op": op, **fields})
        shapes = [source.shape for source in inputs] or [(batch,)]
        result = layer.output_shape(shapes)
        expected = layer.parameters(shapes)
    except ShapeError as error:
        raise RefusalError(str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"][1:] or first["loc"]))
        raise RefusalError(f"{field}: {first['msg']}") from None
    for role, shape in expected.items():
        if parameters[role].array.shape != shape:
            raise RefusalError(f"its {role} is {list(parameters[role].array.shape)}, expected {list(shape)}")
    return result


def users(layers: Iterable[Draft]) -> dict[Draft, list[Draft]]:
    """Who reads what."""
    result: dict[Draft, list[Draft]] = {}
    for layer in layers:
        for source in dict.fromkeys(layer.inputs):
            result.setdefault(source, []).append(layer)
    return result


def short(value: float) -> float:
    """The shortest decimal that is the same float32: 0.009999999776 is 0.01."""
    return float(str(np.float32(value)))
