"""Pointwise expressions as C++: what the targets' printers share, and how names and numbers are spelled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Acc, Call, Coord, Expr, Float, Int, Load
from cnngen.codegen.functions import FUNCTIONS
from cnngen.codegen.graph import Value

PRECEDENCE = {
    "*": 5,
    "/": 5,
    "%": 5,
    "+": 6,
    "-": 6,
    "<": 9,
    "<=": 9,
    ">": 9,
    ">=": 9,
    "==": 10,
    "!=": 10,
    "&&": 14,
    "||": 15,
}
CONDITIONAL, ATOM = 16, 0


@dataclass(frozen=True)
class Source:
    """An input as the kernel sees it: a pointer parameter."""

    parameter: str
    value: Value
    constant: bool


def quoted(text: str) -> str:
    """A C++ string literal. Names are printable by the spec's rule, so that only these two need an escape."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def coordinate_names(rank: int) -> tuple[str, ...]:
    """The variables that hold an output coordinate, by logical axis."""
    return ("n", "c", "h", "w") if rank == 4 else ("n", *(f"i{axis}" for axis in range(1, rank)))


def float_text(number: float) -> str:
    """The shortest literal that is the same float32."""
    with np.errstate(over="ignore"):
        single = np.float32(number)
    if np.isinf(single):
        return "INFINITY" if number > 0 else "-INFINITY"
    text = str(single)
    return (text if any(mark in text for mark in ".e") else text + ".0") + "f"


class Printer(ABC):
    """The text of an expression; where a coordinate, a load and the op's result are found is the target's matter."""

    def __init__(self, value: Value, sources: Sequence[Source]) -> None:
        self.value, self.sources = value, sources
        self.names = coordinate_names(len(value.shape))
        self.bound: dict[Expr, str] = {}  # what has a name already
        self.counters: Counter[str] = Counter()

    @abstractmethod
    def coordinate(self, axis: int) -> tuple[str, int]:
        """The text of the output's coordinate, and how loosely it binds."""

    @abstractmethod
    def load(self, load: Load) -> tuple[str, int]:
        """An element of an input as a float."""

    @abstractmethod
    def result(self) -> str:
        """The result of the step's own op."""

    def condition(self, condition: Expr) -> tuple[str, int]:
        """What a `select` tests."""
        return self.print(condition)

    def text(self, expr: Expr) -> str:
        """The text of an expression that stands alone."""
        return self.print(expr)[0]

    def print(self, expr: Expr) -> tuple[str, int]:
        """The text and how loosely it binds."""
        if expr in self.bound:
            return self.bound[expr], ATOM
        match expr:
            case Coord(axis):
                return self.coordinate(axis)
            case Int(number):
                return str(number), ATOM
            case Float(number):
                return float_text(number), ATOM
            case Acc():
                return self.result(), ATOM
            case Load():
                return self.load(expr)
            case Call("select", (condition, then, otherwise)):
                test, binds = self.condition(condition)
                test = f"({test})" if binds >= CONDITIONAL else test
                parts = [self.print(branch) for branch in (then, otherwise)]
                texts = [f"({text})" if binds >= CONDITIONAL else text for text, binds in parts]
                return f"{test} ? {texts[0]} : {texts[1]}", CONDITIONAL
            case Call("true" | "false" as word, ()):
                return word, ATOM
            case Call("iadd", (a, Int(number))) if number < 0:
                return f"{self._operand(a, PRECEDENCE['-'])} - {-number}", PRECEDENCE["-"]
            case Call(function, args):
                return self._call(function, args)
        raise TypeError(f"no text for {expr!r}")

    def _call(self, function: str, args: tuple[Expr, ...]) -> tuple[str, int]:
        infix = FUNCTIONS[function].infix
        if infix is not None:
            binds = PRECEDENCE[infix]
            left, right = args
            # An operator of the same rank on the right needs parentheses, since all of these group to the left.
            return f"{self._operand(left, binds)} {infix} {self._operand(right, binds - 1)}", binds
        return f"{self.function(function)}({', '.join(self.text(arg) for arg in args)})", ATOM

    def function(self, name: str) -> str:
        """What a function is called in C++."""
        return FUNCTIONS[name].cpp or f"cnngen::fn::{name}"

    def _operand(self, expr: Expr, limit: int) -> str:
        text, binds = self.print(expr)
        return f"({text})" if binds > limit else text

    def offset(self, load: Load) -> str:
        """Where an element lies, as a Horner form over the axes in memory order."""
        value = self.sources[load.source].value
        total: Expr = Int(0)
        for axis in value.axes:
            total = ex.call("iadd", ex.call("imul", total, Int(value.extent(axis))), load.index[axis])
        return self.text(total)

    def in_bounds(self, load: Load) -> bool:
        """Whether a load reads inside its input at every coordinate, whatever guards it."""
        shape = self.sources[load.source].value.shape
        for axis, (index, extent) in enumerate(zip(load.index, shape, strict=True)):
            if axis == 0 and index == Coord(0):
                continue
            low, high = interval(index, self.value.shape)
            if low is None or high is None or low < 0 or high >= extent:
                return False
        return True

    def definition(self, node: Expr) -> str:
        """A statement that gives an expression a name: that of its coordinate, numbered, where it has but one."""
        kind = "int" if ex.kind(node) == "int" else "float"
        text = self.text(node)
        axes = {e.axis for e in ex.walk(node) if isinstance(e, Coord)}
        letter = self.names[axes.pop()] if len(axes) == 1 else "t"
        self.counters[letter] += 1
        self.bound[node] = f"{letter}{self.counters[letter]}"
        return f"const {kind} {self.bound[node]} = {text};"


def without_unit_axes(expr: Expr, value: Value) -> Expr:
    """The expression with 0 for each coordinate that can only be that; the batch keeps its own."""

    def zero(e: Expr) -> Expr | None:
        one = isinstance(e, Coord) and e.axis > 0 and value.shape[e.axis] == 1
        return Int(0) if one else None

    return ex.rewrite(expr, zero)


def post_order(expr: Expr) -> list[Expr]:
    """Every subexpression once, inner first."""
    order: dict[Expr, None] = {}

    def visit(node: Expr) -> None:
        if node not in order:
            for child in ex.children(node):
                visit(child)
            order[node] = None

    visit(expr)
    return list(order)


def along(index: Expr, axis: int) -> int | None:
    """K where the index is `coordinate + k`; None where it is anything else."""
    match index:
        case Coord(a) if a == axis:
            return 0
        case Call("iadd", (Coord(a), Int(step))) if a == axis:
            return step
    return None


def interval(index: Expr, shape: Sequence[int]) -> tuple[int | None, int | None]:
    """Bounds (both included) of an index over all of the output's coordinates; None: unknown."""

    def both(args: tuple[Expr, ...]) -> tuple[tuple[int | None, int | None], tuple[int | None, int | None]]:
        return interval(args[0], shape), interval(args[1], shape)

    match index:
        case Coord(axis):
            return 0, shape[axis] - 1
        case Int(number):
            return number, number
        case Call("to_int", _):
            return 0, None
        case Call("iadd", args):
            (a, b), (p, q) = both(args)
            return _plus(a, p), _plus(b, q)
        case Call("imul", (a, Int(number))) if number >= 0:
            low, high = interval(a, shape)
            return (None if low is None else low * number), (None if high is None else high * number)
        case Call("idiv", (a, Int(number))):
            low, high = interval(a, shape)
            return (None if low is None else low // number), (None if high is None else high // number)
        case Call("imod", (_, Int(number))):
            return 0, number - 1
        case Call("imin", args):
            (a, b), (p, q) = both(args)
            highs = [x for x in (b, q) if x is not None]
            return (None if a is None or p is None else min(a, p)), (min(highs) if highs else None)
    return None, None


def _plus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def kernel_names(names: Sequence[str], constants: Mapping[str, object]) -> list[str]:
    """Parameter names for a kernel's inputs: x for data (x0, x1, ... for several), weight for constants likewise."""
    groups = {False: [n for n in names if n not in constants], True: [n for n in names if n in constants]}
    found = {}
    for constant, letter in ((False, "x"), (True, "weight")):
        members = groups[constant]
        for i, name in enumerate(members):
            found[name] = letter if len(members) == 1 else f"{letter}{i}"
    return [found[name] for name in names]
