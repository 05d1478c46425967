"""A call of an ATen operator as its rule sees it, and the values that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import torch

from cnngen.spec.importing.builder import Builder
from cnngen.spec.importing.draft import FLOATS, Constant, Draft, Parameter, RefusalError
from cnngen.spec.manifest import Array
from cnngen.spec.torch.export import Tensor
from cnngen.spec.types import Shape

Value = Draft | Tensor
Result = Value | tuple["Value | None", ...]

ELEMENT_TYPES = (*FLOATS, "int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class Call:
    """One call.

    op:        the operator's name: conv2d
    arguments: by their names in its schema, defaults filled in
    shape:     of its (first) result; a scalar is [1]
    dtype:     of its (first) result
    name:      of the layer that it becomes
    """

    op: str
    arguments: Mapping[str, object]
    shape: Shape
    dtype: str
    name: str
    builder: Builder

    def get(self, name: str) -> object:
        """An argument as it is; None where the operator has none of that name."""
        return self.arguments.get(name)

    def value(self, name: str | None = None) -> Value:
        """A tensor, or a number as one; without a name the first argument."""
        given = next(iter(self.arguments.values())) if name is None else self.arguments[name]
        if isinstance(given, (Draft, Tensor)):
            return given
        if isinstance(given, (bool, int, float)):
            return Tensor(torch.tensor(given))
        raise RefusalError(f"{name or 'its input'} is {type(given).__name__}, not a tensor")

    def tensor(self, name: str | None = None) -> Draft:
        """The same as a layer; a constant becomes one."""
        return self.layer(self.value(name))

    def values(self, name: str) -> list[Value]:
        """A list of tensors."""
        given = self.arguments[name]
        if not isinstance(given, (list, tuple)) or not all(isinstance(v, (Draft, Tensor)) for v in given):
            raise RefusalError(f"{name} is not a list of tensors")
        return list(given)

    def layer(self, value: Value) -> Draft:
        """A tensor as a layer."""
        if isinstance(value, Draft):
            return value
        return self.builder.tensor(constant(value))

    def known(self, name: str, what: str) -> Tensor | None:
        """A tensor that has to be known at import; None where it is left out."""
        given = self.arguments.get(name)
        if given is None or isinstance(given, Tensor):
            return given
        raise RefusalError(f"{what} is computed from the inputs; it has to be constant")

    def parameter(self, name: str, what: str) -> Parameter:
        """The same as a weight."""
        found = self.known(name, what)
        if found is None:
            raise RefusalError(f"{what} is missing")
        return parameter(found)

    def integer(self, name: str) -> int:
        """A whole number."""
        given = self.arguments[name]
        if not isinstance(given, int):
            raise RefusalError(f"{name} is {given!r}, not a whole number that is known at import")
        return int(given)

    def real(self, name: str) -> float:
        """A number."""
        given = self.arguments[name]
        if not isinstance(given, (int, float)):
            raise RefusalError(f"{name} is not a number that is known at import")
        return float(given)

    def number(self, name: str) -> Tensor:
        """A number as a tensor."""
        return Tensor(torch.tensor(self.real(name)))

    def integers(self, name: str, count: int = 0) -> list[int]:
        """A list of whole numbers; one number, or a list of one, is repeated to `count`; [] where it is left out."""
        given = self.arguments.get(name)
        if given is None:
            return []
        numbers = [given] if isinstance(given, int) else given
        if not isinstance(numbers, (list, tuple)) or not all(isinstance(n, int) for n in numbers):
            raise RefusalError(f"{name} is {given!r}, not whole numbers that are known at import")
        return [int(n) for n in numbers] * (count if len(numbers) == 1 and count else 1)

    def axis(self, name: str, rank: int) -> int:
        """An axis counted from the front."""
        return self.integer(name) % max(rank, 1)

    def draft(
        self,
        op: str,
        inputs: Sequence[Draft],
        fields: Mapping[str, object] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        dtype: str | None = None,
    ) -> Draft:
        """The layer that the call is."""
        return self.builder.draft(op, inputs, fields, parameters, dtype or self.dtype, self.name)

    def step(
        self,
        op: str,
        inputs: Sequence[Draft],
        fields: Mapping[str, object] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        dtype: str | None = None,
    ) -> Draft:
        """A layer on the way there; its element type is the call's where none is given."""
        name = f"{self.name}.{op.removesuffix('1d').removesuffix('2d')}"
        return self.builder.draft(op, inputs, fields, parameters, dtype or self.dtype, name)

    def reshape(self, source: Draft, target: Shape) -> Draft:
        """`source` under another shape."""
        return self.builder.reshape(source, target)

    def binary(self, op: str, a: Value, b: Value, *, dtype: str | None = None, last: bool = True) -> Draft:
        """A layer of two operands, of which one may be known. `last`: it is what the call is, no step to it."""
        left, right = (x if isinstance(x, Draft) else constant(x) for x in (a, b))
        name = self.name if last else f"{self.name}.{op}"
        return self.builder.binary(op, left, right, dtype or self.dtype, name)


Rule = Callable[[Call], Result]


def array(tensor: torch.Tensor) -> Array:
    """A tensor as an array of an element type that numpy, or ml_dtypes, has."""
    plain = tensor.detach().cpu().contiguous()
    if plain.dtype == torch.bfloat16:
        return np.asarray(plain.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
    return np.asarray(plain.numpy())


def constant(value: Tensor) -> Constant:
    """A tensor as the importers share it."""
    return Constant(array(value.data), value.origin)


def parameter(value: Tensor) -> Parameter:
    """A tensor as a weight."""
    return Parameter(array(value.data), value.origin)


def dtype_name(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")


def shape_of(value: Value) -> Shape:
    """The shape; a scalar layer is [1]."""
    return value.shape if isinstance(value, Draft) else tuple(value.data.shape)
