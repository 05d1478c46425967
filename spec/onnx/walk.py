"""Walks a model's nodes: evaluates what is constant, and drafts a layer for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import onnx

from cnngen.spec.errors import ImportModelError, Problem
from cnngen.spec.importing.builder import Builder
from cnngen.spec.importing.draft import Constant, Draft, Imported, RefusalError, Value
from cnngen.spec.importing.naming import Names, printable
from cnngen.spec.onnx.evaluate import evaluable, evaluate
from cnngen.spec.onnx.functions import body_of, call
from cnngen.spec.onnx.load import ELEMENTS, ONNX_DOMAINS, Model, names_read, subgraphs, tensor_array
from cnngen.spec.onnx.node import Node, Walk, inputs_of
from cnngen.spec.onnx.rules import RULES

# What a rule meets in a node of wrong rank, arity or attributes, which no checker has seen.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_DEEPEST = 50


def walk(model: Model) -> Imported:
    """Drafts the layers of a model. Raises ImportModelError with every node that cannot be expressed."""
    names = Names(node.name for node in model.nodes if node.op_type != "Constant")
    inputs = {
        name: Draft(names.free(printable(name) or "input"), "input", [], given.shape, given.dtype, scalar=given.scalar)
        for name, given in model.inputs.items()
    }  # fmt: skip
    constants: dict[str, Value] = {name: Constant(array, name) for name, array in model.constants.items()}
    state = _Walker(model, Walk(model.opset, Builder(names), {**constants, **inputs}, model.read()))
    state.steps(model.nodes)
    if not model.outputs:
        state.problems.append(Problem("the model has no outputs", where=model.where))
    problems = state.problems or [
        Problem(f"output {name!r} is made by no node", where=model.where)
        for name in model.outputs
        if name not in state.walk.values
    ]
    if problems:
        called = {draft: name for name, draft in inputs.items()}
        raise ImportModelError(problems, (called[draft] for draft in state.needs if draft in called))
    try:
        return _finish(state.walk, model.outputs, list(inputs.values()))
    except RefusalError as refusal:
        raise ImportModelError(Problem(f"an output is not possible: {refusal}", where=model.where)) from None


@dataclass
class _Walker:
    """Goes through nodes in order, and keeps what is wrong with them.

    broken: what refused nodes would have made
    needs:  inputs that would have to be constants
    """

    model: Model
    walk: Walk
    problems: list[Problem] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    needs: set[Draft] = field(default_factory=set)
    calls: int = 0

    def steps(self, nodes: Iterable[onnx.NodeProto], depth: int = 0) -> None:
        """All nodes of a graph."""
        for position, proto in enumerate(nodes):
            reason = self._reason(proto, depth)
            if reason is not None:
                title = f"node {proto.name!r}" if proto.name else f"node {position}"
                self.problems.append(Problem(f"{title} ({proto.op_type}): {reason}", where=self.model.where))
            self.broken.update(name for name in proto.output if name not in self.walk.values)

    def _reason(self, proto: onnx.NodeProto, depth: int) -> str | None:
        """Takes a node; what is wrong with it, where something is and it is not another node's fault."""
        values = self.walk.values
        if proto.domain not in ONNX_DOMAINS:
            return f"its domain {proto.domain!r} is not ONNX's own"
        missing = [name for name in (proto.input if proto.op_type != "If" else proto.input[:1])
                   if name and name not in values]  # fmt: skip
        if missing:
            if not self.broken.isdisjoint(missing):
                # behind a refused node, but refused by itself
                known = proto.op_type in RULES or evaluable(proto)
                return None if known else _unsupported(proto)
            return f"it reads {missing[0]!r}, which nothing before it makes"
        try:
            if proto.op_type == "If":
                self._branch(proto, depth)
            elif not _step(Node(proto, self.walk)):
                return self._written_out(proto, depth)
        except RefusalError as refusal:
            self.needs |= refusal.needs
            return str(refusal)
        return None

    def _written_out(self, proto: onnx.NodeProto, depth: int) -> str | None:
        """An operator that ONNX defines by others: their nodes stand in its place; what is wrong with them."""
        values = [self.walk.values.get(name) for name in proto.input]
        function = (
            body_of(proto, self.walk.opset, [_type(value) for value in values]) if depth < _DEEPEST else None
        )
        if function is None:
            return _unsupported(proto)
        self.calls += 1
        nodes = call(function, proto, f"{proto.op_type}/{self.calls}/")
        opset = next((entry.version for entry in function.opset_import if entry.domain in ONNX_DOMAINS), 0)
        read = self.walk.read.union(*map(names_read, nodes))
        outside, problems = self.walk, self.problems
        self.walk, self.problems = replace(outside, opset=opset or outside.opset, read=read), []
        self.steps(nodes, depth + 1)
        self.walk, found, self.problems = outside, self.problems, problems
        return f"it is made of others: {found[0].message}" if found else None

    def _branch(self, proto: onnx.NodeProto, depth: int) -> None:
        """If on a constant: the nodes of its branch stand in its place."""
        if depth > _DEEPEST:
            raise RefusalError("its branches are nested too deep")
        condition = self.walk.values.get(proto.input[0]) if proto.input else None
        if isinstance(condition, Draft):
            raise RefusalError(
                "its condition depends on data; only a constant one is supported", inputs_of(condition)
            )
        if condition is None or condition.array.size != 1:
            raise RefusalError("its condition is missing or not one value")
        wanted = "then_branch" if bool(condition.array.reshape(-1)[0]) else "else_branch"
        branch = next((a.g for a in proto.attribute if a.name == wanted), None)
        if branch is None:
            raise RefusalError(f"it has no {wanted}")
        try:
            for tensor in branch.initializer:
                self.walk.values[tensor.name] = Constant(tensor_array(tensor), tensor.name)
        except (*_MALFORMED, RuntimeError) as error:
            raise RefusalError(f"a weight in its {wanted} is damaged: {error}") from None
        self.steps(branch.node, depth + 1)
        for name, inner in zip(proto.output, branch.output, strict=False):
            if inner.name in self.walk.values:
                self.walk.values[name] = self.walk.values[inner.name]


def _step(node: Node) -> bool:
    """Takes a node; False where there is no rule for it."""
    proto, known = node.proto, node.walk.values
    arrays = {name: value.array for name in proto.input
              if name and isinstance(value := known[name], Constant)}  # fmt: skip
    constant = all(name in arrays for name in proto.input if name) and (arrays or node.op == "Constant")
    if constant and evaluable(proto) and not any(subgraphs(proto)):
        for name, array in zip(proto.output, evaluate(proto, arrays, node.opset), strict=False):
            known[name] = Constant(array, name)
        return True
    if node.op not in RULES:
        return False
    try:
        result = RULES[node.op](node)
    except _MALFORMED as error:
        raise RefusalError(f"its inputs or attributes are malformed ({error})") from None
    results = result if isinstance(result, list) else [result]
    for name, made in zip(proto.output, results, strict=False):
        if made is not None:
            known[name] = made if isinstance(made, Draft) else Constant(made)
    unmade = [name for k, name in enumerate(proto.output) if node.uses(k) and name not in known]
    if unmade:
        raise RefusalError(f"its output {unmade[0]!r} is used, which is not supported")
    return True


def _type(value: Value | None) -> onnx.TypeProto:
    """The type of a value as ONNX has it."""
    if value is None:
        return onnx.TypeProto()
    if isinstance(value, Constant):
        number = onnx.helper.np_dtype_to_tensor_dtype(value.array.dtype)
        return onnx.helper.make_tensor_type_proto(number, value.array.shape)
    codes = {name: code for code, name in ELEMENTS.items()}
    return onnx.helper.make_tensor_type_proto(codes[value.dtype], () if value.scalar else value.shape)


def _unsupported(proto: onnx.NodeProto) -> str:
    if any(subgraphs(proto)):
        return "control flow on data is not supported"
    recurrent = ("LSTM", "GRU", "RNN")
    return (
        "recurrent layers are not supported"
        if proto.op_type in recurrent
        else "the operator is not supported"
    )


def _finish(state: Walk, names: Iterable[str], inputs: list[Draft]) -> Imported:
    """Outputs that are layers, each once; an input or a second use is handed out through an identity."""
    builder, outputs = state.builder, list[Draft]()
    for name in names:
        source = builder.tensor(state.values[name])
        if source.op == "input" or source in outputs:
            source = Draft(printable(name) or "output", "identity", [source], source.shape, source.dtype)
            builder.layers.append(source)
        outputs.append(source)
    return Imported(tuple(inputs), tuple(builder.layers), tuple(outputs), builder.names).without_dead()
