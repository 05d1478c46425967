"""A node as its rule sees it: inputs by position, attributes by name, and ways to say what it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from cnngen.spec.importing.builder import Builder
from cnngen.spec.importing.draft import FLOATS, Constant, Draft, Parameter, RefusalError, Value, short
from cnngen.spec.manifest import Array
from cnngen.spec.types import Shape


@dataclass
class Walk:
    """What is known so far: every value by its name; `read` are the names that some node or the user reads."""

    opset: int
    builder: Builder
    values: dict[str, Value]
    read: frozenset[str]


@dataclass(frozen=True)
class Node:
    """A node of the model."""

    proto: onnx.NodeProto
    walk: Walk

    @property
    def op(self) -> str:
        """ONNX's name of the operator."""
        return str(self.proto.op_type)

    @property
    def opset(self) -> int:
        """The version of ONNX's operators."""
        return self.walk.opset

    @property
    def name(self) -> str:
        """The model's name of the node."""
        return str(self.proto.name)

    # inputs

    def value(self, index: int) -> Value | None:
        """The input at a position; None where it is left out."""
        names = self.proto.input
        return self.walk.values[names[index]] if index < len(names) and names[index] else None

    def values(self) -> list[Value]:
        """All inputs that are there."""
        return [self.walk.values[name] for name in self.proto.input if name]

    def required(self, index: int) -> Value:
        """The input at a position; refused where it is left out."""
        value = self.value(index)
        if value is None:
            raise RefusalError(f"its input {index} is missing")
        return value

    def tensor(self, index: int = 0) -> Draft:
        """The input at a position as a tensor; a constant becomes a layer."""
        return self.walk.builder.tensor(self.required(index))

    def floats(self, index: int = 0) -> Draft:
        """The input at a position as a tensor of floats."""
        tensor = self.tensor(index)
        if tensor.dtype not in FLOATS:
            raise not_floats(tensor)
        return tensor

    def constant(self, index: int, what: str) -> Array | None:
        """The input at a position as an array, None where it is left out; refused where data decides."""
        value = self.value(index)
        if isinstance(value, Draft):
            raise RefusalError(f"{what} is not constant", inputs_of(value))
        return None if value is None else value.array

    def parameter(self, index: int, what: str) -> Parameter:
        """The input at a position as a weight."""
        value = self.required(index)
        if isinstance(value, Draft):
            raise RefusalError(f"{what} is not constant", inputs_of(value))
        if value.array.dtype.name not in FLOATS:
            raise RefusalError(
                f"{what} is {value.array.dtype.name}; only floats of 16 and 32 bits are supported"
            )
        return Parameter(value.array, value.origin)

    # attributes

    def has(self, name: str) -> bool:
        """Whether the attribute is given."""
        return any(attribute.name == name for attribute in self.proto.attribute)

    def integer(self, name: str, default: int) -> int:
        """An attribute."""
        found = self._attribute(name, onnx.AttributeProto.INT)
        return default if found is None else int(found.i)

    def flag(self, name: str) -> bool:
        """An attribute that is 0 or 1, 0 where it is left out."""
        return self.integer(name, 0) != 0

    def real(self, name: str, default: float) -> float:
        """An attribute, as the shortest number that is the same float32."""
        found = self._attribute(name, onnx.AttributeProto.FLOAT)
        return default if found is None else short(found.f)

    def text(self, name: str, default: str) -> str:
        """An attribute."""
        found = self._attribute(name, onnx.AttributeProto.STRING)
        return default if found is None else found.s.decode("utf-8", "replace")

    def integers(self, name: str) -> list[int] | None:
        """An attribute; None where it is left out."""
        found = self._attribute(name, onnx.AttributeProto.INTS)
        return None if found is None else [int(i) for i in found.ints]

    def reals(self, name: str) -> list[float] | None:
        """An attribute; None where it is left out."""
        found = self._attribute(name, onnx.AttributeProto.FLOATS)
        return None if found is None else [float(f) for f in found.floats]

    def _attribute(self, name: str, kind: int) -> onnx.AttributeProto | None:
        """The attribute where it is given; refused where it is of another type."""
        found = next((attribute for attribute in self.proto.attribute if attribute.name == name), None)
        if found is not None and found.type != kind:
            expected = onnx.AttributeProto.AttributeType.Name(kind).lower()
            raise RefusalError(f"its attribute {name!r} is of another type than {expected}")
        return found

    def integers_of(self, name: str, index: int) -> list[int] | None:
        """An attribute of older opsets that has become the input at a position."""
        given = self.constant(index, f"its {name}") if index < len(self.proto.input) else None
        return self.integers(name) if given is None else [int(i) for i in given.reshape(-1)]

    # outputs

    def uses(self, output: int) -> bool:
        """Whether the output at that position is read."""
        names = self.proto.output
        return output < len(names) and names[output] in self.walk.read

    def only_first_output(self) -> None:
        """Refuses a node whose further outputs are used."""
        used = [name for k, name in enumerate(self.proto.output) if k and self.uses(k)]
        if used:
            raise RefusalError(f"its output {used[0]!r} is used; only the first can be")

    def draft(
        self,
        op: str,
        inputs: Sequence[Draft],
        fields: Mapping[str, object] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        dtype: str | None = None,
        named: bool = True,
    ) -> Draft:
        """Adds a layer. `named`: after the node; else after its op."""
        return self.walk.builder.draft(op, inputs, fields, parameters, dtype, self.name if named else "")

    def reshape(self, source: Draft, target: Shape) -> Draft:
        """`source` under another shape."""
        return self.walk.builder.reshape(source, target)

    def binary(self, op: str, a: Value | float, b: Value | float, dtype: str | None = None) -> Draft:
        """A layer of two operands, at least one of them a tensor."""
        return self.walk.builder.binary(op, _value(a), _value(b), dtype, self.name)


def inputs_of(draft: Draft) -> frozenset[Draft]:
    """The network inputs that a value depends on."""
    found, stack, seen = set(), [draft], {draft}
    while stack:
        source = stack.pop()
        if source.op == "input":
            found.add(source)
        new = [other for other in source.inputs if other not in seen]
        seen.update(new)
        stack += new
    return frozenset(found)


def not_floats(draft: Draft) -> RefusalError:
    """Why a tensor of another type cannot be computed with; integers are often shapes, which may be constants."""
    needs = [source for source in inputs_of(draft) if source.dtype in ("int32", "int64")]
    return RefusalError(f"it computes with {draft.dtype}; only floats are supported here", needs)


def axis_within(axis: int, rank: int) -> int:
    """The axis counted from the front; refused where there is none."""
    if not -rank <= axis < rank:
        raise RefusalError(f"axis {axis} does not exist in {rank} axes")
    return axis % rank


def axes_within(axes: Iterable[int], rank: int) -> list[int]:
    """Axes counted from the front, each within the rank and once, in the order given."""
    result = [axis_within(axis, rank) for axis in axes]
    if len(set(result)) != len(result):
        raise RefusalError(f"axes {result} name one axis twice")
    return result


def _value(operand: Value | float) -> Value:
    return operand if isinstance(operand, (Constant, Draft)) else Constant(np.asarray(operand, np.float32))
