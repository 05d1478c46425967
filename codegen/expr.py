"""The pointwise language: one element of a step's output as an expression of its coordinates and inputs.

`y[n, c, h, w] = expr` is evaluated for every output coordinate. A `Load` reads an input at an index that is itself
an expression of the coordinates, so that activations, residuals, broadcasts, concats, pads, upsampling, transposes
and casts are all the same thing, and two neighbours fuse by substitution. An index may be loaded too (a table, the
places of a grid): `to_int` of a load. Coordinates are logical (N, C, H, W for rank 4), whatever the layout in memory.

What expressions are made of: `cnngen.codegen.terms`. Interpreter: `evaluate`. C++: `cnngen.codegen.emit.cpp`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from cnngen.codegen.functions import FUNCTIONS
from cnngen.codegen.terms import (
    ACC,
    FALSE,
    TRUE,
    Acc,
    Call,
    Coord,
    Expr,
    Float,
    Int,
    Kind,
    Load,
    call,
    holds,
    kind,
    select,
    truth,
)

__all__ = [
    "ACC", "FALSE", "TRUE", "Acc", "Call", "Coord", "Expr", "Float", "Int", "Kind", "Load", "at", "broadcast_load",
    "call", "children", "coords", "describe", "evaluate", "holds", "kind", "loads", "renumber", "repeated", "rewrite",
    "select", "truth", "walk", "within",
]  # fmt: skip

Array: TypeAlias = "np.ndarray[Any, Any]"


def within(index: Expr, low: int, high: int, extent: int) -> Expr:
    """`low <= index < high`, the halves that `0 <= index < extent` already implies left out."""
    result: Expr = TRUE
    if low > 0:
        result = call("and", result, call("ge", index, Int(low)))
    if high < extent:
        result = call("and", result, call("lt", index, Int(high)))
    return result


def coords(rank: int) -> tuple[Expr, ...]:
    """The coordinates of every axis."""
    return tuple(Coord(axis) for axis in range(rank))


def broadcast_load(source: int, shape: Sequence[int], rank: int, *, batched: bool = True) -> Load:
    """Input `source` of `shape` read at the output's coordinate under numpy's broadcasting to `rank` axes.

    `batched`: axis 0 is the batch and is never broadcast, so that the expression is the same at every batch size.
    """
    offset = rank - len(shape)
    return Load(
        source,
        tuple(
            Int(0) if extent == 1 and not (batched and offset + i == 0) else Coord(offset + i)
            for i, extent in enumerate(shape)
        ),
    )


def children(expr: Expr) -> tuple[Expr, ...]:
    """The expressions that this one is made of."""
    match expr:
        case Load(_, index):
            return index
        case Call(_, args):
            return args
    return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """Every subexpression, outer first, each distinct one once."""
    seen: set[Expr] = set()
    stack = [expr]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(reversed(children(node)))


def rewrite(expr: Expr, replace: Callable[[Expr], Expr | None]) -> Expr:
    """A copy in which `replace` has had its say on every leaf and every load, inner first; None keeps it."""
    done: dict[Expr, Expr] = {}

    def visit(node: Expr) -> Expr:
        if node not in done:
            # A call is never replaced: simplified, it may be one of its arguments, which has been replaced already.
            match node:
                case Call(function, args):
                    done[node] = call(function, *(visit(a) for a in args))
                    return done[node]
                case Load(source, index):
                    new: Expr = Load(source, tuple(visit(i) for i in index))
                case _:
                    new = node
            replaced = replace(new)
            done[node] = new if replaced is None else replaced
        return done[node]

    return visit(expr)


def at(expr: Expr, index: Sequence[Expr]) -> Expr:
    """`expr` evaluated at another coordinate: each `Coord(i)` becomes `index[i]`."""
    return rewrite(expr, lambda e: index[e.axis] if isinstance(e, Coord) else None)


def renumber(expr: Expr, sources: Mapping[int, int]) -> Expr:
    """`expr` with its inputs renumbered."""
    return rewrite(expr, lambda e: Load(sources[e.source], e.index) if isinstance(e, Load) else None)


def loads(expr: Expr) -> tuple[Load, ...]:
    """Every load, each distinct one once."""
    return tuple(e for e in walk(expr) if isinstance(e, Load))


def evaluate(expr: Expr, shape: Sequence[int], inputs: Sequence[Array], acc: Array | None = None) -> Array:
    """The whole output as an array of `shape`, in the inputs' precision.

    Indices outside an input are clipped: only a guarding `select` may let them arise, and it drops what they read.
    """
    grid = [
        np.arange(extent).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        for axis, extent in enumerate(shape)
    ]
    done: dict[Expr, Any] = {}

    def value(node: Expr) -> Any:  # noqa: ANN401
        if node not in done:
            done[node] = compute(node)
        return done[node]

    def compute(node: Expr) -> Any:  # noqa: ANN401
        match node:
            case Coord(axis):
                return grid[axis]
            case Int(number) | Float(number):
                return number
            case Acc():
                if acc is None:
                    raise ValueError("the expression reads the result of an op that the step does not have")
                return acc
            case Load(source, index):
                array = inputs[source]
                places = [
                    np.clip(value(i), 0, extent - 1) for i, extent in zip(index, array.shape, strict=True)
                ]
                return array[tuple(np.broadcast_arrays(*places))] if places else array[()]
            case Call("select", (condition, then, otherwise)):
                return np.where(value(condition), value(then), value(otherwise))
            case Call(function, args):
                return FUNCTIONS[function].numpy(*(value(a) for a in args))

    with np.errstate(
        all="ignore"
    ):  # also the branch that is not taken is computed, and infinities are values
        return np.broadcast_to(value(expr), tuple(shape))


def repeated(expr: Expr) -> list[Expr]:
    """The calls worth a name: what more than one other expression needs, inner first; no condition.

    An offset has none either where what it is added to has one, or is a coordinate.
    """
    uses: Counter[Expr] = Counter()
    order: dict[Expr, None] = {}

    def visit(node: Expr) -> None:
        if node not in order:
            for child in children(node):
                uses[child] += 1
                visit(child)
            order[node] = None

    visit(expr)
    calls = [node for node in order if isinstance(node, Call) and uses[node] > 1 and kind(node) != "bool"]

    def is_offset(node: Call) -> bool:
        base = node.args[0]
        offset = node.function == "iadd" and isinstance(node.args[1], Int)
        return offset and (not isinstance(base, Call) or uses[base] > 1)

    return [node for node in calls if not is_offset(node)]


def describe(expr: Expr, names: Sequence[str]) -> str:
    """The expression as a person would write it: `relu(acc + bias[c])`, `... where t1 = ...; t2 = ...`."""
    axes = "nchw"
    bound: dict[Expr, str] = {}

    def text(node: Expr) -> str:
        if node in bound:
            return bound[node]
        match node:
            case Coord(axis):
                return axes[axis] if axis < 4 else f"i{axis}"
            case Int(value):
                return str(value)
            case Float(value):
                return f"{value:g}"
            case Acc():
                return "acc"
            case Load(source, index):
                return f"{names[source]}[{', '.join(map(text, index))}]"
            case Call(function, args):
                infix = FUNCTIONS[function].infix
                if infix:
                    return "(" + f" {infix} ".join(map(text, args)) + ")"
                return f"{function}({', '.join(map(text, args))})"

    definitions = []
    for node in repeated(expr):
        definition = text(node)
        bound[node] = f"t{len(bound) + 1}"
        definitions.append(f"{bound[node]} = {definition}")
    result = text(expr)
    if result.startswith("(") and isinstance(expr, Call) and FUNCTIONS[expr.function].infix:
        result = result[1:-1]
    return f"{result} where {'; '.join(definitions)}" if definitions else result
