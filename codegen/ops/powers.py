"""Norms of any power: |x|^p, its root, and the two with a sum between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Expr, Float
from cnngen.codegen.graph import Array

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def power(x: Expr, p: float) -> Expr:
    """|x|^p."""
    if p == 2:
        return ex.call("mul", x, x)
    size = ex.call("abs", x)
    return size if p == 1 else ex.call("pow", size, Float(p))


def root(x: Expr, p: float) -> Expr:
    """x^(1 / p) of a number that is not negative."""
    if p == 1:
        return x
    return ex.call("sqrt", x) if p == 2 else ex.call("pow", x, Float(1 / p))


def lower_powers(low: Lowering, name: str, axes: Iterable[int], p: float) -> str:
    """The sum of |x|^p along axes, which stay with size 1, as float32."""
    if p == 2:
        return low.reduce("sum_squares", name, axes, "float32")
    powers = low.map([name], low.shape(name), power(low.here(low.values[name]), p), dtype="float32")
    return low.reduce("sum", powers, axes, "float32")


def lower_norm(low: Lowering, name: str, axes: Iterable[int], p: float) -> str:
    """(sum |x|^p)^(1 / p) along axes, which stay with size 1."""
    total = lower_powers(low, name, axes, p)
    return low.map([total], low.shape(total), root(low.here(low.values[total]), p))


def reference_norm(x: Array, axes: tuple[int, ...], p: float) -> Array:
    """(sum |x|^p)^(1 / p) along axes, which stay with size 1."""
    return np.asarray((np.abs(x) ** p).sum(axis=axes, keepdims=True) ** (1 / p))
