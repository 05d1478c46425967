"""Adds layers one by one, each checked by the spec's own rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from pydantic import ValidationError

from cnngen.spec.errors import ShapeError
from cnngen.spec.importing.draft import Draft, Parameter, RefusalError, Value, short
from cnngen.spec.importing.naming import Names
from cnngen.spec.manifest import Array
from cnngen.spec.ops import OPS
from cnngen.spec.types import ElementType, Shape

LARGEST = 1 << 31
"""Elements of the largest tensor that is imported."""
_MIRRORED = {
    "greater": "less",
    "greater_or_equal": "less_or_equal",
    "less": "greater",
    "less_or_equal": "greater_or_equal",
}
_REVERSIBLE = ("sub", "div", "pow", "mod")


@dataclass
class Builder:
    """Adds layers. Shapes are whole: a batch is an axis like others, until the spec is written."""

    names: Names
    layers: list[Draft] = field(default_factory=list)

    def draft(
        self,
        op: str,
        inputs: Sequence[Draft],
        fields: Mapping[str, object] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        dtype: str | None = None,
        node: str = "",
    ) -> Draft:
        """Adds a layer, named after its weight, `node` or its op. Raises RefusalError where it cannot be."""
        fields, parameters = dict(fields or {}), dict(parameters or {})
        shape = shape_of(op, fields, inputs, parameters)
        origins = [parameter.origin for parameter in parameters.values()]
        name = self.names.layer(node, op, origins[0] if origins else None)
        scalar = shape == (1,) and bool(inputs) and all(source.scalar for source in inputs)
        dtype = dtype or inputs[0].dtype
        layer = Draft(name, op, list(inputs), shape, dtype, fields, parameters, node, scalar)
        self.layers.append(layer)
        return layer

    def reshape(self, source: Draft, target: Shape) -> Draft:
        """`source` under another shape; nothing, a flatten or a reshape that keeps the batch free."""
        target = target or (1,)
        if target == source.shape:
            return source
        if len(source.shape) > 2 and len(target) == 2 and target[0] == source.shape[0]:
            return self.draft("flatten", [source])
        free = [0 if target[0] == source.shape[0] else -1, *target[1:]]
        return self.draft("reshape", [source], {"shape": free})

    def tensor(self, value: Value) -> Draft:
        """A tensor as it is; a constant becomes a layer."""
        if isinstance(value, Draft):
            return value
        array, dtype = np.asarray(value.array), element_type(value.array)
        if array.size == 0:
            raise RefusalError("it reads a tensor without elements")
        shape = array.shape or (1,)
        first = array.reshape(-1)[0]
        if np.isfinite(first) and np.all(array == first):
            number = short(float(first))
            if number == 0:
                return self.draft("zeros", [], {"shape": list(shape)}, dtype=dtype)
            return self.draft("fill", [], {"shape": list(shape), "value": number}, dtype=dtype)
        fields = {"parameter": "constant", "shape": list(shape)}
        parameter = Parameter(array.reshape(shape), value.origin)
        return self.draft("constant", [], fields, {"parameter": parameter}, dtype)

    def binary(self, op: str, a: Value, b: Value, dtype: str | None = None, node: str = "") -> Draft:
        """A layer of two operands, at least one of them a tensor; a constant is its value or parameter."""
        if isinstance(a, Draft) and isinstance(b, Draft):
            return self.draft(op, [a, b], dtype=dtype, node=node)
        if isinstance(a, Draft):
            tensor, constant, turned = a, b, False
        else:
            tensor, constant, turned = self.tensor(b), a, True
        if isinstance(constant, Draft):
            raise TypeError("both operands are tensors")
        array = np.asarray(constant.array)
        if array.size == 0:
            raise RefusalError("it reads a tensor without elements")
        fields: dict[str, object] = {}
        if turned and op in _REVERSIBLE:
            fields["reverse"] = True
        elif turned:
            op = _MIRRORED.get(op, op)
        if array.size == 1 and array.ndim <= len(tensor.shape) and np.isfinite(array.reshape(())):
            fields["value"] = short(float(array.reshape(())))
            return self.draft(op, [tensor], fields, dtype=dtype, node=node)
        while array.ndim > 1 and array.shape[0] == 1 and array.ndim <= len(tensor.shape):
            array = array[0]
        array = array.reshape(array.shape or (1,))
        fields["parameter"] = "constant"
        if array.shape != (*tensor.shape[1:2], *(1,) * (len(tensor.shape) - 2)):
            fields["parameter_shape"] = list(array.shape)
        parameter = Parameter(array, constant.origin)
        return self.draft(op, [tensor], fields, {"parameter": parameter}, dtype, node)


def element_type(array: Array) -> str:
    """The element type of a constant: a float's own, bool, int64 for every other."""
    name = str(array.dtype.name)
    if name in get_args(ElementType):
        return name
    if array.dtype.kind in "iu":
        return "int64"
    if array.dtype.kind == "f" or name.startswith("float"):
        return "float32"
    raise RefusalError(f"constants of {name} are not supported")


def shape_of(
    op: str, fields: Mapping[str, object], inputs: Sequence[Draft], parameters: Mapping[str, Parameter]
) -> Shape:
    """The output shape of a layer, by the spec's own rules. Raises RefusalError, for weights too."""
    try:
        layer = OPS[op].model_validate({"name": "layer", "op": op, **fields})
        shapes = [source.shape for source in inputs] or [()]
        result = layer.output_shape(shapes)
        expected = layer.parameters(shapes)
    except ShapeError as error:
        raise RefusalError(str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:] or first["loc"]))
        raise RefusalError(f"{place}: {first['msg']}" if place else first["msg"]) from None
    for role, shape in expected.items():
        if parameters[role].array.shape != shape:
            raise RefusalError(f"its {role} is {list(parameters[role].array.shape)}, expected {list(shape)}")
    if np.prod([float(size) for size in result]) > LARGEST:
        raise RefusalError(f"its result {list(result)} is too large")
    return result
