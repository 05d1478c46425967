"""What went wrong, where, and what to do: every error that cnngen shows to its user."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake.

    message: what was got, what is allowed, what to do
    where:   "file:line:column", or a file, when known
    layer:   the spec's name of the layer that it concerns
    field:   the field of that layer (or of the network) that it concerns; used to find `where`
    """

    message: str
    where: str | None = None
    layer: str | None = None
    field: str | None = None

    def __str__(self) -> str:
        parts = [self.where, f"layer {self.layer!r}" if self.layer is not None else None, self.message]
        return ": ".join(part for part in parts if part)


class CnngenError(Exception):
    """The base of all errors. `str()` lists every problem, one a line."""

    def __init__(self, problems: str | Problem | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class SpecError(CnngenError):
    """The spec says something that is not allowed, or contradicts itself."""


class WeightError(CnngenError):
    """The weights do not fit the spec, or their file is damaged."""


class ImportModelError(CnngenError):
    """A model of another framework cannot be expressed as a spec.

    needs_constant: the model's inputs that are read where only a constant can be; given as such, they are no
    reason to refuse it
    """

    def __init__(
        self, problems: str | Problem | Iterable[Problem], needs_constant: Iterable[str] = ()
    ) -> None:
        super().__init__(problems)
        self.needs_constant = frozenset(needs_constant)


class ShapeError(ValueError):
    """A layer cannot take the shapes that it is given; `resolve` adds the layers' names."""


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """` (did you mean 'conv1'?)`, or nothing when no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" (did you mean {close[0]!r}?)" if close else ""


def listing(names: Sequence[str], limit: int = 12) -> str:
    """`a, b, c`, shortened to `limit` names."""
    shown = ", ".join(names[:limit])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > limit else shown
