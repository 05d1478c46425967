"""Layers in the making: what the importer rewrites before it becomes a spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from cnngen.spec.errors import ShapeError
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


@dataclass(eq=False)
class Draft:
    """A layer, or a network input (op "input"). `fields` are the spec's, without name, op and inputs."""

    name: str
    op: str
    inputs: list[Draft]
    shape: Shape
    dtype: str
    fields: dict[str, object] = field(default_factory=dict)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    node: str = ""


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
