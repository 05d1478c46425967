"""The pointwise language: simplification and substitution may not change what an expression means."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import ACC, FALSE, TRUE, Call, Coord, Expr, Float, Int, Load, call, select
from cnngen.codegen.graph import Array

SHAPE = (3, 4)
INPUTS = [np.random.default_rng(i).normal(size=(3, 4)) for i in range(3)]
PROPERTY = settings(derandomize=True, deadline=None, max_examples=400)


def index(rng: random.Random, depth: int) -> Expr:
    """A coordinate, not yet simplified."""
    function = rng.choice(
        ("", "", "iadd", "offset", "imul", "scaled", "idiv", "imod", "imin", "imax", "isub")
    )
    if not depth or not function:
        return rng.choice((Int(rng.randint(0, 3)), Coord(0), Coord(1)))
    a, few = index(rng, depth - 1), Int(rng.randint(1, 3))
    match function:
        case "iadd" | "imin":
            return Call(function, (a, index(rng, depth - 1)))
        case "offset":
            return Call("iadd", (a, Int(rng.randint(-2, 2))))
        case "scaled":
            return Call("imul", (few, a))
    return Call(function, (a, few))


def condition(rng: random.Random, depth: int) -> Expr:
    function = rng.choice(("true", "false", "lt", "ge", "ge", "and", "or", "xor", "not", "less", "truth"))
    if depth and function in ("and", "or", "xor"):
        return Call(function, (condition(rng, depth - 1), condition(rng, depth - 1)))
    if depth and function == "not":
        return Call("not", (condition(rng, depth - 1),))
    if depth and function == "truth":
        one_or_zero = Call("select", (condition(rng, depth - 1), Float(1.0), Float(0.0)))
        return Call("not_equal", (one_or_zero, Float(0.0)))
    if function == "less":
        return Call("less", (Load(0, (index(rng, 1), index(rng, 1))), Float(0.5)))
    if function in ("lt", "ge"):
        return Call(function, (index(rng, 1), Int(rng.randint(0, 3))))
    return TRUE if function == "true" else FALSE


def data(rng: random.Random, depth: int) -> Expr:
    """A number, not yet simplified."""
    function = rng.choice(
        ("load", "load", "number", "add", "mul", "sub", "relu", "twice", "select", "same", "place", "nested")
    )
    if function == "number":
        return Float(rng.choice((0.0, 1.0, -0.5)))
    if function == "load" or not depth:
        return Load(rng.randrange(3), (index(rng, 1), index(rng, 1)))
    a = data(rng, depth - 1)
    match function:
        case "relu":
            return Call("relu", (a,))
        case "twice":
            return Call("add", (a, a))
        case "same":
            return Call("select", (condition(rng, 2), a, a))
        case "nested":  # an index that is loaded
            place = Call("to_int", (Call("clip", (a, Float(0.0), Float(3.0))),))
            return Load(rng.randrange(3), (index(rng, 1), place))
        case "place":
            return Call("mul", (a, Call("to_float", (index(rng, 1),))))
    b = data(rng, depth - 1)
    return Call("select", (condition(rng, 1), a, b)) if function == "select" else Call(function, (a, b))


def value(expr: Expr, inputs: Sequence[Array] = INPUTS) -> Array:
    return ex.evaluate(expr, SHAPE, inputs)


randoms = st.randoms(use_true_random=False)


@given(randoms)
@PROPERTY
def test_simplification_keeps_the_meaning(rng: random.Random) -> None:
    raw = data(rng, 3)
    np.testing.assert_allclose(value(ex.rewrite(raw, lambda _: None)), value(raw), rtol=1e-12)


@given(randoms)
@PROPERTY
def test_at_is_evaluation_elsewhere(rng: random.Random) -> None:
    raw = data(rng, 3)
    target = [Call("imod", (index(rng, 2), Int(extent))) for extent in SHAPE]
    target = rng.choice((target, [Coord(0), Int(1)], [Call("imin", (Coord(1), Int(2))), Coord(0)]))
    places = tuple(np.broadcast_to(value(i), SHAPE).astype(int) for i in target)
    expected = value(raw)[places]
    np.testing.assert_allclose(value(ex.at(raw, target)), expected, rtol=1e-12)
    simple = ex.rewrite(raw, lambda _: None)
    np.testing.assert_allclose(value(ex.at(simple, target)), expected, rtol=1e-12)


@given(randoms, st.permutations(range(3)))
@PROPERTY
def test_renumber_is_other_inputs(rng: random.Random, order: list[int]) -> None:
    raw = data(rng, 3)
    moved = ex.renumber(raw, dict(enumerate(order)))
    np.testing.assert_allclose(
        value(moved, [INPUTS[order.index(i)] for i in range(3)]), value(raw), rtol=1e-12
    )


def test_what_a_call_simplifies_to_is_not_rewritten_twice() -> None:
    swapped = [Coord(1), Coord(0)]
    assert ex.at(Call("iadd", (Coord(0), Int(0))), swapped) == Coord(1)
    assert ex.at(call("iadd", Coord(0), Coord(1)), [Coord(1), Int(0)]) == Coord(1)
    load = Load(0, (Coord(0),))
    assert ex.renumber(Call("select", (TRUE, load, ACC)), {0: 1, 1: 2}) == Load(1, (Coord(0),))


c = Coord(1)


@pytest.mark.parametrize(
    ("made", "simple"),
    [
        (call("iadd", Int(2), Int(3)), Int(5)),
        (call("iadd", call("iadd", c, Int(2)), Int(-2)), c),
        (call("isub", c, Int(2)), Call("iadd", (c, Int(-2)))),
        (call("imul", c, Int(0)), Int(0)),
        (call("idiv", c, Int(1)), c),
        (call("imod", c, Int(1)), Int(0)),
        (call("imul", Int(3), call("imul", c, Int(2))), Call("imul", (c, Int(6)))),
        (call("idiv", call("idiv", c, Int(2)), Int(3)), Call("idiv", (c, Int(6)))),
        (call("imod", call("imod", c, Int(6)), Int(3)), Call("imod", (c, Int(3)))),
        (call("iadd", Int(3), call("iadd", c, Int(-3))), c),
        (call("to_int", call("to_float", c)), c),
        (call("lt", Int(2), Int(3)), TRUE),
        (call("ge", Int(2), Int(3)), FALSE),
        (call("and", TRUE, call("lt", c, Int(3))), Call("lt", (c, Int(3)))),
        (call("and", call("lt", c, Int(3)), FALSE), FALSE),
        (call("or", FALSE, call("lt", c, Int(3))), Call("lt", (c, Int(3)))),
        (call("or", call("lt", c, Int(3)), TRUE), TRUE),
        (call("not", call("not", call("lt", c, Int(3)))), Call("lt", (c, Int(3)))),
        (ex.holds(ex.truth(call("lt", c, Int(3)))), Call("lt", (c, Int(3)))),
        (
            select(call("not", call("lt", c, Int(3))), ACC, Float(1.0)),
            select(call("lt", c, Int(3)), Float(1.0), ACC),
        ),
        (call("add", ACC, Float(0.0)), ACC),
        (call("sub", ACC, Float(0.0)), ACC),
        (call("mul", Float(1.0), ACC), ACC),
        (call("div", ACC, Float(1.0)), ACC),
        (call("relu", Float(-1.0)), Float(0.0)),
        (select(TRUE, ACC, Float(1.0)), ACC),
        (select(call("lt", c, Int(3)), ACC, ACC), ACC),
        # what looks like it, but is not
        (call("sub", Float(0.0), ACC), Call("sub", (Float(0.0), ACC))),
        (call("mul", ACC, Float(0.0)), Call("mul", (ACC, Float(0.0)))),  # a NaN stays one
        (call("imod", c, Int(3)), Call("imod", (c, Int(3)))),
        (call("imod", call("imod", c, Int(5)), Int(3)), Call("imod", (Call("imod", (c, Int(5))), Int(3)))),
        (call("less", ACC, ACC), Call("less", (ACC, ACC))),
    ],
)
def test_simplifications(made: Expr, simple: Expr) -> None:
    assert made == simple


def test_only_the_branch_taken_counts() -> None:
    inside = ex.within(Coord(1), 1, 3, 4)
    padded = select(inside, Load(0, (Coord(0), call("iadd", Coord(1), Int(-1)))), Float(9.0))
    expected = np.pad(INPUTS[0][:, :2], ((0, 0), (1, 1)), constant_values=9.0)
    assert np.array_equal(value(padded), expected)


def test_within_says_no_more_than_it_must() -> None:
    low, high = Call("ge", (c, Int(1))), Call("lt", (c, Int(3)))
    assert ex.within(c, 0, 4, 4) == TRUE
    assert ex.within(c, 1, 4, 4) == low
    assert ex.within(c, 0, 3, 4) == high
    assert ex.within(c, 1, 3, 4) == Call("and", (low, high))


def test_the_batch_axis_is_never_broadcast() -> None:
    assert ex.broadcast_load(0, (1, 1, 5), 3) == Load(0, (Coord(0), Int(0), Coord(2)))
    assert ex.broadcast_load(0, (1, 1, 5), 3, batched=False) == Load(0, (Int(0), Int(0), Coord(2)))
    assert ex.broadcast_load(0, (1, 5), 4) == Load(0, (Int(0), Coord(3)))


def test_what_is_worth_a_name() -> None:
    place = call("iadd", call("idiv", Coord(2), Int(6)), Int(-1))
    twice = select(call("ge", place, Int(0)), Load(0, (place,)), Float(0.0))
    assert ex.repeated(twice) == [place]
    offset = call("iadd", Coord(2), Int(-1))
    assert ex.repeated(select(call("ge", offset, Int(0)), Load(0, (offset,)), Float(0.0))) == []


def test_describe_reads_as_a_person_writes() -> None:
    biased = call("relu", call("add", ACC, Load(2, (Coord(1),))))
    assert ex.describe(biased, ["x", "w", "bias"]) == "relu((acc + bias[c]))"
    assert ex.describe(call("mul", Load(0, ex.coords(4)), Float(0.5)), ["x"]) == "x[n, c, h, w] * 0.5"
