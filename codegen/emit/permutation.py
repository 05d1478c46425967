"""Loads that read every element of a step's output at another place: which coordinates become which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnngen.codegen.emit.cpp import interval
from cnngen.codegen.expr import Call, Coord, Expr, Int, Load
from cnngen.codegen.graph import Value

Part = tuple[int, int, int]  # (axis, d, m): the output's coordinate / d % m


@dataclass(frozen=True)
class Digit:
    """A part of the output's coordinates, and how far its neighbours are apart in the input and in the output."""

    extent: int
    source: int
    target: int


@dataclass(frozen=True)
class Permutation:
    """Elements that are neighbours in the input along `columns`, and in the output along `rows`.

    outer:    the other digits, the outermost first, but for the batch
    images:   how far images are apart in the input and in the output
    readable: how many of the rows the input has
    """

    rows: Digit
    columns: Digit
    outer: tuple[Digit, ...]
    images: Digit
    readable: int


def permutation_of(load: Load, source: Value, value: Value) -> Permutation | None:
    """How a load permutes elements, where it does; None for all others."""
    readable = _readable(load, source, value)
    parts = _parts_of(load, source, value)
    if parts is None or readable == 0:
        return None
    digits = {
        part: Digit(part[2], distance, value.strides[part[0]] * part[1]) for part, distance in parts.items()
    }
    images = digits.pop((0, 1, value.shape[0]), None)
    if images is None:
        return None
    merged = _merged(sorted(digits.values(), key=lambda digit: -digit.target))
    rows = next((digit for digit in merged if digit.target == 1), None)
    columns = next((digit for digit in merged if digit.source == 1), None)
    if rows is None or columns is None or rows == columns:
        return None
    if any(digit.source > images.source or digit.target > images.target for digit in merged):
        return None
    inner = value.shape[value.inner_axis]
    if readable < inner != rows.extent:
        return None
    outer = tuple(digit for digit in merged if digit not in (rows, columns))
    return Permutation(rows, columns, outer, images, readable if readable < inner else rows.extent)


def _readable(load: Load, source: Value, value: Value) -> int:
    """How far along the output's innermost axis the load stays inside its input; 0 where it leaves it elsewhere."""
    readable = value.shape[value.inner_axis]
    for axis, (index, extent) in enumerate(zip(load.index, source.shape, strict=True)):
        _, high = (0, 0) if axis == 0 and index == Coord(0) else interval(index, value.shape)
        if high is not None and high < extent:
            continue
        if index != Coord(value.inner_axis):
            return 0
        readable = extent
    return readable


def _parts_of(load: Load, source: Value, value: Value) -> dict[Part, int] | None:
    """Distances in the input of all parts that the output's coordinates consist of; None where it is not so simple."""
    found: dict[Part, int] = {}
    for index, stride in zip(load.index, source.strides, strict=True):
        terms = _terms(index, value.shape)
        if terms is None or found.keys() & terms.keys():
            return None
        found |= {part: factor * stride for part, factor in terms.items()}
    for axis, extent in enumerate(value.shape):
        covered = 1
        for _, divisor, size in sorted(part for part in found if part[0] == axis):
            if divisor != covered:
                return None
            covered *= size
        if covered != extent:
            return None
    return {part: distance for part, distance in found.items() if part[2] > 1 or part[0] == 0}


def _terms(index: Expr, shape: Sequence[int]) -> Mapping[Part, int] | None:
    """An index as a sum of parts of coordinates times factors."""
    match index:
        case Int(0):
            return {}
        case Coord(axis):
            return {(axis, 1, shape[axis]): 1}
        case Call("iadd", (a, b)):
            left, right = _terms(a, shape), _terms(b, shape)
            if left is None or right is None or left.keys() & right.keys():
                return None
            return {**left, **right}
        case Call("imul", (a, Int(factor))) | Call("imul", (Int(factor), a)):
            terms = _terms(a, shape)
            return None if terms is None else {part: number * factor for part, number in terms.items()}
        case Call("idiv" | "imod" as function, (a, Int(number))):
            terms = _terms(a, shape)
            if terms is None or len(terms) != 1 or set(terms.values()) != {1}:
                return None
            ((axis, divisor, size),) = terms
            if size % number:
                return None
            if function == "imod":
                return {(axis, divisor, number): 1}
            return {(axis, divisor * number, size // number): 1}
    return None


def _merged(digits: Sequence[Digit]) -> list[Digit]:
    """Neighbours in the output that are neighbours in the input too as one."""
    found: list[Digit] = []
    for digit in digits:
        last = found[-1] if found else None
        if (
            last is not None
            and last.source == digit.source * digit.extent
            and last.target == digit.target * digit.extent
        ):
            found[-1] = Digit(last.extent * digit.extent, digit.source, digit.target)
        else:
            found.append(digit)
    return found
