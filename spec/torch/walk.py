"""Walks a traced module's calls: evaluates what is constant, and drafts layers for the rest."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

import torch
from torch._ops import OpOverload
from torch.utils._pytree import tree_map_only

from cnngen.spec.errors import ImportModelError, Problem
from cnngen.spec.importing.builder import Builder
from cnngen.spec.importing.draft import Draft, Imported, RefusalError
from cnngen.spec.importing.naming import printable
from cnngen.spec.torch.call import ELEMENT_TYPES, Call, Result, constant, dtype_name
from cnngen.spec.torch.export import Program, Tensor, operator_name
from cnngen.spec.torch.naming import ModuleNames, layer_names, module_path
from cnngen.spec.torch.rules import RULES

_LARGEST = 1 << 28  # elements of an evaluated constant


def walk(program: Program) -> Imported:
    """Drafts the layers of a traced module.

    Raises ImportModelError with every call that cannot be expressed.
    """
    builder = Builder(ModuleNames(()))
    problems: list[Problem] = []
    values: dict[torch.fx.Node, object] = dict(program.known)
    inputs = []
    for node in program.inputs:
        name = printable(node.name)
        try:
            values[node] = _input(node, builder.names.free(name))
            inputs.append(values[node])
        except RefusalError as refusal:
            problems.append(Problem(f"input {name!r}: {refusal}"))
    weights = [(node, value.origin) for node, value in program.known.items()
               if isinstance(value, Tensor) and value.origin]  # fmt: skip
    titles = layer_names(program.graph, weights)
    for node in program.graph.nodes:
        if node.op != "call_function" or any(source not in values for source in node.all_input_nodes):
            continue  # behind a refused call
        name = operator_name(node.target)
        try:
            values[node] = _step(node, name, values, titles.get(node, name), builder)
        except RefusalError as refusal:
            problems.append(Problem(f"{_place(node)}: {refusal}"))
    problems += _unsupported_behind(program, values)
    if problems:
        raise ImportModelError(dict.fromkeys(problems))
    return _finish(program, values, [draft for draft in inputs if isinstance(draft, Draft)], builder)


def _input(node: torch.fx.Node, name: str) -> Draft:
    example = node.meta["val"]
    dtype = dtype_name(example.dtype)
    if dtype not in ELEMENT_TYPES:
        raise RefusalError(f"its type is {dtype}; allowed: {', '.join(ELEMENT_TYPES)}")
    shape = tuple(int(size) for size in example.shape)
    if 0 in shape:
        raise RefusalError(f"its shape is {list(shape)}: it has no elements")
    return Draft(name, "input", [], shape or (1,), dtype, scalar=not shape)


def _place(node: torch.fx.Node) -> str:
    """What problems call a call: its module's path and its operator."""
    path, name = module_path(node), operator_name(node.target)
    return f"{path} ({name})" if path else name


def _unsupported_behind(program: Program, values: Mapping[torch.fx.Node, object]) -> list[Problem]:
    """Calls behind a refused one that would be refused by themselves."""
    return [
        Problem(f"{_place(node)}: the operator is not supported")
        for node in program.graph.nodes
        if node.op == "call_function"
        and any(source not in values for source in node.all_input_nodes)
        and operator_name(node.target) not in RULES
        and not operator_name(node.target).startswith(("getitem", "_assert", "sym_"))
    ]


def _step(
    node: torch.fx.Node, name: str, values: Mapping[torch.fx.Node, object], title: str, builder: Builder
) -> object:
    def known(source: torch.fx.Node) -> object:
        return values[source]

    positional, keywords = torch.fx.node.map_arg((node.args, node.kwargs), known)
    if node.target is operator.getitem:
        found = positional[0][positional[1]]
        if found is None:
            raise RefusalError(f"its result {positional[1]} is not supported")
        return found
    if name.startswith(("_assert", "sym_constrain")):
        return None
    if not any(isinstance(values[source], (Draft, tuple)) for source in node.all_input_nodes):
        return _evaluate(node, positional, keywords)
    if name not in RULES:
        raise RefusalError("the operator is not supported")
    if not isinstance(node.target, OpOverload):
        raise RefusalError("it is no operator of torch")
    entries = node.target._schema.arguments  # noqa: SLF001 (torch has no public way to an operator's arguments)
    arguments = {entry.name: entry.default_value for entry in entries}
    arguments |= dict(zip(arguments, positional, strict=False)) | keywords
    results = node.meta["val"]
    first = results if isinstance(results, torch.Tensor) else results[0]
    if not all(isinstance(size, int) for size in first.shape):
        raise RefusalError("the shape of its result depends on data")
    shape = tuple(first.shape)
    if 0 in shape:
        raise RefusalError(f"its result {list(shape)} has no elements")
    call = Call(name, arguments, shape or (1,), dtype_name(first.dtype), title, builder)
    result = RULES[name](call)
    _compare(result, results)
    return result


def _compare(result: Result, expected: object) -> None:
    """Raises RefusalError where the layers make another shape than torch."""
    if isinstance(result, tuple):
        for part, wanted in zip(result, expected, strict=False):  # type: ignore[call-overload]
            _compare(part, wanted) if part is not None else None
    elif isinstance(result, Draft) and isinstance(expected, torch.Tensor):
        result.scalar = expected.dim() == 0
        shape = tuple(expected.shape) or (1,)
        if result.shape != shape:
            raise RefusalError(f"its result would be {list(result.shape)}, in torch it is {list(shape)}")


def _evaluate(node: torch.fx.Node, positional: object, keywords: object) -> object:
    """The result of a call whose tensors are all known; the name of one that stays as it is stays too."""
    if not isinstance(node.target, OpOverload):
        raise RefusalError("it is no operator of torch")
    if torch.Tag.nondeterministic_seeded in node.target.tags:
        raise RefusalError("its result is random")
    results = node.meta.get("val")
    for made in results if isinstance(results, (list, tuple)) else (results,):
        if isinstance(made, torch.Tensor) and made.numel() > _LARGEST:
            raise RefusalError("the constant is too large")
    plain_args, plain_keywords = tree_map_only(Tensor, lambda tensor: tensor.data, (positional, keywords))
    if "device" in plain_keywords:
        plain_keywords = {**plain_keywords, "device": torch.device("cpu")}
    with torch.no_grad():
        found = node.target(*plain_args, **plain_keywords)
    origin = _same_tensor(found, positional)
    return tree_map_only(torch.Tensor, lambda tensor: Tensor(tensor, origin), found)


def _same_tensor(found: object, positional: object) -> str | None:
    """The name of the argument that the result equals, as for clone, detach and moves between devices."""
    first = positional[0] if isinstance(positional, (list, tuple)) and positional else None
    if isinstance(first, Tensor) and isinstance(found, torch.Tensor) and found.dtype == first.data.dtype:
        return first.origin if torch.equal(found.cpu(), first.data.cpu()) else None
    return None


def _finish(
    program: Program, values: Mapping[torch.fx.Node, object], inputs: Sequence[Draft], builder: Builder
) -> Imported:
    """Outputs that are layers, each once; an input or a second use is handed out through an identity."""
    outputs: list[Draft] = []
    problems = []
    for position, entry in enumerate(program.outputs):
        source = values.get(entry) if isinstance(entry, torch.fx.Node) else entry
        if isinstance(source, Tensor) and source.data.numel():
            source = builder.tensor(constant(source))
        if not isinstance(source, Draft):
            problems.append(Problem(f"output {position} is no tensor that depends on the inputs"))
            continue
        if source.op == "input" or source in outputs:
            source = builder.draft("identity", [source], dtype=source.dtype)
        outputs.append(source)
    if problems or not outputs:
        raise ImportModelError(problems or "the module returns no tensors")
    return Imported(tuple(inputs), tuple(builder.layers), tuple(outputs), builder.names).without_dead()
