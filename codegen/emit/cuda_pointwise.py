"""Pointwise expressions as CUDA C++: one thread computes V neighbours of the output's innermost axis.

What does not differ between those V lanes is computed once, before the loop over the lanes: indices, and loads. A
load that runs along the innermost axis of its input is one vector access; one that all lanes share is one scalar;
any other stays in the loop, one element a lane.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cnngen.codegen import expr as ex
from cnngen.codegen.emit.cpp import ATOM, PRECEDENCE, Printer, Source, along, post_order, without_unit_axes
from cnngen.codegen.expr import Acc, Call, Coord, Expr, Int, Load
from cnngen.codegen.graph import Value


@dataclass(frozen=True)
class Body:
    """Statements before the loop over the lanes, inside it, and the value of a lane."""

    before: tuple[str, ...]
    inside: tuple[str, ...]
    result: str
    uses: frozenset[int]  # the coordinates that the text names


def pointwise_body(
    epilogue: Expr,
    value: Value,
    sources: Sequence[Source],
    lanes: int,
    acc: str = "",
    places: Mapping[Load, str] | None = None,
) -> Body:
    """The text that computes `epilogue` for `lanes` neighbours along `value`'s innermost axis.

    acc:    the array that holds the op's own result, a number a lane
    places: what loads whose offset has a name read at, in the first lane; the others follow it
    """
    return _Printer(epilogue, value, sources, lanes, acc, places or {}).body()


class _Printer(Printer):
    def __init__(
        self,
        epilogue: Expr,
        value: Value,
        sources: Sequence[Source],
        lanes: int,
        acc: str,
        places: Mapping[Load, str],
    ) -> None:
        super().__init__(value, sources)
        self.lanes, self.acc, self.places = lanes, acc, places
        self.inner = value.inner_axis
        self.expr = epilogue if places else without_unit_axes(epilogue, value)
        self.used: set[int] = set()
        self.first_lane = False  # whether the text at hand is of the first lane, and stands for all of them

    def body(self) -> Body:
        guards = self._guards()
        before: list[str] = []
        repeated = ex.repeated(self.expr)
        uniform = [node for node in repeated if not self._varies(node)]
        before.extend(self.definition(node) for node in uniform if not ex.loads(node))
        # Between the loads stands what a later one is found by; what else is made of them comes after them, since a
        # load may stand behind a condition.
        finds = _found_by(guards)
        for node in post_order(self.expr):
            if isinstance(node, Load):
                before.extend(self._hoisted(node, guards[node]))
            elif (
                node in finds and node in uniform and node not in self.bound and not self._has_lane_load(node)
            ):
                before.append(self.definition(node))
        open_ones = self._not_in_names()
        inside = [
            self.definition(node)
            for node in repeated
            if node in open_ones and node not in self.bound and not self._has_lane_load(node)
        ]
        result = self.text(self.expr)
        return Body(tuple(before), tuple(inside), result, frozenset(self.used))

    # --- what is known of an expression ------------------------------------------------------------------------

    def _varies(self, expr: Expr) -> bool:
        """Whether it may differ between the lanes."""
        return self.lanes > 1 and any(e == Coord(self.inner) or isinstance(e, Acc) for e in ex.walk(expr))

    def _has_lane_load(self, expr: Expr) -> bool:
        return any(isinstance(e, Load) and e not in self.bound for e in ex.walk(expr))

    def _not_in_names(self) -> set[Expr]:
        """What the result is made of beside what has a name, such as a load with all that its place depends on."""
        found: set[Expr] = set()
        stack = [self.expr]
        while stack:
            node = stack.pop()
            if node not in found and node not in self.bound:
                found.add(node)
                stack.extend(ex.children(node))
        return found

    def _guards(self) -> dict[Load, list[Expr] | None]:
        """For each load the conditions under which it is reached; None where there are several ways to it."""
        found: dict[Load, list[Expr] | None] = {}

        def visit(node: Expr, path: list[Expr]) -> None:
            if isinstance(node, Load):
                found[node] = path if found.get(node, path) == path else None
            match node:
                case Call("select", (condition, then, otherwise)):
                    visit(condition, path)
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
                step = along(index, self.inner)
                return (step is not None and (bound - step) % self.lanes == 0) or not self._varies(condition)
        return not self._varies(condition)

    # --- loads ---------------------------------------------------------------------------------------------------

    def _hoisted(self, load: Load, guard: list[Expr] | None) -> list[str]:
        """The statements that load for all lanes at once; none where each lane has to load for itself."""
        width = self.lanes if load in self.places else self._width(load)
        conditions = guard or []
        uniform = all(self._same_for_all_lanes(condition) for condition in conditions)
        if width == 0 or (guard is None and not self.in_bounds(load)):
            return []
        if conditions and not uniform:
            if not self.in_bounds(load):
                return []
            conditions = []
        source = self.sources[load.source]
        with self._on_first_lane():
            test = " && ".join(self._uniform_text(condition) for condition in conditions)
            offset = self.places.get(load) or self.offset(load)
        name = f"v{self.counters['v']}"
        self.counters["v"] += 1
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
        inner = value.inner_axis
        if any(self._varies(index) for axis, index in enumerate(load.index) if axis != inner):
            return 0
        aligned = self._runs_from_a_multiple(load.index[inner]) and value.shape[inner] % self.lanes == 0
        return self.lanes if aligned else 0

    def _runs_from_a_multiple(self, index: Expr) -> bool:
        """Whether the index goes along with the lanes, from a multiple of their number on."""
        match index:
            case Coord(axis):
                return axis == self.inner
            case Call("iadd", (a, b)):
                forwards = self._runs_from_a_multiple(a) and self._is_multiple(b)
                return forwards or (self._is_multiple(a) and self._runs_from_a_multiple(b))
        return False

    def _is_multiple(self, index: Expr) -> bool:
        """Whether an index that is the same in all lanes is a multiple of their number."""
        match index:
            case Int(number):
                return number % self.lanes == 0
            case Call("imul", (a, b)):
                return not self._varies(index) and (self._is_multiple(a) or self._is_multiple(b))
            case Call("iadd", (a, b)):
                return self._is_multiple(a) and self._is_multiple(b)
        return False

    # --- text ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _on_first_lane(self) -> Iterator[None]:
        before, self.first_lane = self.first_lane, True
        yield
        self.first_lane = before

    def _uniform_text(self, condition: Expr) -> str:
        if isinstance(condition, Call) and condition.function == "not":
            match condition.args[0]:
                case Call("lt", (a, b)):
                    return self.text(Call("ge", (a, b)))
                case Call("ge", (a, b)):
                    return self.text(Call("lt", (a, b)))
            return f"!({self.text(condition.args[0])})"
        return self.text(condition)

    def text(self, expr: Expr) -> str:
        if self.first_lane and self.value.shape[self.inner] == self.lanes:
            expr = ex.rewrite(expr, lambda e: Int(0) if e == Coord(self.inner) else None)
        return super().text(expr)

    def condition(self, condition: Expr) -> tuple[str, int]:
        if self.first_lane or not self._same_for_all_lanes(condition):
            return self.print(condition)
        with self._on_first_lane():
            return self.print(condition)

    def coordinate(self, axis: int) -> tuple[str, int]:
        if axis != self.inner or self.lanes == 1 or self.first_lane:
            self.used.add(axis)
            return self.names[axis], ATOM
        if self.value.shape[axis] == self.lanes:
            return "lane", ATOM
        self.used.add(axis)
        return f"{self.names[axis]} + lane", PRECEDENCE["+"]

    def load(self, load: Load) -> tuple[str, int]:
        return f"cnngen::to_float({self.sources[load.source].parameter}[{self.offset(load)}])", ATOM

    def result(self) -> str:
        return f"{self.acc}[lane]" if self.lanes > 1 else f"{self.acc}[0]"


def _found_by(guards: Mapping[Load, list[Expr] | None]) -> set[Expr]:
    """What is asked for where a load lies, and whether it is reached."""
    asked = [e for load, guard in guards.items() for e in (*load.index, *(guard or ()))]
    return {node for e in asked for node in ex.walk(e)}
