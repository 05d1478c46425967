"""Conditions taken out of an innermost loop: branches around it, and parts of its range.

What is left inside a part reads neighbouring addresses without asking, which compilers make vectors of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cnngen.codegen import expr as ex
from cnngen.codegen.emit.cpp import along
from cnngen.codegen.expr import FALSE, TRUE, Acc, Call, Coord, Expr, Int, Load

MOST_CASES = 12  # beyond, conditions stay inside the loop

Exprs: TypeAlias = tuple[Expr, ...]


@dataclass(frozen=True)
class Part:
    """The expressions over a part of the loop's range."""

    exprs: Exprs
    low: int
    high: int


@dataclass(frozen=True)
class Branch:
    """Which of two it is depends on what is the same all along the loop."""

    condition: Expr
    then: Cases
    otherwise: Cases


Cases: TypeAlias = tuple["Part | Branch", ...]  # one after the other


def cases(exprs: Exprs, axis: int, extent: int) -> Cases:
    """The loop over `axis` in as many forms as conditions between loads make of it."""
    whole = Part(exprs, 0, extent)
    return _split(whole, axis) if _count(whole, axis) <= MOST_CASES else (whole,)


def varies(expr: Expr, axis: int) -> bool:
    """Whether an expression may differ along an axis."""
    return any(e == Coord(axis) or isinstance(e, Acc) for e in ex.walk(expr))


def has_loads(exprs: Sequence[Expr]) -> bool:
    """Whether anything is read."""
    return any(isinstance(e, Load) for expr in exprs for e in ex.walk(expr))


def _split(part: Part, axis: int) -> Cases:
    condition = _condition(part.exprs, axis)
    if condition is None:
        return (part,)
    then, otherwise = _halves(part, condition, axis)
    if varies(condition, axis):
        first, second = sorted((then, otherwise), key=lambda half: half.low)
        return (*_split_if_any(first, axis), *_split_if_any(second, axis))
    return (Branch(condition, _split(then, axis), _split(otherwise, axis)),)


def _split_if_any(part: Part, axis: int) -> Cases:
    return _split(part, axis) if part.low < part.high else ()


def _count(part: Part, axis: int) -> int:
    """How many parts it would be; no further than is worth knowing."""
    condition = _condition(part.exprs, axis)
    if condition is None or part.low >= part.high:
        return int(part.low < part.high)
    total = 0
    for half in _halves(part, condition, axis):
        total += _count(half, axis) if total <= MOST_CASES else 0
    return total


def _halves(part: Part, condition: Expr, axis: int) -> tuple[Part, Part]:
    """Where the condition holds, and where not: of the range, if it changes along it."""
    then, otherwise = (_assuming(part.exprs, condition, truth) for truth in (TRUE, FALSE))
    low, high = part.low, part.high
    match condition:
        case Call("lt" | "ge" as function, (index, Int(bound))) if (step := along(index, axis)) is not None:
            border = min(max(bound - step, low), high)
            below, above = (low, border), (border, high)
            within, without = (below, above) if function == "lt" else (above, below)
            return Part(then, *within), Part(otherwise, *without)
    return Part(then, low, high), Part(otherwise, low, high)


def _condition(exprs: Exprs, axis: int) -> Expr | None:
    """The first condition between loads that can be taken out of the loop, from outside."""
    for expr in exprs:
        for node in ex.walk(expr):
            match node:
                case Call("select", (condition, then, otherwise)) if has_loads((then, otherwise)):
                    for found in _separable(condition, axis):
                        return found
    return None


def _separable(condition: Expr, axis: int) -> Iterator[Expr]:
    if not varies(condition, axis):
        yield condition
        return
    match condition:
        case Call("and", (a, b)):
            yield from _separable(a, axis)
            yield from _separable(b, axis)
        case Call("lt" | "ge", (index, Int(_))):
            # Along the batch, whose extent the text does not know, a loop has but one part.
            if axis and along(index, axis) is not None:
                yield condition


def _assuming(exprs: Exprs, condition: Expr, truth: Expr) -> Exprs:
    """The expressions where a condition is known."""
    done: dict[Expr, Expr] = {condition: truth}

    def visit(node: Expr) -> Expr:
        if node not in done:
            match node:
                case Call(function, args):
                    done[node] = ex.call(function, *map(visit, args))
                case Load(source, index):
                    done[node] = Load(source, tuple(map(visit, index)))
                case _:
                    done[node] = node
        return done[node]

    return tuple(map(visit, exprs))
