"""The arithmetic of convolutions on folded pixels: their taps, padding and filters, an axis at a time.

A filter is (K, C, R, S); sizes and padding are in pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnngen.codegen.graph import Array


@dataclass(frozen=True)
class Axis:
    """How one axis of a phase, or of all phases in one, is computed from the small image."""

    taps: int
    before: int  # padding
    after: int
    places: int  # outputs


def phase_axis(
    size: int, outputs: int, kernel: int, factor: int, padding: int, phases: Sequence[int]
) -> Axis:
    """Of an axis of `size` pixels, each repeated `factor` times: the taps of `phases` together.

    Output `factor i + phase` reads the repeated pixels from `factor i + phase - padding` on, which are the small
    image's from `i + first` to `i + last`.
    """
    first = min((phase - padding) // factor for phase in phases)
    last = max((phase - padding + kernel - 1) // factor for phase in phases)
    places = max(-(-(outputs - phase) // factor) for phase in phases)
    after = max(0, places + last - size)
    return Axis(last - first + 1, -first, after, size - first + after - (last - first))


def phase_filters(
    w: Array,
    factors: tuple[int, int],
    padding: tuple[int, int],
    phases: Sequence[tuple[int, int]],
    axes: tuple[Axis, Axis],
) -> Array:
    """The filters of phases, [phase, K] as one axis, from w (K, C, R, S): the taps that fall on one pixel added up."""
    (rows, columns), (k, c, r, s) = axes, w.shape
    falls = np.zeros((r, s, len(phases), rows.taps, columns.taps))
    for i, j, (number, phase) in itertools.product(range(r), range(s), enumerate(phases)):
        row = (phase[0] - padding[0] + i) // factors[0] + rows.before
        column = (phase[1] - padding[1] + j) // factors[1] + columns.before
        falls[i, j, number, row, column] = 1.0
    sums = w.reshape(k * c, r * s).astype(np.float64) @ falls.reshape(r * s, -1)
    parts = sums.astype(np.float32).reshape(k, c, len(phases), rows.taps, columns.taps)
    return np.asarray(parts.transpose(2, 0, 1, 3, 4).reshape(-1, c, rows.taps, columns.taps))


@dataclass(frozen=True)
class PairedAxis:
    """How one axis of a convolution of stride 2 is computed from pairs of pixels, with stride 1."""

    size: int  # of the folded input
    taps: int
    before: int
    after: int


def paired_axis(size: int, outputs: int, kernel: int, padding: int) -> PairedAxis:
    """An axis of stride 2 on pairs of pixels: output i reads the pairs from i + first to i + last."""
    first, last = -padding // 2, (kernel - 1 - padding) // 2
    needed = outputs + last
    folded = min(-(-size // 2), needed)
    return PairedAxis(folded, last - first + 1, -first, needed - folded)


def paired_filter(w: Array, padding: tuple[int, int], axes: tuple[PairedAxis, PairedAxis]) -> Array:
    """The filter (K, 4 C, taps, taps) on pairs of pixels."""
    k, c, r, s = w.shape
    result = np.zeros((k, 2, 2, c, axes[0].taps, axes[1].taps), np.float32)
    for i, j in itertools.product(range(r), range(s)):
        row, column = i - padding[0], j - padding[1]
        result[:, row % 2, column % 2, :, row // 2 + axes[0].before, column // 2 + axes[1].before] = w[
            :, :, i, j
        ]
    return result.reshape(k, 4 * c, axes[0].taps, axes[1].taps)
