"""Names of layers, from what the model calls its weights and nodes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

# conv1.weight, conv1.w, conv1_w_0, conv1/kernel: the layer is conv1
_WEIGHT = re.compile(r"(?P<layer>.+?)(?:[._/:](?:weight|weights|kernel|gamma|scale|slope|w|W)|_w_0|_scale_0)")
_COUNTER = re.compile(r"(?:n|node|op)?_?\d*")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Names:
    """Finds names for layers, and makes them unique.

    Args:
        nodes: the names of all nodes, which tell modules from their parts.
    """

    def __init__(self, nodes: Iterable[str]) -> None:
        """Counts what stands in each module."""
        self._taken: set[str] = set()
        self._next: Counter[str] = Counter()  # the last number that each name was given
        paths = [_module(node) for node in nodes]
        self._in_module = Counter(path for path in paths if path is not None)
        self._has_parts = {
            path[: match.start()] for path in self._in_module for match in re.finditer(r"\.", path)
        }

    def layer(self, node: str, op: str, weight: str | None) -> str:
        """A name for the layer of `node`, not yet unique: after its weight, its module, itself, or its op."""
        match = _WEIGHT.fullmatch(weight) if weight is not None else None
        if match and "::" not in match["layer"]:
            return printable(match["layer"])
        module = _module(node)
        if module is None:
            plain = printable(node)
            return op.removesuffix("2d") if _COUNTER.fullmatch(plain) else plain
        if module and self._in_module[module] == 1 and module not in self._has_parts:
            return module
        own = _WORD.sub("_", node.rpartition("/")[2]).lower()
        return f"{module}.{own}" if module else own

    def merged(self, layer: str, nodes: Iterable[str]) -> str:
        """The name of a layer that replaces all `nodes`: their module's where they are all of it."""
        parts = list(nodes)
        modules = {_module(node) for node in parts}
        module = modules.pop() if len(modules) == 1 else None
        whole = module and self._in_module[module] == len(parts) and module not in self._has_parts
        return module if module and whole else layer

    def free(self, name: str) -> str:
        """`name`, or `name_2`, `name_3`, ... when it is taken."""
        candidate, number = name, max(self._next[name], 1)
        while candidate in self._taken:
            number += 1
            candidate = f"{name}_{number}"
        self._next[name] = number
        self._taken.add(candidate)
        return candidate


def printable(text: str) -> str:
    """`text` without what a layer's name may not hold."""
    return "".join(c if c.isprintable() else "_" for c in text).strip()


def _module(node: str) -> str | None:
    """`/layer1/layer1.0/conv1/Conv` -> `layer1.0.conv1`, PyTorch's path; None: another kind of name."""
    if not node.startswith("/") or not node.isprintable():
        return None
    path: list[str] = []
    for scope in node.split("/")[1:-1]:
        part = scope.split(".")
        # inside a container the scope repeats the container's name: conv / conv.0 / conv.0.2
        shared = max(k for k in range(len(part)) if k <= len(path) and path[len(path) - k :] == part[:k])
        path += part[shared:]
    return ".".join(path)
