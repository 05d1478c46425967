"""Pointwise expressions as C++ for a CPU: a nest of loops, of which the innermost is one that compilers vectorise.

What does not vary along the innermost loop stands before it: indices, and loads. A condition that is the same along
it becomes a branch around it, and one that holds on a part of it splits it, so that what is left inside are loads
from neighbouring addresses and arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnngen.codegen import expr as ex
from cnngen.codegen.emit.cpp import ATOM, Printer, Source, along, post_order, without_unit_axes
from cnngen.codegen.emit.cpu_cases import Branch, Cases, Part, cases, has_loads, varies
from cnngen.codegen.expr import Call, Coord, Expr, Int, Load
from cnngen.codegen.graph import Value
from cnngen.codegen.targets import CPU

SHORT = 4  # an innermost axis of so few elements is written out, and the next one is the loop
ENOUGH_ROWS = 64  # of an image, for threads to share
LONG_ROW = 16 * 1024  # elements that threads share where there are no rows
TILE = (
    16  # neighbours of the output at a time where an input's neighbours lie along another axis: a cache line
)


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
    across: int | None = (
        None  # an outer axis along which an input's neighbours lie: the loop around each tile
    )


def _nest(expr: Expr, value: Value, sources: Sequence[Source]) -> _Nest:
    if _is_flat(expr, value, sources):
        return _Nest((expr,), (), None)
    axes = [axis for axis in value.axes if axis == 0 or value.shape[axis] > 1]
    if len(axes) > 2 and value.shape[axes[-1]] <= SHORT:
        last = axes.pop()
        exprs = tuple(_with(expr, last, place) for place in range(value.shape[last]))
        return _Nest(exprs, tuple(axes[:-1]), axes[-1], last)
    outer, inner = tuple(axes[:-1]), axes[-1]
    whole = len(cases((expr,), inner, value.shape[inner])) == 1
    return _Nest((expr,), outer, inner, across=_across(expr, outer, inner, value, sources) if whole else None)


def _across(
    expr: Expr, outer: Sequence[int], inner: int, value: Value, sources: Sequence[Source]
) -> int | None:
    """The axis along which an input would be read from neighbouring addresses, where it is not the innermost one."""
    for load in ex.loads(expr):
        source = sources[load.source].value
        index = load.index[source.inner_axis]
        for axis in outer:
            worthwhile = value.shape[axis] >= TILE and value.shape[inner] >= 2 * TILE
            if axis and worthwhile and along(index, axis) is not None:
                return axis if any(varies(i, inner) for i in load.index) else None
    return None


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
            lone = isinstance(node, Load) and node not in always and not has_loads(node.index)
            if node not in self.bound and safe and (node in several or lone):
                yield self.definition(node)


class _Loops(_Element):
    def __init__(self, nest: _Nest, value: Value, sources: Sequence[Source], integer: str) -> None:
        super().__init__(value, sources)
        self.nest, self.integer = nest, integer

    def lines(self) -> list[str]:
        if self.nest.inner is None:
            return self._flat_lines()
        exprs, heads = self.nest.exprs, self._heads()
        indices = [node for node in self._same_along_the_loop(exprs) if not ex.loads(node)]
        before = [self.definition(node) for node in indices]
        inside = self._cases(cases(exprs, self.nest.inner, self.value.shape[self.nest.inner]))
        return [*heads, *before, *inside, *(["}"] if heads else [])]

    def _cases(self, found: Cases) -> list[str]:
        lines: list[str] = []
        for case in found:
            if isinstance(case, Part):
                lines += self._inner_lines(case.exprs, case.low, case.high)
                continue
            otherwise = self._cases(case.otherwise)
            lines += [f"if ({self.text(case.condition)}) {{", *self._cases(case.then)]
            if len(case.otherwise) == 1 and isinstance(case.otherwise[0], Branch):  # a chain of them
                lines += [f"}} else {otherwise[0]}", *otherwise[1:]]
            else:
                lines += ["} else {", *otherwise, "}"]
        return lines

    # --- loops -----------------------------------------------------------------------------------------------------

    def _flat_lines(self) -> list[str]:
        size = self.value.elements // self.value.shape[0]
        (expr,) = self.nest.exprs
        single = [load for load in ex.loads(expr) if all(isinstance(i, Int) for i in load.index)]
        return [
            f"const std::int64_t size = {'batch' if size == 1 else f'std::int64_t{{batch}} * {size}'};",
            *map(self.definition, single),
            f"#pragma omp parallel for simd if (parallel: {self._is_large()})",
            "for (std::int64_t i = 0; i < size; ++i) {",
            *self.definitions((expr,)),
            self._store("i", expr),
            "}",
        ]

    def _is_large(self) -> str:
        return f"cnngen::is_large(batch, {self.value.elements // self.value.shape[0]})"

    def _heads(self) -> list[str]:
        """The loops around the innermost one, and how threads share them; the last one is left open."""
        outer, across, inner = self.nest.outer, self.nest.across, self.nest.inner or 0
        if self._shares_the_loop():
            return [f"for ({self._loop(axis)}) {{" for axis in outer]
        heads = [f"for ({self._loop(axis)})" for axis in outer if axis != across]
        rows = [self.value.shape[axis] if axis else 1 for axis in outer if axis != across]
        if across is not None:
            extent = self.value.shape[inner]
            heads.append(f"for ({self.integer} tile = 0; tile < {extent}; tile += {TILE})")
            rows.append(extent // TILE)
        shared = 1
        while shared < len(heads) and math.prod(rows[:shared]) < ENOUGH_ROWS:
            shared += 1
        collapse = f" collapse({shared})" if shared > 1 else ""
        if across is not None:
            heads.append(f"for ({self._loop(across)})")
        return [f"#pragma omp parallel for{collapse} if ({self._is_large()})", *heads[:-1], f"{heads[-1]} {{"]

    def _shares_the_loop(self) -> bool:
        """Whether it is the innermost loop that threads share, since there is no other but perhaps the batch."""
        outer, inner = self.nest.outer, self.nest.inner
        return not outer or (outer == (0,) and inner is not None and self.value.shape[inner] >= LONG_ROW)

    def _loop(self, axis: int, low: object = 0, high: object = None) -> str:
        name = self.names[axis]
        end = "batch" if axis == 0 else self.value.shape[axis] if high is None else high
        return f"{self.integer} {name} = {low}; {name} < {end}; ++{name}"

    def _inner_loop(self, axis: int, low: int, high: int) -> str:
        if self.nest.across is None:
            return self._loop(axis, low, high)
        end = f"tile + {TILE}"
        return self._loop(
            axis, "tile", end if high % TILE == 0 else f"{self.function('imin')}({end}, {high})"
        )

    def _inner_lines(self, exprs: tuple[Expr, ...], low: int, high: int) -> list[str]:
        axis, bound = self.nest.inner, dict(self.bound)
        if axis is None:
            raise TypeError("a flat nest has no innermost axis")
        threads = f" parallel for simd if (parallel: {self._is_large()})"
        before = [self.definition(node) for node in self._same_along_the_loop(exprs)]
        inside = list(self.definitions(exprs))
        stores = [self._store(self._place_of_output(i), expr) for i, expr in enumerate(exprs)]
        self.bound = bound
        return [
            *before,
            f"#pragma omp{threads if self._shares_the_loop() else ' simd'}",
            f"for ({self._inner_loop(axis, low, high)}) {{",
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
            and not varies(node, self.nest.inner or 0)
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
