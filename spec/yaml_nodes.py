"""YAML with a position for every value: the plain core of YAML 1.2, nothing that a spec does not need.

`1e-5` is a number, `yes` and `off` are texts; anchors, tags and duplicate keys are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import yaml

from cnngen.spec.errors import Problem, SpecError

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_STR = "tag:yaml.org,2002:str"


@dataclass(frozen=True)
class Place:
    """A value of the document.

    Args:
        where: "file:line:column" of the value.
        key: "file:line:column" of its key, or of itself in a list.
        path: the steps from the root to it.
    """

    where: str
    key: str
    path: tuple[int | str, ...]


@dataclass(frozen=True)
class Source:
    """A YAML text, composed: finds the place that a path leads to.

    Args:
        file: the name that positions are given with.
        root: the document.
    """

    file: str
    root: yaml.Node

    def place(self, path: Sequence[int | str] = ()) -> Place:
        """The place that `path` leads to, without steps that lead nowhere (a union's tag, a shorthand)."""
        node = name = self.root
        steps: list[int | str] = []
        tagged: yaml.Node | None = None
        for step in path:
            if isinstance(node, yaml.MappingNode):
                entries = {key.value: (key, value) for key, value in node.value}
                if "op" in entries and step == entries["op"][1].value and tagged is not node:
                    tagged = node  # the tag of a union, once
                elif step in entries:
                    name, node = entries[str(step)]
                    steps.append(step)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                name = node = node.value[step]
                steps.append(step)
        return Place(_at(self.file, node.start_mark), _at(self.file, name.start_mark), tuple(steps))


def parse(text: str, file: str) -> tuple[object, Source]:
    """The data of a YAML text (dicts, lists, texts, numbers, booleans, None) and its positions.

    Raises SpecError with file:line:column.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise SpecError(_syntax(error, file)) from None
    except yaml.reader.ReaderError as error:
        raise SpecError(Problem(f"not a YAML text: {error.reason}", where=file)) from None
    except RecursionError:
        raise SpecError(Problem("nested too deeply", where=file)) from None
    if root is None:
        raise SpecError(Problem("the file is empty", where=file))
    problems: list[Problem] = []
    data = _data(root, file, problems)
    if problems:
        raise SpecError(problems)
    return data, Source(file, root)


def is_plain(text: str) -> bool:
    """Whether any YAML reader takes `text`, written without quotes, as that text."""
    safe = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text) is not None
    old = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return safe and old == _STR and isinstance(_plain(text), str)


class _Loader(yaml.SafeLoader):
    """Composes nodes only, without aliases and tags."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) not in (None, "!"):
            text = f"the tag {event.tag!r} is not allowed"
            raise yaml.composer.ComposerError(None, None, text, event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            text = "aliases are not allowed here; write the value out"
            raise yaml.composer.ComposerError(None, None, text, event.start_mark)  # type: ignore[arg-type]
        return super().compose_node(parent, index)


def _at(file: str, mark: yaml.Mark) -> str:
    return f"{file}:{mark.line + 1}:{mark.column + 1}"


def _syntax(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    text = f"YAML syntax: {error.problem or error.context}"
    if error.context and error.problem and error.context_mark:
        text += f" ({error.context} that begins in line {error.context_mark.line + 1})"
    return Problem(text, where=_at(file, mark) if mark else file)


def _data(node: yaml.Node, file: str, problems: list[Problem]) -> object:
    if isinstance(node, yaml.SequenceNode):
        return [_data(item, file, problems) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node.value, file, problems)
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return _plain(node.value) if plain else node.value


def _mapping(
    entries: Iterable[tuple[yaml.Node, yaml.Node]], file: str, problems: list[Problem]
) -> Mapping[str, object]:
    result: dict[str, object] = {}
    lines: dict[str, int] = {}
    for key, value in entries:
        name = _data(key, file, problems)
        where = _at(file, key.start_mark)
        if not isinstance(name, str):
            problems.append(Problem(f"a key must be a text, got {name!r}; put it in quotes", where=where))
        elif name in result:
            problems.append(Problem(f"{name!r} stands twice, first in line {lines[name]}", where=where))
        else:
            lines[name] = key.start_mark.line + 1
            result[name] = _data(value, file, problems)
    return result


def _plain(text: str) -> object:
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.replace(".inf", "inf").replace(".nan", "nan") if text.lower()[-1] in "fn" else text)
    return text
