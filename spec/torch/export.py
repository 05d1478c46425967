"""Traces a module with torch.export: a graph of ATen operators without side effects, and its constants by name."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch._ops import OpOverload
from torch.export.graph_signature import InputKind, OutputKind

from cnngen.spec.errors import ImportModelError, Problem

OLDEST = (2, 6)


@dataclass(frozen=True)
class Tensor:
    """A tensor known at import; `origin`: its name in the module's state_dict."""

    data: torch.Tensor
    origin: str | None = None


@dataclass(frozen=True)
class Program:
    """A traced module.

    inputs:  the placeholders that the user's tensors are given to, in order
    known:   what the other placeholders stand for: parameters, buffers, constants, numbers
    outputs: what the module returns, flattened
    """

    graph: torch.fx.Graph
    inputs: tuple[torch.fx.Node, ...]
    known: Mapping[torch.fx.Node, object]
    outputs: tuple[object, ...]


def export(
    module: Callable[..., object],
    arguments: Sequence[object],
    keywords: Mapping[str, object],
    named: Iterable[str],
) -> Program:
    """Traces `module(*arguments, **keywords)` at inference and decomposes what is not among the `named` operators.

    Raises ImportModelError where torch cannot trace it.
    """
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < OLDEST:
        raise ImportModelError(
            f"torch {torch.__version__} is too old: {'.'.join(map(str, OLDEST))} is needed"
        )
    if not isinstance(module, torch.nn.Module):
        module = _as_module(module)
    try:
        with _inference(module), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of what will change in it
            program = torch.export.export(module, tuple(arguments), dict(keywords))
            if not _is_plain(program, known := frozenset(named)):
                program = program.run_decompositions(_decompositions(known))
    except Exception as error:
        raise ImportModelError(Problem(f"torch.export cannot trace the module: {_reason(error)}")) from error
    return _program(program, _first_names(module))


def _as_module(function: Callable[..., object]) -> torch.nn.Module:
    """A plain function as a module, which keeps the names of its arguments."""
    module = torch.nn.Module()
    module.forward = function
    return module


@contextmanager
def _inference(module: torch.nn.Module) -> Iterator[None]:
    """The module in eval mode, and afterwards as it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _is_plain(program: torch.export.ExportedProgram, named: frozenset[str]) -> bool:
    """Whether all calls are of the named operators, and none changes its input in place."""
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    operators = [target for target in targets if target is not operator.getitem]
    return all(
        isinstance(target, OpOverload) and operator_name(target) in named and not _changes_its_input(target)
        for target in operators
    )


def _changes_its_input(target: OpOverload) -> bool:
    return bool(target._schema.is_mutable)  # noqa: SLF001 (torch has no public way to an operator's schema)


def _decompositions(named: frozenset[str]) -> dict[OpOverload, Callable[..., object]]:
    """Torch's own decompositions of every operator but the named."""
    table = torch.export.default_decompositions()
    return {op: rule for op, rule in table.items() if operator_name(op) not in named}


def operator_name(target: object) -> str:
    """`conv2d` for aten.conv2d.default; other libraries' operators keep theirs: `torchvision::nms`."""
    if not isinstance(target, OpOverload):
        return getattr(target, "__name__", str(target))
    return str(target.name()).partition(".")[0].removeprefix("aten::")


def _reason(error: BaseException) -> str:
    """The first lines of an error's text that say something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"


def _first_names(module: torch.nn.Module) -> dict[str, str]:
    """The name in the state_dict of every parameter and buffer: the first where it has several."""
    first: dict[int, str] = {}
    state = module.state_dict(keep_vars=True)
    return {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}


def _program(program: torch.export.ExportedProgram, names: Mapping[str, str]) -> Program:
    program.graph.eliminate_dead_code()
    signature = program.graph_signature
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    inputs: list[torch.fx.Node] = []
    known: dict[torch.fx.Node, object] = {}
    for entry in signature.input_specs:
        node = nodes[entry.arg.name]
        if entry.kind != InputKind.USER_INPUT:
            target = str(entry.target)
            known[node] = Tensor(_stored(program, target).detach(), names.get(target, target))
        elif isinstance(node.meta.get("val"), torch.Tensor):
            inputs.append(node)
        else:
            known[node] = node.meta.get("val")
    changed = [entry.target for entry in signature.output_specs if entry.kind == OutputKind.BUFFER_MUTATION]
    if changed:
        raise ImportModelError(
            Problem(f"the module changes its buffer {name!r}: a network has no state") for name in changed
        )
    (returned,) = next(node for node in program.graph.nodes if node.op == "output").args
    kinds = [entry.kind for entry in signature.output_specs]
    outputs = [value for value, kind in zip(returned, kinds, strict=True) if kind == OutputKind.USER_OUTPUT]
    return Program(
        program.graph, tuple(inputs), known, tuple(value for value in outputs if value is not None)
    )


def _stored(program: torch.export.ExportedProgram, name: str) -> torch.Tensor:
    found = program.state_dict.get(name)
    return program.constants[name] if found is None else found
