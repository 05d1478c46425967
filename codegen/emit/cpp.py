"""Pointwise expressions as CUDA C++: one thread computes V neighbours of the output's innermost axis.

What does not differ between those V lanes is computed once, before the loop over the lanes: indices, and loads. A
load that runs along the innermost axis of its input is one vector access; one that all lanes share is one scalar;
any other stays in the loop, one element a lane.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Acc, Call, Coord, Expr, Float, Int, Load
from cnngen.codegen.functions import FUNCTIONS
from cnngen.codegen.graph import Value

CPP_TYPES = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16"}
PRECEDENCE = {"*": 5, "/": 5, "%": 5, "+": 6, "-": 6, "<": 9, ">=": 9, "&&": 14}
CONDITIONAL, ATOM = 16, 0


@dataclass(frozen=True)
class Source:
    """An input as the kernel sees it: a pointer parameter."""

    parameter: str
    value: Value
    constant: bool


@dataclass(frozen=True)
class Body:
    """Statements before the loop over the lanes, inside it, and the value of a lane."""

    before: tuple[str, ...]
    inside: tuple[str, ...]
    result: str
    uses: frozenset[int]  # the coordinates that the text names


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


def pointwise_body(
    epilogue: Expr, value: Value, sources: Sequence[Source], lanes: int, acc: str = ""
) -> Body:
    """The text that computes `epilogue` for `lanes` neighbours along `value`'s innermost axis.

    `acc`: the array that holds the op's own result, a number a lane.
    """
    return _Printer(epilogue, value, sources, lanes, acc).body()


class _Printer:
    def __init__(self, epilogue: Expr, value: Value, sources: Sequence[Source], lanes: int, acc: str) -> None:
        self.value, self.sources, self.lanes, self.acc = value, sources, lanes, acc
        self.inner = value.inner_axis
        self.names = coordinate_names(len(value.shape))
        self.expr = ex.rewrite(epilogue, self._without_unit_axes)
        self.bound: dict[Expr, str] = {}
        self.counters: Counter[str] = Counter()
        self.used: set[int] = set()

    def _without_unit_axes(self, expr: Expr) -> Expr | None:
        one = isinstance(expr, Coord) and expr.axis > 0 and self.value.shape[expr.axis] == 1
        return Int(0) if one else None

    def body(self) -> Body:
        guards = self._guards()
        before: list[str] = []
        repeated = ex.repeated(self.expr)
        shared = [node for node in repeated if not self._varies(node) and not ex.loads(node)]
        before.extend(self._definition(node) for node in shared)
        for load in self._loads_in_order():
            before.extend(self._hoisted(load, guards[load]))
        # A load may stand behind a condition: what is made of it comes after the loads, which know that.
        inside = [
            self._definition(node)
            for node in repeated
            if node not in self.bound and not self._has_lane_load(node)
        ]
        result = self.text(self.expr)
        return Body(tuple(before), tuple(inside), result, frozenset(self.used))

    # --- what is known of an expression ------------------------------------------------------------------------

    def _varies(self, expr: Expr) -> bool:
        """Whether it may differ between the lanes."""
        return self.lanes > 1 and any(
            e == Coord(self.inner) or isinstance(e, Acc | Load) for e in ex.walk(expr)
        )

    def _has_lane_load(self, expr: Expr) -> bool:
        return any(isinstance(e, Load) and e not in self.bound for e in ex.walk(expr))

    def _guards(self) -> dict[Load, list[Expr] | None]:
        """For each load the conditions under which it is reached; None where there are several ways to it."""
        found: dict[Load, list[Expr] | None] = {}

        def visit(node: Expr, path: list[Expr]) -> None:
            match node:
                case Load():
                    found[node] = path if found.get(node, path) == path else None
                case Call("select", (condition, then, otherwise)):
                    visit(then, [*path, condition])
                    visit(otherwise, [*path, Call("not", (condition,))])
                case _:
                    for child in ex.children(node):
                        visit(child, path)

        visit(self.expr, [])
        return found

    def _same_for_all_lanes(self, condition: Expr) -> bool:
        match condition:
            case Call("not", (inner,)):
                return self._same_for_all_lanes(inner)
            case Call("and", (a, b)):
                return self._same_for_all_lanes(a) and self._same_for_all_lanes(b)
            case Call("lt" | "ge", (index, Int(bound))):
                step = _along(index, self.inner)
                return (step is not None and (bound - step) % self.lanes == 0) or not self._varies(condition)
        return not self._varies(condition)

    def _in_bounds(self, load: Load) -> bool:
        shape = self.sources[load.source].value.shape
        for axis, (index, extent) in enumerate(zip(load.index, shape, strict=True)):
            if axis == 0 and index == Coord(0):
                continue
            low, high = _interval(index, self.value.shape)
            if low is None or high is None or low < 0 or high >= extent:
                return False
        return True

    # --- loads ---------------------------------------------------------------------------------------------------

    def _loads_in_order(self) -> list[Load]:
        return [node for node in _post_order(self.expr) if isinstance(node, Load)]

    def _hoisted(self, load: Load, guard: list[Expr] | None) -> list[str]:
        """The statements that load for all lanes at once; none where each lane has to load for itself."""
        width = self._width(load)
        conditions = guard or []
        uniform = all(self._same_for_all_lanes(condition) for condition in conditions)
        if width == 0 or (guard is None and not self._in_bounds(load)):
            return []
        if conditions and not uniform:
            if not self._in_bounds(load):
                return []
            conditions = []
        source = self.sources[load.source]
        test = " && ".join(self._uniform_text(condition) for condition in conditions)
        name = f"v{self.counters['v']}"
        self.counters["v"] += 1
        offset = self._offset(load, first_lane=True)
        address = f"{source.parameter} + {offset}" if offset != "0" else source.parameter
        if width == 1:
            element = f"cnngen::to_float({source.parameter}[{offset}])"
            self.bound[load] = name
            return [f"const float {name} = {f'{test} ? {element} : 0.0f' if test else element};"]
        reader = "load_readonly" if source.constant else "load"
        access = f"cnngen::to_float(cnngen::{reader}<{self.lanes}>({address}), {name});"
        self.bound[load] = f"{name}[lane]"
        if test:
            return [f"float {name}[{self.lanes}] = {{}};", f"if ({test}) {access}"]
        return [f"float {name}[{self.lanes}];", access]

    def _width(self, load: Load) -> int:
        """V for a vector access, 1 where all lanes read one element, 0 where each reads its own."""
        if self.lanes == 1 or not any(self._varies(index) for index in load.index):
            return 1
        value = self.sources[load.source].value
        along = value.inner_axis
        if any(self._varies(index) for axis, index in enumerate(load.index) if axis != along):
            return 0
        step = _along(load.index[along], self.inner)
        aligned = step is not None and step % self.lanes == 0 and value.shape[along] % self.lanes == 0
        return self.lanes if aligned else 0

    def _offset(self, load: Load, *, first_lane: bool) -> str:
        """Where the element lies, as a Horner form over the axes in memory order."""
        value = self.sources[load.source].value
        total: Expr = Int(0)
        for axis in value.axes:
            total = ex.call("iadd", ex.call("imul", total, Int(value.shape[axis])), load.index[axis])
        return self.text(total, first_lane=first_lane)

    # --- text ----------------------------------------------------------------------------------------------------

    def _definition(self, node: Expr) -> str:
        kind = "int" if ex.kind(node) == "int" else "float"
        text = self.text(node)
        return f"const {kind} {self._bind(node)} = {text};"

    def _bind(self, node: Expr) -> str:
        axes = {e.axis for e in ex.walk(node) if isinstance(e, Coord)}
        letter = self.names[axes.pop()] if len(axes) == 1 else "t"
        self.counters[letter] += 1
        self.bound[node] = f"{letter}{self.counters[letter]}"
        return self.bound[node]

    def _uniform_text(self, condition: Expr) -> str:
        if isinstance(condition, Call) and condition.function == "not":
            match condition.args[0]:
                case Call("lt", (a, b)):
                    return self.text(Call("ge", (a, b)), first_lane=True)
                case Call("ge", (a, b)):
                    return self.text(Call("lt", (a, b)), first_lane=True)
            return f"!({self.text(condition.args[0], first_lane=True)})"
        return self.text(condition, first_lane=True)

    def text(self, expr: Expr, *, first_lane: bool = False) -> str:
        if first_lane and self.value.shape[self.inner] == self.lanes:
            expr = ex.rewrite(expr, lambda e: Int(0) if e == Coord(self.inner) else None)
        return self._print(expr, first_lane)[0]

    def _print(self, expr: Expr, first_lane: bool) -> tuple[str, int]:  # noqa: C901 - a case a kind
        """The text and how loosely it binds."""
        if expr in self.bound:
            return self.bound[expr], ATOM
        match expr:
            case Coord(axis):
                if axis == self.inner and self.lanes > 1 and not first_lane:
                    if self.value.shape[axis] == self.lanes:
                        return "lane", ATOM
                    self.used.add(axis)
                    return f"{self.names[axis]} + lane", PRECEDENCE["+"]
                self.used.add(axis)
                return self.names[axis], ATOM
            case Int(number):
                return str(number), ATOM
            case Float(number):
                return float_text(number), ATOM
            case Acc():
                return (f"{self.acc}[lane]" if self.lanes > 1 else f"{self.acc}[0]"), ATOM
            case Load(source, _):
                offset = self._offset(expr, first_lane=first_lane)
                return f"cnngen::to_float({self.sources[source].parameter}[{offset}])", ATOM
            case Call("select", (condition, then, otherwise)):
                uniform = not first_lane and self._same_for_all_lanes(condition)
                test, binds = self._print(condition, first_lane or uniform)
                test = f"({test})" if binds >= CONDITIONAL else test
                parts = [self._print(branch, first_lane) for branch in (then, otherwise)]
                texts = [f"({text})" if binds >= CONDITIONAL else text for text, binds in parts]
                return f"{test} ? {texts[0]} : {texts[1]}", CONDITIONAL
            case Call("true" | "false" as word, ()):
                return word, ATOM
            case Call("iadd", (a, Int(number))) if number < 0:
                return f"{self._operand(a, PRECEDENCE['-'], first_lane)} - {-number}", PRECEDENCE["-"]
            case Call(function, args):
                return self._call(function, args, first_lane)
        raise TypeError(f"no text for {expr!r}")

    def _call(self, function: str, args: tuple[Expr, ...], first_lane: bool) -> tuple[str, int]:
        infix = FUNCTIONS[function].infix
        if infix is not None:
            binds = PRECEDENCE[infix]
            left, right = args
            # An operator of the same rank on the right needs parentheses, since all of these group to the left.
            return (
                f"{self._operand(left, binds, first_lane)} {infix} "
                f"{self._operand(right, binds - 1, first_lane)}"
            ), binds
        name = FUNCTIONS[function].cpp or f"cnngen::fn::{function}"
        return f"{name}({', '.join(self._print(arg, first_lane)[0] for arg in args)})", ATOM

    def _operand(self, expr: Expr, limit: int, first_lane: bool) -> str:
        text, binds = self._print(expr, first_lane)
        return f"({text})" if binds > limit else text


def _post_order(expr: Expr) -> list[Expr]:
    order: dict[Expr, None] = {}

    def visit(node: Expr) -> None:
        if node not in order:
            for child in ex.children(node):
                visit(child)
            order[node] = None

    visit(expr)
    return list(order)


def _along(index: Expr, axis: int) -> int | None:
    """K where the index is `coordinate + k`; None where it is anything else."""
    match index:
        case Coord(a) if a == axis:
            return 0
        case Call("iadd", (Coord(a), Int(step))) if a == axis:
            return step
    return None


def _interval(index: Expr, shape: Sequence[int]) -> tuple[int | None, int | None]:
    """Bounds (both included) of an index over all of the output's coordinates; None: unknown."""

    def both(args: tuple[Expr, ...]) -> tuple[tuple[int | None, int | None], tuple[int | None, int | None]]:
        return _interval(args[0], shape), _interval(args[1], shape)

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
            low, high = _interval(a, shape)
            return (None if low is None else low * number), (None if high is None else high * number)
        case Call("idiv", (a, Int(number))):
            low, high = _interval(a, shape)
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
