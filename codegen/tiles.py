"""How much of an output each thread (or block) of a kernel of our own takes.

More reuse where the tensor is large, more threads where it is small. Where there are several, the first is the one that
runs without a lock.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

ENOUGH_THREADS = 16 * 1024  # about 4 warps on each multiprocessor of a large GPU
ENOUGH_BLOCKS = 128
FULL_GPU = 132 * 2048  # threads, of a large GPU
REGISTERS = 64 * 1024  # of a multiprocessor, whichever it is
MOST_TILES = 16  # of a kernel: each is compiled and timed
SHARED_EVERYWHERE = 48 << 10  # bytes that every GPU gives a block without being asked
SHARED_ON_REQUEST = 96 << 10  # that a block may ask for, since capability 8.0
SHARED_AT_MOST = 227 << 10  # that a block may ask for, since capability 9.0
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
class DiagonalTile:
    """`diagonal_depthwise.cuh`: a block, of a warp for each half of 32 channels, goes down the map in steps.

    In each a warp computes th rows of two times 8 pixels: side by side where it is wide, else one above the other.
    """

    th: int
    wide: int = 1
    steps: int = 1
    threads: ClassVar[int] = 64

    @property
    def outputs(self) -> tuple[int, int]:
        """Rows and columns of a step."""
        return (1 if self.wide else 2) * self.th, 16 if self.wide else 8


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
class StagedRowTile(RowTile):
    """A softmax's block of rows that pass through shared memory, for accesses of 16 bytes though `v` is few."""

    staged: int = 1


@dataclass(frozen=True)
class PointwiseTile:
    """A thread computes `items` vectors of an image, a block's threads apart."""

    items: int


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
class SqueezeExciteTile:
    """A cluster of blocks shares an image: its channels in `slices`, and the pixels of each; `squeeze_excite.cuh`.

    keeps: 1 where a block that scales its part of the map keeps that in shared memory until the gates are known
    """

    v: int
    threads: int
    cluster: int = 1
    slices: int = 1
    keeps: int = 0


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


def pointwise_tiles(batch: int, items: int, threads: int) -> list[PointwiseTile]:
    """For images of `items` vectors in blocks of `threads`: several a thread where all multiprocessors stay busy."""
    some = [
        PointwiseTile(n) for n in (1, 2, 4) if items % (threads * n) == 0 and batch * items >= n * FULL_GPU
    ]
    return some if len(some) > 1 else []


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


def softmax_tiles(columns: int, item_bytes: int) -> list[RowTile]:
    """For softmax over the innermost axis. Rows that vectors of 8 bytes do not divide also many at a time, staged."""
    first, *others = row_tiles(columns, item_bytes)
    if first.v * item_bytes >= 8:
        return [first, *others]
    staged = [
        StagedRowTile(first.v, lanes, threads)
        for lanes in (1, 2, 4, 8)
        for threads in (128, 256)
        if threads // lanes % 16 == 0  # blocks begin aligned
        and ceil_div(columns // first.v, lanes) * first.v <= 32
        and threads // lanes * columns * 4 <= SHARED_EVERYWHERE
    ]
    return [first, *staged[:4], *others][:MOST_TILES]


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


def squeeze_excite_tiles(
    channels: int, hidden: int, pixels: int, item_bytes: int, *, scales: bool = False
) -> list[SqueezeExciteTile]:
    """For gates: first a block an image, which every GPU can run, then clusters of all sizes.

    scales: the kernel that writes the map times its gates; with clusters that keep it, too
    """
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
    if scales:
        keeping = [dataclasses.replace(tile, keeps=1) for tile in found if tile.cluster > 1 and tile.v == v]
        sizes = {
            t: squeeze_excite_shared(t, channels, hidden, pixels, item_bytes, scales=True) for t in keeping
        }
        found += sorted((t for t in keeping if sizes[t] <= SHARED_AT_MOST), key=lambda t: sizes[t])[:4]
    return list(dict.fromkeys(found))


def squeeze_excite_shared(
    tile: SqueezeExciteTile, channels: int, hidden: int, pixels: int, item_bytes: int, *, scales: bool = False
) -> int:
    """Bytes of dynamic shared memory: sums and units, and a block's part of the matrices where that fits, too.

    scales: the kernel that writes the map times its gates; where the tile keeps it, its part of that, too
    """

    def in_fours(count: int) -> int:
        return ceil_div(count, 4) * 4

    part = ceil_div(channels // tile.v, tile.slices)
    gates = part if scales else ceil_div(part, tile.cluster // tile.slices)
    columns = min(part, tile.threads)
    sums = tile.threads // columns * columns * tile.v
    floats = in_fours(sums) + in_fours(part * tile.v) + 2 * in_fours(hidden)
    weights = (part + gates) * tile.v * hidden * item_bytes
    bytes_of_all = 4 * floats + (weights if 4 * floats + weights <= SHARED_EVERYWHERE else 0)
    if not (scales and tile.keeps):
        return bytes_of_all
    steps = ceil_div(ceil_div(pixels, tile.cluster // tile.slices), tile.threads // columns)
    at_once = ceil_div(steps, ceil_div(steps, 8))
    kept = ceil_div(part, columns) * ceil_div(steps, at_once) * at_once
    return ceil_div(bytes_of_all, 16) * 16 + kept * tile.threads * tile.v * item_bytes
