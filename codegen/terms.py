"""What pointwise expressions are made of: coordinates, numbers, loads and calls, which are simplified as they are made.

Expressions are either integers (indices, sizes), booleans (conditions of `select`) or floats (data); `FUNCTIONS` says
which each call takes and gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from cnngen.codegen.functions import FUNCTIONS

Kind: TypeAlias = Literal["int", "bool", "float"]


@dataclass(frozen=True, slots=True)
class Coord:
    """The output's coordinate along a logical axis."""

    axis: int


@dataclass(frozen=True, slots=True)
class Int:
    """A constant index."""

    value: int


@dataclass(frozen=True, slots=True)
class Float:
    """A constant number."""

    value: float


@dataclass(frozen=True, slots=True)
class Acc:
    """The result of the step's own op at this coordinate, before the epilogue."""


@dataclass(frozen=True, slots=True)
class Load:
    """`inputs[source]` at a logical index, one expression an axis of that input."""

    source: int
    index: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function of `FUNCTIONS` over its arguments; made by `call`."""

    function: str
    args: tuple[Expr, ...]


Expr: TypeAlias = Coord | Int | Float | Acc | Load | Call

ACC = Acc()


def kind(expr: Expr) -> Kind:
    """Whether an expression is an integer, a condition or data."""
    match expr:
        case Coord() | Int():
            return "int"
        case Float() | Acc() | Load():
            return "float"
        case Call("select", (_, then, _)):
            return kind(then)
        case Call(function, _):
            return FUNCTIONS[function].result


def call(function: str, *args: Expr) -> Expr:
    """A call, simplified where its arguments are known; the only way to make a `Call`."""
    if args and all(isinstance(a, Int | Float) for a in args):
        return _known(function, args)
    if function == "select":
        return _simple_choice(args) or Call(function, args)
    rules = {"int": _simple_index, "bool": _simple_condition, "float": _simple_data}
    return rules[FUNCTIONS[function].result](function, args) or Call(function, args)


def _known(function: str, args: tuple[Expr, ...]) -> Expr:
    """The value of a call of constants."""
    with np.errstate(all="ignore"):
        value = FUNCTIONS[function].numpy(*(a.value for a in args if isinstance(a, Int | Float)))
    match FUNCTIONS[function].result:
        case "int":
            return Int(int(value))
        case "bool":
            return TRUE if value else FALSE
        case "float":
            return Float(float(value))


def _simple_index(function: str, args: tuple[Expr, ...]) -> Expr | None:  # noqa: C901 - a case a rule
    """What a call of an index function is in short; None: as it is. What is divided is never negative."""
    match function, args:
        case ("iadd", (a, Int(0))) | ("iadd", (Int(0), a)):
            return a
        case ("iadd", (Int() as number, a)):
            return call("iadd", a, number)
        case ("iadd", (Call("iadd", (a, Int(p))), Int(q))):
            return call("iadd", a, Int(p + q))
        case ("isub", (a, Int(p))):
            return call("iadd", a, Int(-p))
        case ("imul", (a, Int(1))) | ("imul", (Int(1), a)) | ("idiv", (a, Int(1))):
            return a
        case ("imul", (_, Int(0))) | ("imul", (Int(0), _)) | ("imod", (_, Int(1))):
            return Int(0)
        case ("imul", (Int() as number, a)):
            return call("imul", a, number)
        case ("imul", (Call("imul", (a, Int(p))), Int(q))):
            return call("imul", a, Int(p * q))
        case ("idiv", (Call("idiv", (a, Int(p))), Int(q))):
            return call("idiv", a, Int(p * q))
        case ("imod", (Call("imod", (a, Int(p))), Int(q))) if p % q == 0:
            return call("imod", a, Int(q))
        case ("to_int", (Call("to_float", (a,)),)):
            return a
        case ("imin" | "imax", (a, b)) if a == b:
            return a
    return None


def _simple_condition(function: str, args: tuple[Expr, ...]) -> Expr | None:
    """What a condition is in short; None: as it is."""
    match function, args:
        case ("and", (a, Call("true", ()))) | ("and", (Call("true", ()), a)):
            return a
        case ("or", (a, Call("false", ()))) | ("or", (Call("false", ()), a)):
            return a
        case ("and", (Call("false", ()), _)) | ("and", (_, Call("false", ()))):
            return FALSE
        case ("or", (Call("true", ()), _)) | ("or", (_, Call("true", ()))):
            return TRUE
        case ("not", (Call("true", ()),)):
            return FALSE
        case ("not", (Call("false", ()),)):
            return TRUE
        case ("not", (Call("not", (a,)),)):
            return a
        case ("not_equal", (Call("select", (condition, Float(1.0), Float(0.0))), Float(0.0))):
            return condition
    return None


def _simple_data(function: str, args: tuple[Expr, ...]) -> Expr | None:
    """What a call that gives data is in short; None: as it is. No rule may lose a NaN."""
    match function, args:
        case ("add", (a, Float(0.0))) | ("add", (Float(0.0), a)) | ("sub", (a, Float(0.0))):
            return a
        case ("mul", (a, Float(1.0))) | ("mul", (Float(1.0), a)) | ("div", (a, Float(1.0))):
            return a
    return None


def _simple_choice(args: tuple[Expr, ...]) -> Expr | None:
    """What a select is in short; None: as it is."""
    match args:
        case (Call("true", ()), a, _) | (Call("false", ()), _, a):
            return a
        case (_, a, b) if a == b:
            return a
        case (Call("not", (condition,)), a, b):
            return call("select", condition, b, a)
    return None


def select(condition: Expr, then: Expr, otherwise: Expr) -> Expr:
    """`then` where the condition holds; only the branch taken is evaluated, so it may guard a `Load`."""
    return call("select", condition, then, otherwise)


def truth(condition: Expr) -> Expr:
    """A condition as data: 1 where it holds, else 0."""
    return select(condition, Float(1.0), Float(0.0))


def holds(data: Expr) -> Expr:
    """Whether data is true: any number but 0."""
    return call("not_equal", data, Float(0.0))


TRUE, FALSE = Call("true", ()), Call("false", ())
