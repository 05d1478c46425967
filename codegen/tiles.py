"""How much of an output each thread (or block) of a kernel of our own takes.

More reuse where the tensor is large, more threads where it is small. Where there are several, the first is the one that
runs without a lock.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

ENOUGH_THREADS = 16 * 1024  # about 4 warps on each multiprocessor of a large GPU
ENOUGH_BLOCKS = 128
MOST_TILES = 16  # of a kernel: each is compiled and timed
MOST_PARTIALS = 3072  # of a block's warps, in shared memory: three floats each


@dataclass(frozen=True)
class Tile:
    """A thread computes `v` channels of `th` x `tw` outputs.

    resident: blocks that a multiprocessor has registers for at least; 0: as the compiler likes. It likes many, each of
    which has few loads under way.
    """

    v: int
    tw: int
    th: int
    threads: int
    resident: int = 0


@dataclass(frozen=True)
class ReduceTile:
    """A block has `pixels` threads for each of its `groups` groups of `v` channels."""

    v: int
    groups: int
    pixels: int

    @property
    def threads(self) -> int:
        return self.groups * self.pixels


@dataclass(frozen=True)
class RowTile:
    """A row is shared by `lanes` threads, `v` elements at a time."""

    v: int
    lanes: int
    threads: int


@dataclass(frozen=True)
class TransposeTile:
    """A thread turns v rows x w columns; `across` threads of a block stand side by side along the columns."""

    v: int
    w: int
    across: int
    threads: int

    def blocks(self, rows: int, columns: int) -> int:
        """Of a matrix."""
        return ceil_div(columns, self.w * self.across) * ceil_div(
            rows, self.v * (self.threads // self.across)
        )


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


@dataclass(frozen=True)
class SqueezeExciteTile:
    """A cluster of blocks shares an image: its channels in `slices`, and the pixels of each; `squeeze_excite.cuh`."""

    v: int
    threads: int
    cluster: int = 1
    slices: int = 1


AnyTile = TypeVar("AnyTile")  # any of these


def tile_text(tile: Any) -> str:  # noqa: ANN401 - any of the tiles
    """`v=8 tw=4 th=2 threads=128`."""
    return " ".join(f"{field.name}={getattr(tile, field.name)}" for field in dataclasses.fields(tile))


def picked(text: str, options: Sequence[AnyTile]) -> AnyTile:
    """The option of that text; the first where there is none."""
    return next((option for option in options if tile_text(option) == text), options[0])


def ceil_div(a: int, b: int) -> int:
    """A / b, rounded up."""
    return -(-a // b)


def vector_width(channels: int, item_bytes: int) -> int:
    """The widest vector that divides the channels: at most 16 bytes, at least one element."""
    v = 16 // item_bytes
    while channels % v:
        v //= 2
    return v


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


def gemm_tiles(pixels: int, filters: int, depth: int, together: int | None = None) -> list[GemmTile]:
    """For convolutions on tensor cores: those that give about enough blocks.

    `together`: how many filters have neighbouring places in the output, where it is not all of them.
    """
    v = vector_width(together or filters, 2)
    found = []
    for m, n, k, warps_m, warps_n, stages in GEMM_TILES:
        for split in (1, 2, 4, 8):
            tile = GemmTile(m, n, k, warps_m, warps_n, stages, split, v)
            idle = m > 2 * max(pixels, 8) or n > 2 * max(filters, 16)
            if idle or (split > 1 and (2 * ceil_div(depth, k) < 3 * split or v < 4)):
                continue
            found.append(tile)
    # Too few blocks leave multiprocessors idle, too many read everything too often.
    return sorted(found, key=lambda tile: _distance(tile, pixels, filters))[:MOST_GEMM_TILES]


def _distance(tile: GemmTile, pixels: int, filters: int) -> float:
    return abs(math.log(tile.blocks(pixels, filters) / ENOUGH_GEMM_BLOCKS)) + 0.1 * math.log2(tile.split)


def max_pools_tiles(channels: int, item_bytes: int) -> list[Tile]:
    """For a chain of max pools: a pixel a thread, which small maps have few of."""
    widest = vector_width(channels, item_bytes)
    return [Tile(v, 1, 1, threads) for v in (widest, widest // 2) if v > 0 for threads in (128, 64)]


# h, w, warps
WINDOW_GEMM_BLOCKS = ((8, 16, 4), (16, 16, 4), (16, 16, 8), (8, 32, 8), (4, 32, 4), (16, 32, 8))
GEMM_SHARED = 96 << 10  # bytes, which every GPU of compute capability 8.0 gives a block that asks
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
    return [tile for tile in every if tile.shared(kernel, dilation) <= GEMM_SHARED]


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
    return [tile for tile in every if tile.shared(filters, kernel, dilation) <= GEMM_SHARED]


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


def reduce_blocks(tile: ReduceTile, channels: int) -> int:
    """Blocks an image takes."""
    return ceil_div(channels // tile.v, tile.groups)


def reduce_tiles(batch: int, channels: int, pixels: int, v: int, item_bytes: int) -> list[ReduceTile]:
    """For reductions of `pixels` values with `channels` neighbours each, `v` of which a thread takes."""
    first = _first_reduce_tile(batch, channels, pixels, v, item_bytes)
    every = [
        ReduceTile(v, groups, threads)
        for groups in (1, 2, 4, 8, 16)
        for threads in (16, 32, 64, 128, 256, 512, 1024)
        if groups <= max(channels // v, 1)
        and 64 <= groups * threads <= 1024
        and v <= threads <= 2 * pixels
        and groups * threads // 32 * groups * v <= MOST_PARTIALS
    ]

    def distance(tile: ReduceTile) -> float:
        return abs(math.log2(tile.threads / first.threads)) + abs(math.log2(tile.groups / first.groups))

    return [first, *sorted((tile for tile in every if tile != first), key=distance)[: MOST_TILES - 1]]


def _first_reduce_tile(batch: int, channels: int, pixels: int, v: int, item_bytes: int) -> ReduceTile:
    groups = 1
    while groups < 32 and groups < channels // v and groups * v * item_bytes < 128:
        groups *= 2

    def blocks(count: int) -> int:
        return batch * reduce_blocks(ReduceTile(v, count, 1), channels)

    while groups > 1 and groups * v * item_bytes > 32 and blocks(groups) < ENOUGH_BLOCKS:
        groups //= 2
    if blocks(groups) < ENOUGH_BLOCKS // 8:
        groups = 1
    # As many threads as keep memory busy, however few the blocks.
    most = next((1024 // few for few in (1, 2) if blocks(groups) < 2 * few * ENOUGH_BLOCKS), 256)
    wanted = ceil_div(pixels, 4)  # four loads in flight a thread; fewer threads would wait, more would idle
    threads = max(32 // groups, v)
    while threads < wanted and 2 * groups * threads <= most:
        threads *= 2
    return ReduceTile(v, groups, threads)


def row_tiles(columns: int, item_bytes: int) -> list[RowTile]:
    """For softmax and reductions over the innermost axis: a row to some lanes of a warp, or to a block."""
    v, lanes, threads = vector_width(columns, item_bytes), 1, 128
    while lanes < 32 and lanes * 8 < columns:
        lanes *= 2
    if columns > 32 * 32:
        while threads < 1024 and threads * 16 < columns:
            threads *= 2
        lanes = threads
    first = RowTile(v, lanes, threads)
    vectors = columns // v
    in_warps = [
        RowTile(v, lanes, threads)
        for threads in (128, 256, 512)
        for lanes in (32, 16, 8, 4, 2, 1)
        if lanes < 2 * vectors and ceil_div(vectors, lanes) * v <= 32  # which a thread keeps in registers
    ]
    in_blocks = [
        RowTile(v, threads, threads) for threads in (64, 128, 256, 512) if threads * v <= 2 * columns
    ]
    return list(dict.fromkeys([first, *in_warps, *in_blocks]))[:MOST_TILES]


def transpose_tiles(rows: int, columns: int, v: int, w: int) -> list[TransposeTile]:
    """For a matrix of `rows` x `columns` of which v elements may be stored, and w loaded, at once.

    The first are the squarest that the matrix fills: then both sides are read and written in long runs. None for one
    that does not fill a warp.
    """

    def shapes(v: int, w: int, threads: int, most: int) -> list[TransposeTile]:
        found = [
            TransposeTile(v, w, across, threads)
            for across in (16, 8, 32, 4, 64, 2, 128, 1, 256)
            if across <= threads
            and across < 2 * ceil_div(columns, w)
            and threads < 2 * across * ceil_div(rows, v)
        ]
        return found[:most]

    every = [*shapes(v, w, 128, 4), *shapes(v, w, 256, 3)] or [*shapes(v, w, 64, 3), *shapes(v, w, 32, 3)]
    smaller = [(a, b) for a, b in ((v // 2, w), (v, w // 2), (v // 2, w // 2)) if a and b]
    return every + [tile for a, b in smaller for tile in shapes(a, b, 128, 3)]


SHARED_EVERYWHERE = 48 << 10  # bytes that every GPU gives a block without being asked


def squeeze_excite_tiles(channels: int, hidden: int, pixels: int, item_bytes: int) -> list[SqueezeExciteTile]:
    """For gates: first a block an image, which every GPU can run, then clusters of all sizes."""
    v = vector_width(channels, item_bytes)

    def work(tile: SqueezeExciteTile) -> int:
        """Bytes that a block reads: of the map, and of the first matrix."""
        slice_bytes = ceil_div(channels // v, tile.slices) * v * item_bytes
        return slice_bytes * (ceil_div(pixels, tile.cluster // tile.slices) + hidden)

    found = [SqueezeExciteTile(v, 512)]
    for cluster in (8, 4, 2, 1):
        # A slice of one vector would read parts of memory's sectors.
        slices = [s for s in (1, 2, 4, 8) if s <= cluster and (s == 1 or 2 * s <= channels // v)]
        best = sorted((SqueezeExciteTile(v, 512, cluster, s) for s in slices), key=work)
        for tile in best[: 2 if cluster > 2 else 1]:
            found += [tile, dataclasses.replace(tile, threads=256)]
    if v * item_bytes == 16:
        found.append(dataclasses.replace(found[1], v=v // 2))
    return list(dict.fromkeys(found))


def squeeze_excite_shared(
    tile: SqueezeExciteTile, channels: int, hidden: int, item_bytes: int, *, scales: bool = False
) -> int:
    """Bytes of dynamic shared memory: sums and units, and a block's part of the matrices where that fits, too.

    scales: the kernel that writes the map times its gates
    """

    def in_fours(count: int) -> int:
        return ceil_div(count, 4) * 4

    part = ceil_div(channels // tile.v, tile.slices)
    gates = part if scales else ceil_div(part, tile.cluster // tile.slices)
    columns = min(part, tile.threads)
    sums = tile.threads // columns * columns * tile.v
    floats = in_fours(sums) + in_fours(part * tile.v) + 2 * in_fours(hidden)
    weights = (part + gates) * tile.v * hidden * item_bytes
    return 4 * floats + (weights if 4 * floats + weights <= SHARED_EVERYWHERE else 0)
