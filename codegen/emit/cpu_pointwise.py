"""Pointwise expressions as C++ for a CPU: a nest of loops, of which the innermost is one that compilers vectorise.

What does not vary along the innermost loop stands before it: indices, and loads. A condition that is the same along
it becomes a branch around it, and one that holds on a part of it splits it, so that what is left inside are loads
from neighbouring addresses and arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnngen.codegen import expr as ex
from cnngen.codegen.emit.cpp import ATOM, Printer, Source, along, post_order, without_unit_axes
from cnngen.codegen.expr import FALSE, TRUE, Acc, Call, Coord, Expr, Int, Load
from cnngen.codegen.graph import Value
from cnngen.codegen.targets import CPU

SHORT = 4  # an innermost axis of so few elements is written out, and the next one is the loop
ENOUGH_ROWS = 64  # of an image, for threads to share
LONG_ROW = 16 * 1024  # elements that threads share where there are no rows
MOST_CASES = 12  # beyond, conditions stay inside the loop


def pointwise_lines(epilogue: Expr, value: Value, sources: Sequence[Source], *, large: bool) -> list[str]:
    """The body of a kernel that computes `epilogue` everywhere. `large`: 32 bits do not number the elements."""
    nest = _nest(without_unit_axes(epilogue, value), value, sources)
    return _Loops(nest, value, sources, "std::int64_t" if large else "int").lines()


def epilogue_lines(epilogue: Expr, value: Value, sources: Sequence[Source]) -> list[str]:
    """A lambda from the op's result and its coordinates to what is stored; none where that is the same."""
    if epilogue == ex.ACC:
        return []
    printer = _Element(value, sources)
    expr = without_unit_axes(epilogue, value)
    body = [*printer.definitions((expr,)), f"return {printer.text(expr)};"]
    arguments = [
        "float acc",
        *(f"int {name}" if axis in printer.used else "int" for axis, name in enumerate(printer.names)),
    ]
    return [f"const auto epilogue = [&]({', '.join(arguments)}) {{", *body, "};"]


@dataclass(frozen=True)
class _Nest:
    """The loops of a step, over axes of its output in memory order."""

    exprs: tuple[Expr, ...]  # one, or one an element of the axis that is written out
    outer: tuple[int, ...]
    inner: int | None  # the vectorised loop; None: all axes in one
    written_out: int | None = None


def _nest(expr: Expr, value: Value, sources: Sequence[Source]) -> _Nest:
    if _is_flat(expr, value, sources):
        return _Nest((expr,), (), None)
    axes = [axis for axis in value.axes if axis == 0 or value.shape[axis] > 1]
    if len(axes) > 2 and value.shape[axes[-1]] <= SHORT:
        *outer, inner, last = axes
        exprs = tuple(_with(expr, last, place) for place in range(value.shape[last]))
        return _Nest(exprs, tuple(outer), inner, last)
    return _Nest((expr,), tuple(axes[:-1]), axes[-1])


def _is_flat(expr: Expr, value: Value, sources: Sequence[Source]) -> bool:
    """Whether every element is made of those at its own place, and of single ones."""
    here = tuple(without_unit_axes(c, value) for c in ex.coords(len(value.shape)))

    def places(load: Load) -> bool:
        single = all(isinstance(index, Int) for index in load.index)
        return single or (load.index == here and sources[load.source].value.lies_like(value))

    free = ex.rewrite(expr, lambda e: ex.Float(0.5) if isinstance(e, Load) else None)
    return all(map(places, ex.loads(expr))) and not any(isinstance(e, Coord) for e in ex.walk(free))


def _with(expr: Expr, axis: int, place: int) -> Expr:
    return ex.rewrite(expr, lambda e: Int(place) if e == Coord(axis) else None)


class _Element(Printer):
    """The text of one element."""

    def __init__(self, value: Value, sources: Sequence[Source]) -> None:
        super().__init__(value, sources)
        self.used: set[int] = set()

    def coordinate(self, axis: int) -> tuple[str, int]:
        self.used.add(axis)
        return self.names[axis], ATOM

    def result(self) -> str:
        return "acc"

    def function(self, name: str) -> str:
        known = super().function(name)
        return f"std::{known}" if known in ("abs", "max", "min") else known

    def place(self, load: Load) -> str:
        """Where a load reads, as an index."""
        return self.offset(load)

    def load(self, load: Load) -> tuple[str, int]:
        source = self.sources[load.source]
        element = f"{source.parameter}[{self.place(load)}]"
        return (element if source.value.dtype == "float32" else f"cnngen::to_float({element})"), ATOM

    def definitions(self, exprs: Sequence[Expr]) -> Iterator[str]:
        """Names for what is needed several times, and for loads that stand behind a condition without need."""
        several, always = _several(exprs), _always(exprs)
        for node in _post_order(exprs):
            safe = node in always or all(self.in_bounds(load) for load in ex.loads(node))
            lone = isinstance(node, Load) and node not in always and not _has_loads(node.index)
            if node not in self.bound and safe and (node in several or lone):
                yield self.definition(node)


class _Loops(_Element):
    def __init__(self, nest: _Nest, value: Value, sources: Sequence[Source], integer: str) -> None:
        super().__init__(value, sources)
        self.nest, self.integer = nest, integer

    def lines(self) -> list[str]:
        if self.nest.inner is None:
            return self._flat_lines()
        exprs, whole = self.nest.exprs, (0, self.value.shape[self.nest.inner])
        split = self._count_cases(exprs, whole) <= MOST_CASES
        heads = self._heads()
        indices = [node for node in self._same_along_the_loop(exprs) if not ex.loads(node)]
        before = [self.definition(node) for node in indices]
        cases = self._cases(exprs, whole, split=split)
        return [*heads, *before, *cases, *(["}"] if heads else [])]

    # --- loops -----------------------------------------------------------------------------------------------------

    def _flat_lines(self) -> list[str]:
        size = self.value.elements // self.value.shape[0]
        (expr,) = self.nest.exprs
        single = [load for load in ex.loads(expr) if all(isinstance(i, Int) for i in load.index)]
        return [
            f"const std::int64_t size = {'batch' if size == 1 else f'std::int64_t{{batch}} * {size}'};",
            *map(self.definition, single),
            f"#pragma omp parallel for simd if ({self._is_large()})",
            "for (std::int64_t i = 0; i < size; ++i) {",
            *self.definitions((expr,)),
            self._store("i", expr),
            "}",
        ]

    def _is_large(self) -> str:
        return f"cnngen::is_large(batch, {self.value.elements // self.value.shape[0]})"

    def _heads(self) -> list[str]:
        """The loops around the innermost one, and how threads share them; the last one is left open."""
        outer, rows, shared = self.nest.outer, 1, 0
        if self._shares_the_loop():
            return [f"for ({self._loop(axis)}) {{" for axis in outer]
        while shared < len(outer) and (shared == 0 or rows < ENOUGH_ROWS):
            rows *= self.value.shape[outer[shared]] if outer[shared] else 1
            shared += 1
        collapse = f" collapse({shared})" if shared > 1 else ""
        heads = [f"for ({self._loop(axis)})" for axis in outer]
        return [f"#pragma omp parallel for{collapse} if ({self._is_large()})", *heads[:-1], f"{heads[-1]} {{"]

    def _shares_the_loop(self) -> bool:
        """Whether it is the innermost loop that threads share, since there is no other but perhaps the batch."""
        outer, inner = self.nest.outer, self.nest.inner
        return not outer or (outer == (0,) and inner is not None and self.value.shape[inner] >= LONG_ROW)

    def _loop(self, axis: int, low: int = 0, high: int | None = None) -> str:
        name = self.names[axis]
        end = "batch" if axis == 0 else str(self.value.shape[axis] if high is None else high)
        return f"{self.integer} {name} = {low}; {name} < {end}; ++{name}"

    def _inner_lines(self, exprs: tuple[Expr, ...], low: int, high: int) -> list[str]:
        axis, bound = self.nest.inner, dict(self.bound)
        if axis is None:
            raise TypeError("a flat nest has no innermost axis")
        threads = f" parallel for simd if ({self._is_large()})"
        before = [self.definition(node) for node in self._same_along_the_loop(exprs)]
        inside = list(self.definitions(exprs))
        stores = [self._store(self._place_of_output(i), expr) for i, expr in enumerate(exprs)]
        self.bound = bound
        return [
            *before,
            f"#pragma omp{threads if self._shares_the_loop() else ' simd'}",
            f"for ({self._loop(axis, low, high)}) {{",
            *inside,
            *stores,
            "}",
        ]

    def _same_along_the_loop(self, exprs: Sequence[Expr]) -> list[Expr]:
        """Loads, and what is needed several times, inner first: what may be worked out before the innermost loop."""
        several, always = _several(exprs), _always(exprs)
        return [
            node
            for node in _post_order(exprs)
            if (isinstance(node, Load) or node in several)
            and not self._varies(node)
            and node not in self.bound
            and (node in always or all(self.in_bounds(load) for load in ex.loads(node)))
        ]

    def _place_of_output(self, written_out: int) -> str:
        index = [
            Int(written_out) if axis == self.nest.written_out else Coord(axis)
            for axis in range(len(self.value.shape))
        ]
        here = [without_unit_axes(place, self.value) for place in index]
        total: Expr = Int(0)
        for axis in self.value.axes:
            total = ex.call("iadd", ex.call("imul", total, Int(self.value.shape[axis])), here[axis])
        return self.text(total)

    def _store(self, place: str, expr: Expr) -> str:
        if isinstance(expr, Load) and expr not in self.bound:
            source = self.sources[expr.source]
            if source.value.dtype == self.value.dtype:  # moved as it is
                return f"y[{place}] = {source.parameter}[{self.place(expr)}];"
        text = self.text(expr)
        element = CPU.elements[self.value.dtype]
        return f"y[{place}] = {text if element == 'float' else f'cnngen::from_float<{element}>({text})'};"

    def place(self, load: Load) -> str:
        single = all(isinstance(index, Int) for index in load.index)
        return self.offset(load) if single or self.nest.inner is not None else "i"

    def function(self, name: str) -> str:
        known = super().function(name)
        mixed = self.integer != "int" and known in ("std::max", "std::min")
        return f"{known}<{self.integer}>" if mixed else known

    # --- cases -----------------------------------------------------------------------------------------------------

    def _varies(self, expr: Expr) -> bool:
        return any(e == Coord(self.nest.inner or 0) or isinstance(e, Acc) for e in ex.walk(expr))

    def _cases(self, exprs: tuple[Expr, ...], within: tuple[int, int], *, split: bool) -> list[str]:
        """The innermost loop, in as many forms as conditions make of it."""
        low, high = within
        if low >= high:
            return []
        condition = self._condition(exprs) if split else None
        if condition is None:
            return self._inner_lines(exprs, low, high)
        then, otherwise = (_assuming(exprs, condition, truth) for truth in (TRUE, FALSE))
        if not self._varies(condition):
            test = self.text(condition)
            return [
                f"if ({test}) {{",
                *self._cases(then, within, split=True),
                "} else {",
                *self._cases(otherwise, within, split=True),
                "}",
            ]
        border, first, second = self._parts(condition, then, otherwise)
        middle = min(max(border, low), high)
        return [
            *self._cases(first, (low, middle), split=True),
            *self._cases(second, (middle, high), split=True),
        ]

    def _count_cases(self, exprs: tuple[Expr, ...], within: tuple[int, int]) -> int:
        low, high = within
        if low >= high:
            return 0
        condition = self._condition(exprs)
        if condition is None:
            return 1
        then, otherwise = (_assuming(exprs, condition, truth) for truth in (TRUE, FALSE))
        if not self._varies(condition):
            count = self._count_cases(then, within)
            return count if count > MOST_CASES else count + self._count_cases(otherwise, within)
        border, first, second = self._parts(condition, then, otherwise)
        middle = min(max(border, low), high)
        count = self._count_cases(first, (low, middle))
        return count if count > MOST_CASES else count + self._count_cases(second, (middle, high))

    def _parts(
        self, condition: Expr, then: tuple[Expr, ...], otherwise: tuple[Expr, ...]
    ) -> tuple[int, tuple[Expr, ...], tuple[Expr, ...]]:
        """Where a condition changes along the innermost axis, and what holds before and from there on."""
        match condition:
            case Call("lt", (index, Int(bound))):
                return bound - (along(index, self.nest.inner or 0) or 0), then, otherwise
            case Call("ge", (index, Int(bound))):
                return bound - (along(index, self.nest.inner or 0) or 0), otherwise, then
        raise TypeError(f"{condition!r} does not split a loop")

    def _condition(self, exprs: tuple[Expr, ...]) -> Expr | None:
        """What decides between loads and can be taken out of the innermost loop, outermost first."""
        for expr in exprs:
            for node in ex.walk(expr):
                match node:
                    case Call("select", (condition, then, otherwise)) if _has_loads((then, otherwise)):
                        for part in self._separable(condition):
                            return part
        return None

    def _separable(self, condition: Expr) -> Iterator[Expr]:
        if not self._varies(condition):
            yield condition
            return
        match condition:
            case Call("and", (a, b)):
                yield from self._separable(a)
                yield from self._separable(b)
            case Call("lt" | "ge", (index, Int(_))):
                # Along the batch, whose extent the text does not know, a loop has but one part.
                if self.nest.inner and along(index, self.nest.inner) is not None:
                    yield condition


def _has_loads(exprs: Sequence[Expr]) -> bool:
    return any(isinstance(e, Load) for expr in exprs for e in ex.walk(expr))


def _several(exprs: Sequence[Expr]) -> set[Expr]:
    """What is needed more than once."""
    return {node for expr in exprs for node in ex.repeated(expr)}


def _post_order(exprs: Sequence[Expr]) -> list[Expr]:
    return list(dict.fromkeys(node for expr in exprs for node in post_order(expr)))


def _always(exprs: Sequence[Expr]) -> set[Expr]:
    """What is evaluated whatever the conditions: it need not be guarded."""
    found: set[Expr] = set()

    def visit(node: Expr) -> None:
        if node not in found:
            found.add(node)
            match node:
                case Call("select", (first, _, _)) | Call("and" | "or", (first, _)):
                    visit(first)
                case _:
                    for child in ex.children(node):
                        visit(child)

    for expr in exprs:
        visit(expr)
    return found


def _assuming(exprs: tuple[Expr, ...], condition: Expr, truth: Expr) -> tuple[Expr, ...]:
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
