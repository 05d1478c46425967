"""grid_sample: an image read at places that another layer computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Float, Int, Load
from cnngen.codegen.graph import Array, Shape
from cnngen.codegen.ops.registry import OpRules
from cnngen.spec.ops.sampling import GridSample

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering

CUBIC = -0.75  # the coefficient a, as ONNX and PyTorch have it


# --- the meaning -----------------------------------------------------------------------------------------------------


def _mirrored(x: Array, least: float, most: float) -> Array:
    """A place folded back into [least, most] at both ends, as often as it takes."""
    if most <= least:
        return np.full_like(x, least)
    folded = np.fmod(np.abs(x - least), 2 * (most - least))
    return np.minimum(folded, 2 * (most - least) - folded) + least


def _padded(layer: GridSample, x: Array, size: int) -> Array:
    """A place, or a tap, under padding border or reflection."""
    if layer.padding == "zeros":
        return x
    if layer.padding == "reflection":
        half = 0.0 if layer.align_corners else 0.5
        x = _mirrored(x, -half, size - 1 + half)
    return np.clip(x, 0, size - 1)


def _cubic(t: Array) -> list[Array]:
    """The weights of the taps -1, 0, 1, 2 of a place t behind tap 0."""
    a = CUBIC

    def near(d: Array) -> Array:
        return np.asarray(((a + 2) * d - (a + 3)) * d * d + 1)

    def far(d: Array) -> Array:
        return np.asarray(((a * d - 5 * a) * d + 8 * a) * d - 4 * a)

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _taps(layer: GridSample, place: Array, size: int) -> list[tuple[Array, Array]]:
    """Where along an axis to read, and the weights."""
    scaled = (place + 1) * (size - 1) if layer.align_corners else (place + 1) * size - 1
    x = scaled / 2
    if layer.mode == "bicubic":
        base = np.floor(x)
        return [(_padded(layer, base + k - 1, size), weight) for k, weight in enumerate(_cubic(x - base))]
    x = _padded(layer, x, size)
    if layer.mode == "nearest":
        return [(np.rint(x), np.ones_like(x))]
    base = np.floor(x)
    return [(base, 1 - (x - base)), (base + 1, x - base)]


def reference_grid_sample(
    layer: GridSample, inputs: Sequence[Array], weights: Mapping[str, Array], shape: Shape
) -> Array:
    x, grid = inputs
    items = np.arange(len(x))[:, None, None]
    y = np.zeros(shape)
    for row, down in _taps(layer, grid[..., 1], x.shape[2]):
        for column, across in _taps(layer, grid[..., 0], x.shape[3]):
            inside = (row >= 0) & (row < x.shape[2]) & (column >= 0) & (column < x.shape[3])
            i, j = (
                np.clip(k, 0, extent - 1).astype(int)
                for k, extent in ((row, x.shape[2]), (column, x.shape[3]))
            )
            read = np.where(inside[..., None], x[items, :, i, j], 0.0)
            y += np.moveaxis(read * (down * across)[..., None], 3, 1)
    return y


# --- the lowering ----------------------------------------------------------------------------------------------------


def _add(a: Expr, b: float) -> Expr:
    return ex.call("sub", a, Float(-b)) if b < 0 else ex.call("add", a, Float(b))


def _scaled(a: Expr, factor: float) -> Expr:
    return ex.call("mul", a, Float(factor))


def _horner(x: Expr, first: float, *others: float) -> Expr:
    """A polynomial of x, the highest power first."""
    total: Expr = Float(first)
    for coefficient in others:
        total = _add(ex.call("mul", total, x), coefficient)
    return total


def _within_image(x: Expr, size: int) -> Expr:
    """A place kept in [0, size - 1]; one that is no number too, since it becomes an index."""
    return ex.call("min", ex.select(ex.call("less", Float(0.0), x), x, Float(0.0)), Float(size - 1))


def _lower_padded(layer: GridSample, x: Expr, size: int) -> Expr:
    if layer.padding == "zeros":
        return x
    if layer.padding == "reflection":
        half = 0.0 if layer.align_corners else 0.5
        span = size - 1 + 2 * half
        folded = ex.call("fmod", ex.call("abs", _add(x, half)), Float(2 * span))
        x = (
            _add(ex.call("min", folded, ex.call("sub", Float(2 * span), folded)), -half)
            if span > 0
            else Float(0.0)
        )
    return _within_image(x, size)


def _lower_cubic(t: Expr) -> list[Expr]:
    a = CUBIC
    near, far = (a + 2, -(a + 3), 0.0, 1.0), (a, -5 * a, 8 * a, -4 * a)
    beyond = ex.call("sub", Float(1.0), t)
    return [
        _horner(_add(t, 1.0), *far),
        _horner(t, *near),
        _horner(beyond, *near),
        _horner(_add(beyond, 1.0), *far),
    ]


def _lower_taps(layer: GridSample, place: Expr, size: int) -> list[tuple[Expr, Expr]]:
    """Where along an axis to read (whole numbers, as data), and the weights."""
    if layer.align_corners:
        x = _scaled(_add(place, 1.0), (size - 1) / 2)
    else:
        x = _add(_scaled(_add(place, 1.0), size / 2), -0.5)
    if layer.mode == "bicubic":
        base = ex.call("floor", x)
        weights = _lower_cubic(ex.call("sub", x, base))
        return [(_lower_padded(layer, _add(base, k - 1.0), size), weight) for k, weight in enumerate(weights)]
    x = _lower_padded(layer, x, size)
    if layer.mode == "nearest":
        return [(ex.call("round", x), Float(1.0))]
    base = ex.call("floor", x)
    weight = ex.call("sub", x, base)
    return [(base, ex.call("sub", Float(1.0), weight)), (_add(base, 1.0), weight)]


def _index(layer: GridSample, x: Expr, size: int) -> tuple[Expr, Expr]:
    """A tap as an index, and whether it lies in the image."""
    if layer.padding == "zeros":
        inside = ex.call(
            "and", ex.call("less_equal", Float(0.0), x), ex.call("less_equal", x, Float(size - 1))
        )
        return ex.call("to_int", x), inside
    # only the second tap of a place at the very edge lies behind it, with weight 0
    return ex.call("imin", ex.call("to_int", x), Int(size - 1)), ex.TRUE


def lower_grid_sample(low: Lowering, layer: GridSample, inputs: list[str], shape: Shape) -> str:
    height, width = low.shape(inputs[0])[2:]
    place = [Load(1, (Coord(0), Coord(2), Coord(3), Int(k))) for k in (0, 1)]
    rows, columns = _lower_taps(layer, place[1], height), _lower_taps(layer, place[0], width)
    parts: list[Expr] = []
    for row, down in rows:
        i, inside_rows = _index(layer, row, height)
        for column, across in columns:
            j, inside_columns = _index(layer, column, width)
            inside = ex.call("and", inside_rows, inside_columns)
            read = ex.select(inside, Load(0, (Coord(0), Coord(1), i, j)), Float(0.0))
            parts.append(ex.call("mul", read, ex.call("mul", down, across)))
    return low.map(inputs, shape, reduce(lambda a, b: ex.call("add", a, b), parts))


RULES = {"grid_sample": OpRules(reference_grid_sample, lower_grid_sample)}
