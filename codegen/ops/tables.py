"""Indices that follow no simple formula: in closed form where there is one, else as a table among the constants."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.graph import Array

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


class Tables:
    """The inputs of a pointwise step in the making: values, and the tables that its indices need."""

    def __init__(self, low: Lowering, inputs: Sequence[str]) -> None:
        self.low = low
        self.names = list(inputs)

    def load(self, kind: str, array: Array, index: tuple[Expr, ...]) -> Load:
        """A new table, read at `index`."""
        self.names.append(self.low.constant(f"{self.low.layer}.{kind}", array, "float32"))
        return Load(len(self.names) - 1, index)

    def places(self, axis: int, places: Array, ratios: Sequence[Fraction]) -> Expr:
        """Whole numbers, one a coordinate along `axis`; `ratios`: what they may grow by a step."""
        for ratio in ratios:
            form = closed_form(axis, places, ratio)
            if form is not None:
                return form
        least = int(
            places.min()
        )  # a table holds no negative numbers: they are indices before they are shifted
        table = self.load("places", places - least, (Coord(axis),))
        return ex.call("iadd", ex.call("to_int", table), Int(least))

    def weights(self, axis: int, weights: Array) -> list[Expr]:
        """(size, taps) numbers: one expression a tap, a number where all are the same."""
        same = [bool((column == column[0]).all()) for column in weights.T]
        kept = [tap for tap in range(len(same)) if not same[tap]]
        if not kept:
            return [Float(float(column[0])) for column in weights.T]
        table = self.load("weights", weights[:, kept], (Coord(axis), Int(0)))
        return [
            Float(float(weights[0, tap]))
            if same[tap]
            else Load(table.source, (Coord(axis), Int(kept.index(tap))))
            for tap in range(len(same))
        ]


def closed_form(axis: int, places: Array, ratio: Fraction) -> Expr | None:
    """`(coordinate * p + b) / q + o` where that gives exactly `places`, p / q the ratio; None: it does not."""
    p, q = ratio.numerator, ratio.denominator
    first = int(places[0])
    rest = q * (np.asarray(places, np.int64) - first) - p * np.arange(len(places), dtype=np.int64)
    # (coordinate * p + b) / q is right wherever rest <= b < rest + q, and 0 at the first where 0 <= b < q
    least, most = max(0, int(rest.max())), int(rest.min()) + q
    if least >= most:
        return None
    scaled = ex.call("iadd", ex.call("imul", Coord(axis), Int(p)), Int(least))
    return ex.call("iadd", ex.call("idiv", scaled, Int(q)), Int(first))


def clamped(place: Expr, least: int, most: int, extent: int) -> Expr:
    """`place`, which is known to lie in [least, most], kept within an axis."""
    if least < 0:
        place = ex.call("imax", place, Int(0))
    return ex.call("imin", place, Int(extent - 1)) if most >= extent else place
