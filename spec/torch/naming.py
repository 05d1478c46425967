"""Names of layers from the modules that they are called in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import torch

from cnngen.spec.importing.naming import Names, printable
from cnngen.spec.torch.export import operator_name

_WORDS = {"native_batch_norm_legit_no_training": "batch_norm", "to_copy": "to"}


class ModuleNames(Names):
    """Takes the names that `layer_names` has found as they are; a helper layer is named after its op."""

    def layer(self, node: str, op: str, weight: str | None) -> str:  # noqa: ARG002 (a module knows better)
        """`node`, or the op without its dimension."""
        return printable(node) or op.removesuffix("1d").removesuffix("2d")

    def merged(self, layer: str, nodes: Iterable[str]) -> str:
        """The module of a layer that replaces all `nodes`, where they all are in one."""
        modules = {node.rpartition(".")[0] for node in nodes}
        return modules.pop() or layer if len(modules) == 1 else layer


def module_path(node: torch.fx.Node) -> str:
    """The path of the innermost module that a node is called in: layer1.0.conv1, "" for the whole."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def layer_names(
    graph: torch.fx.Graph, weights: Iterable[tuple[torch.fx.Node, str]]
) -> dict[torch.fx.Node, str]:
    """A name for every call, not yet unique.

    A call that reads its module's weight, or is all that its module and its parts do, is named after the module;
    another after the module and its operator.

    Args:
        graph: the traced module.
        weights: the placeholders of parameters, and their names in the state_dict.
    """
    owners = {node: name.rpartition(".")[0] for node, name in weights if name.endswith(".weight")}
    calls = [
        node for node in graph.nodes if node.op == "call_function" and operator_name(node.target) != "getitem"
    ]
    alone = Counter(map(_call, calls))
    with_parts = {path[: dot.start()] for path in map(module_path, calls) for dot in re.finditer(r"\.", path)}
    names: dict[torch.fx.Node, str] = {}
    for node in calls:
        path, own = module_path(node), _word(operator_name(node.target))
        whole = alone[_call(node)] == 1 and path not in with_parts
        if path and (whole or any(owners.get(source) == path for source in node.all_input_nodes)):
            names[node] = path
        else:
            names[node] = f"{path}.{own}" if path else own
    return names


def _word(operator: str) -> str:
    """The operator as a person calls it."""
    plain = (
        operator.rpartition("::")[2].strip("_").removeprefix("linalg_vector_").removesuffix("_with_indices")
    )
    return _WORDS.get(plain, plain)


def _call(node: torch.fx.Node) -> str:
    """What tells one call of a module from the next; a container's own calls are as many as they are."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack)[-1]) if stack else ""
