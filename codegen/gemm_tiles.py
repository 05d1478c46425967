"""How convolutions and products on tensor cores are divided among blocks and warps.

Which is best is measured; here are those worth it, the first of them what runs without a lock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnngen.codegen.tiles import REGISTERS, SHARED_ON_REQUEST, ceil_div, vector_width

SHARED_OF_MULTIPROCESSOR = 227 << 10  # bytes: an H100's


@dataclass(frozen=True)
class GemmTile:
    """A block computes m pixels x n filters in steps of depth k; see `implicit_gemm.cuh`."""

    m: int
    n: int
    k: int
    warps_m: int
    warps_n: int
    stages: int
    split: int = 1
    v: int = 8

    @property
    def threads(self) -> int:
        return 32 * self.warps_m * self.warps_n

    @property
    def shared(self) -> int:
        """Bytes of dynamic shared memory."""
        return max(self.stages * (self.m + self.n) * self.k * 2, self.m * (self.n + 8) * 4)

    def blocks(self, pixels: int, filters: int) -> int:
        """The grid."""
        return ceil_div(pixels, self.m) * ceil_div(filters, self.n) * self.split


@dataclass(frozen=True)
class WindowGemmTile:
    """A block computes h x w pixels x n filters, k channels of all windows at once; see `window_gemm.cuh`."""

    h: int
    w: int
    n: int
    k: int
    warps: int
    stages: int = 1
    v: int = 8

    @property
    def threads(self) -> int:
        return 32 * self.warps

    def shared(self, kernel: tuple[int, int], dilation: tuple[int, int]) -> int:
        """Bytes of dynamic shared memory."""
        rows = self.h + (kernel[0] - 1) * dilation[0]
        columns = self.w + (kernel[1] - 1) * dilation[1]
        copies = self.stages * (rows * columns + kernel[0] * kernel[1] * self.n) * self.k * 2
        return max(copies, self.h * self.w * (self.n + 8) * 4)

    def blocks(self, images: int, out: tuple[int, int], filters: int) -> int:
        """The grid."""
        pixels = ceil_div(out[0], self.h) * ceil_div(out[1], self.w)
        return images * pixels * ceil_div(filters, self.n)


@dataclass(frozen=True)
class TapGemmTile:
    """A block computes h x w pixels of all filters, whose taps are n columns; see `tap_gemm.cuh`."""

    h: int
    w: int
    n: int
    warps: int
    v: int = 1

    @property
    def threads(self) -> int:
        return 32 * self.warps

    def shared(self, filters: int, kernel: tuple[int, int], dilation: tuple[int, int]) -> int:
        """Bytes of dynamic shared memory."""
        rows = self.h + (kernel[0] - 1) * dilation[0]
        columns = self.w + (kernel[1] - 1) * dilation[1]
        return filters * kernel[0] * kernel[1] * (ceil_div(rows * columns, 16) * 16 + 4) * 4

    def blocks(self, images: int, out: tuple[int, int]) -> int:
        """The grid."""
        return images * ceil_div(out[0], self.h) * ceil_div(out[1], self.w)


@dataclass(frozen=True)
class DirectGemmTile:
    """A warp computes m pixels x n filters, without shared memory; see `direct_gemm.cuh`."""

    m: int
    n: int
    warps: int
    v: int = 8

    @property
    def threads(self) -> int:
        return 32 * self.warps

    def blocks(self, pixels: int, filters: int) -> int:
        """The grid."""
        return ceil_div(pixels, self.m * self.warps) * ceil_div(filters, self.n)


AnyGemmTile = GemmTile | DirectGemmTile | WindowGemmTile | TapGemmTile


def resident_blocks(threads: int, shared: int, sums: int) -> int:
    """Blocks that a large GPU's multiprocessor has shared memory for, and registers so that nothing spills.

    Left to itself the compiler makes room for more, which cannot be, and spills for it. `shared`: bytes of a block;
    `sums`: that it keeps in registers.
    """
    registers = REGISTERS // (threads * (96 + sums // threads))
    return max(1, min(SHARED_OF_MULTIPROCESSOR // shared, registers))


# m, n, k, warps, stages
GEMM_TILES = (
    (64, 64, 64, 2, 2, 4),
    (32, 32, 64, 2, 1, 4),
    (16, 32, 64, 1, 2, 4),
    (16, 64, 64, 1, 4, 4),
    (64, 32, 64, 2, 2, 4),
    (32, 64, 64, 2, 2, 4),
    (64, 128, 64, 2, 4, 3),
    (128, 64, 64, 4, 2, 3),
    (128, 128, 64, 4, 2, 3),
)
ENOUGH_GEMM_BLOCKS = 400  # about three on each multiprocessor of a large GPU, to hide each other's latencies
MOST_GEMM_TILES = 8


def gemm_tiles(
    pixels: int,
    filters: int,
    depth: int,
    together: int | None = None,
    *,
    among: Sequence[tuple[int, int, int, int, int, int]] = GEMM_TILES,
    most: int | None = MOST_GEMM_TILES,
) -> list[GemmTile]:
    """For convolutions on tensor cores: those that give about enough blocks, `most` of them.

    `together`: how many filters have neighbouring places in the output, where it is not all of them.
    """
    v = vector_width(together or filters, 2)
    found = []
    for m, n, k, warps_m, warps_n, stages in among:
        for split in (1, 2, 4, 8):
            tile = GemmTile(m, n, k, warps_m, warps_n, stages, split, v)
            idle = m > 2 * max(pixels, 8) or n > 2 * max(filters, 16)
            if idle or (split > 1 and (2 * ceil_div(depth, k) < 3 * split or v < 4)):
                continue
            found.append(tile)
    # Too few blocks leave multiprocessors idle, too many read everything too often.
    return sorted(found, key=lambda tile: _distance(tile, pixels, filters))[:most]


def _distance(tile: GemmTile, pixels: int, filters: int) -> float:
    return abs(math.log(tile.blocks(pixels, filters) / ENOUGH_GEMM_BLOCKS)) + 0.1 * math.log2(tile.split)


# As GEMM_TILES, with room for all filters of a pixel.
ROW_GEMM_TILES = (
    *GEMM_TILES,
    (16, 128, 64, 1, 4, 4),
    (32, 128, 64, 2, 4, 3),
    (16, 256, 64, 1, 4, 3),
    (32, 256, 64, 2, 4, 3),
)
MOST_ROW_FILTERS = max(n for _, n, *_ in ROW_GEMM_TILES)


def row_gemm_tiles(pixels: int, filters: int, depth: int) -> list[GemmTile]:
    """For convolutions on tensor cores whose blocks know all filters of a pixel; none where those are too many."""
    every = gemm_tiles(pixels, filters, depth, among=ROW_GEMM_TILES, most=None)
    enough = [tile for tile in every if tile.n >= filters]
    return [tile for tile in enough if tile.n == min(other.n for other in enough)][:MOST_GEMM_TILES]


# h, w, warps
WINDOW_GEMM_BLOCKS = ((8, 16, 4), (16, 16, 4), (16, 16, 8), (8, 32, 8), (4, 32, 4), (16, 32, 8))
MOST_WINDOW_FILTERS = 32


def window_gemm_tiles(
    filters: int,
    channels: int,
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    together: int | None = None,
) -> list[WindowGemmTile]:
    """For convolutions of few filters on tensor cores; none where there are many, or windows are too large.

    `together`: as for `gemm_tiles`.
    """
    if filters > MOST_WINDOW_FILTERS:
        return []
    n = next(n for n in (8, 16, MOST_WINDOW_FILTERS) if filters <= n)
    k = 64 if channels > 32 else 32
    v = vector_width(together or filters, 2)
    stages = (1, 2) if channels > k else (1,)
    every = [WindowGemmTile(h, w, n, k, warps, s, v) for h, w, warps in WINDOW_GEMM_BLOCKS for s in stages]
    return [tile for tile in every if tile.shared(kernel, dilation) <= SHARED_ON_REQUEST]


# h, w, warps
TAP_GEMM_BLOCKS = ((8, 32, 4), (8, 16, 4), (16, 16, 4), (8, 32, 8), (16, 32, 8), (4, 32, 4))
MOST_TAP_COLUMNS = 64


def tap_gemm_tiles(
    filters: int, kernel: tuple[int, int], dilation: tuple[int, int], together: int | None = None
) -> list[TapGemmTile]:
    """For convolutions of so few filters that all their taps are columns of one product; none where there are more.

    `together`: as for `gemm_tiles`.
    """
    columns = filters * kernel[0] * kernel[1]
    if columns > MOST_TAP_COLUMNS:
        return []
    n = ceil_div(columns, 8) * 8
    v = vector_width(together or filters, 2)
    every = [TapGemmTile(h, w, n, warps, v) for h, w, warps in TAP_GEMM_BLOCKS]
    return [tile for tile in every if tile.shared(filters, kernel, dilation) <= SHARED_ON_REQUEST]


MOST_DIRECT_DEPTH = 192  # of deeper products the inputs would come from memory several times
ENOUGH_DIRECT_BLOCKS = 528  # four on each multiprocessor of a large GPU
MOST_DIRECT_TILES = 6


def direct_gemm_tiles(
    pixels: int, filters: int, depth: int, together: int | None = None
) -> list[DirectGemmTile]:
    """For products of little depth; none where it is more.

    `together`: as for `gemm_tiles`.
    """
    if depth > MOST_DIRECT_DEPTH:
        return []
    v = vector_width(together or filters, 2)
    every = [
        DirectGemmTile(m, n, warps, v)
        for n in (256, 128, 64, 32)
        for m in (32, 16)
        for warps in (4, 8)
        if n < 2 * max(filters, 32)
    ]

    def idle(tile: DirectGemmTile) -> float:
        return max(1.0, ENOUGH_DIRECT_BLOCKS / tile.blocks(pixels, filters))

    return sorted(every, key=lambda tile: (idle(tile), ceil_div(filters, tile.n)))[:MOST_DIRECT_TILES]
