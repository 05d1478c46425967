"""Walks a model's nodes: evaluates what is constant, and drafts a layer for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from cnngen.spec.errors import ImportModelError, Problem
from cnngen.spec.importing.draft import (
    Builder,
    Constant,
    Draft,
    Imported,
    Parameter,
    RefusalError,
    Value,
    short,
)
from cnngen.spec.importing.naming import Names, printable
from cnngen.spec.manifest import Array
from cnngen.spec.onnx.load import Model
from cnngen.spec.types import Shape

_NOT_CONSTANT = ("Random", "Bernoulli", "Multinomial")
_LARGEST = 1 << 28  # elements of an evaluated constant
# What a rule meets in a node of wrong rank, arity or attributes, which no checker has seen.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass
class Walk:
    """What is known so far."""

    model: Model
    builder: Builder
    values: dict[str, Value]


@dataclass(frozen=True)
class Node:
    """A node as its rule sees it: inputs by position, attributes by name, and ways to say what it is."""

    proto: onnx.NodeProto
    walk: Walk

    @property
    def op(self) -> str:
        """ONNX's name of the operator."""
        return str(self.proto.op_type)

    @property
    def opset(self) -> int:
        """The version of ONNX's operators."""
        return self.walk.model.opset

    @property
    def batch(self) -> int:
        """The size of axis 0 of the network's inputs."""
        return self.walk.builder.batch

    def value(self, index: int) -> Value | None:
        """The input at a position; None where it is left out."""
        names = self.proto.input
        return self.walk.values[names[index]] if index < len(names) and names[index] else None

    def values(self) -> list[Value]:
        """All inputs that are there."""
        return [self.walk.values[name] for name in self.proto.input if name]

    def tensor(self, index: int = 0) -> Draft:
        """The input at a position as a tensor; zeros of the batch's size become a layer."""
        return self.as_tensor(self.value(index))

    def as_tensor(self, value: Value | None) -> Draft:
        """A tensor as it is; a constant only where it is zero and batched."""
        if isinstance(value, Draft):
            return value
        if value is None:
            raise RefusalError("an input is missing")
        shape = value.array.shape
        if len(shape) < 2 or shape[0] != self.batch or np.any(value.array):
            raise RefusalError(f"a constant {list(shape)} is read where only a tensor can be")
        return self.draft(
            "zeros", [], {"shape": list(shape[1:])}, dtype=_float_name(value.array), named=False
        )

    def constant(self, index: int, what: str) -> Array | None:
        """The input at a position as an array, None where it is left out; refused where data decides."""
        value = self.value(index)
        if isinstance(value, Draft):
            raise RefusalError(f"{what} is not constant")
        return None if value is None else value.array

    def parameter(self, index: int, what: str) -> Parameter:
        """The input at a position as a weight."""
        value = self.value(index)
        if not isinstance(value, Constant):
            raise RefusalError(f"{what} is not constant")
        return Parameter(value.array, value.origin)

    def has(self, name: str) -> bool:
        """Whether the attribute is given."""
        return any(attribute.name == name for attribute in self.proto.attribute)

    def integer(self, name: str, default: int) -> int:
        """An attribute."""
        return next((int(a.i) for a in self.proto.attribute if a.name == name), default)

    def real(self, name: str, default: float) -> float:
        """An attribute, as the shortest number that is the same float32."""
        return next((short(a.f) for a in self.proto.attribute if a.name == name), default)

    def text(self, name: str, default: str) -> str:
        """An attribute."""
        return next((a.s.decode("utf-8", "replace") for a in self.proto.attribute if a.name == name), default)

    def integers(self, name: str) -> list[int] | None:
        """An attribute; None where it is left out."""
        return next(([int(i) for i in a.ints] for a in self.proto.attribute if a.name == name), None)

    def integers_of(self, name: str, index: int) -> list[int] | None:
        """An attribute of older opsets that has become the input at a position."""
        given = self.constant(index, name) if index < len(self.proto.input) else None
        return self.integers(name) if given is None else [int(i) for i in given.reshape(-1)]

    def only_first_output(self) -> None:
        """Refuses a node whose further outputs are used."""
        used = [name for name in self.proto.output[1:] if name]
        readers = {name for node in self.walk.model.nodes for name in node.input} | set(
            self.walk.model.outputs
        )
        if readers.intersection(used):
            raise RefusalError(f"its output {used[0]!r} is used; only the first can be")

    def draft(
        self,
        op: str,
        inputs: Sequence[Draft],
        fields: dict[str, object] | None = None,
        parameters: dict[str, Parameter] | None = None,
        dtype: str | None = None,
        named: bool = True,
    ) -> Draft:
        """Adds a layer. `named`: after the node; else after its op."""
        node = self.proto.name if named else ""
        return self.walk.builder.draft(op, inputs, fields, parameters, dtype, node)


def walk(model: Model) -> Imported:
    """Drafts the layers of a model. Raises ImportModelError with every node that cannot be expressed."""
    from cnngen.spec.onnx.rules import RULES

    names = Names(node.name for node in model.nodes if node.op_type != "Constant")
    inputs = {
        name: Draft(names.free(printable(name) or "input"), "input", [], shape, dtype)
        for name, (shape, dtype) in model.inputs.items()
    }
    batch = next(iter(inputs.values())).shape[0]
    values: dict[str, Value] = {name: Constant(array, name) for name, array in model.constants.items()}
    state = Walk(model, Builder(names, batch), {**values, **inputs})
    problems: list[Problem] = []
    broken: set[str] = set()  # what refused nodes would have made
    for position, proto in enumerate(model.nodes):
        reason = None
        if proto.domain not in ("", "ai.onnx"):
            reason = f"its domain {proto.domain!r} is not ONNX's own"
        elif missing := [name for name in proto.input if name and name not in state.values]:
            if proto.op_type not in RULES and not broken.isdisjoint(missing):
                reason = "the operator is not supported"  # behind a refused node, but refused by itself
            elif broken.isdisjoint(missing):
                reason = f"it reads {missing[0]!r}, which nothing before it makes"
        else:
            try:
                _step(Node(proto, state))
            except RefusalError as refusal:
                reason = str(refusal)
        if reason is not None:
            title = f"node {proto.name!r}" if proto.name else f"node {position}"
            problems.append(Problem(f"{title} ({proto.op_type}): {reason}", where=str(model.file)))
        broken.update(name for name in proto.output if name not in state.values)
    if not problems:
        problems = [
            Problem(f"output {name!r} does not depend on an input", where=str(model.file))
            for name in model.outputs
            if not isinstance(state.values.get(name), Draft)
        ]
    if problems:
        raise ImportModelError(problems)
    return _finish(state, list(inputs.values()))


def _step(node: Node) -> None:
    from cnngen.spec.onnx.rules import RULES

    values = node.values()
    proto, known = node.proto, node.walk.values
    if _evaluable(proto) and all(isinstance(value, Constant) for value in values):
        for name, array in zip(proto.output, _evaluate(node), strict=False):
            known[name] = Constant(array, name)
        return
    if node.op not in RULES:
        raise RefusalError("the operator is not supported")
    try:
        result = RULES[node.op](node)
    except _MALFORMED as error:
        raise RefusalError(f"its inputs or attributes are malformed ({error})") from None
    known[proto.output[0]] = Constant(result) if isinstance(result, np.ndarray) else result


def _evaluable(proto: onnx.NodeProto) -> bool:
    graphs = any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in proto.attribute)
    inputs = proto.op_type == "Constant" or any(proto.input)
    return inputs and not graphs and not proto.op_type.startswith(_NOT_CONSTANT)


def _evaluate(node: Node) -> list[Array]:
    """The outputs of a node whose inputs are all constant."""
    proto = node.proto
    feeds = {name: value.array for name, value in zip(filter(None, proto.input), node.values(), strict=True)
             if isinstance(value, Constant)}  # fmt: skip
    if _elements(node.op, list(feeds.values())) > _LARGEST:
        raise RefusalError("the constant is too large")
    empty = onnx.TensorProto.UNDEFINED
    graph = onnx.helper.make_graph(
        [proto],
        "constant",
        [onnx.helper.make_tensor_value_info(name, empty, None) for name in feeds],
        [onnx.helper.make_tensor_value_info(name, empty, None) for name in proto.output if name],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", node.opset)])
    try:
        return [np.asarray(array) for array in ReferenceEvaluator(model).run(None, feeds)]
    except Exception as error:  # noqa: BLE001 (the evaluator raises whatever numpy does)
        raise RefusalError(f"it cannot be evaluated: {error}") from None


def _elements(op: str, arrays: Sequence[Array]) -> float:
    """At most so many elements, for the operators whose output may be far larger than their inputs."""
    if op == "Range" and len(arrays) == 3:
        start, limit, step = (float(array) for array in arrays)
        return abs(limit - start) / max(abs(step), 1e-30)
    if op in ("ConstantOfShape", "Expand", "Tile", "Pad", "Resize", "Upsample", "CenterCropPad", "OneHot"):
        small = [array for array in arrays[-3:] if array.size <= 64]
        numbers = math.prod(max(abs(float(number)), 1.0) for array in small for number in array.reshape(-1))
        return numbers * (1 if op in ("ConstantOfShape", "Expand") else max(array.size for array in arrays))
    return 0.0


def _float_name(array: Array) -> str:
    return array.dtype.name if array.dtype.name in ("float32", "float16", "bfloat16") else "float32"


def _finish(state: Walk, inputs: list[Draft]) -> Imported:
    """Outputs that are layers, each once; an input or a second use is handed out through an identity."""
    outputs: list[Draft] = []
    for name in state.model.outputs:
        source = state.values[name]
        if not isinstance(source, Draft):
            continue
        if source.op == "input" or source in outputs:
            source = Draft(printable(name) or "output", "identity", [source], source.shape, source.dtype)
            state.builder.layers.append(source)
        outputs.append(source)
    builder = state.builder
    return Imported(tuple(inputs), tuple(builder.layers), tuple(outputs), builder.names).without_dead()


def reshape_to(node: Node, source: Draft, target: Shape) -> Draft:
    """`source` under another shape."""
    return node.walk.builder.reshape(source, target)
