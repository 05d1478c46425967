"""How `max_pools.cuh` divides a map among blocks and threads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from cnngen.codegen.tiles import (
    MOST_TILES,
    REGISTERS,
    SHARED_EVERYWHERE,
    SHARED_ON_REQUEST,
    ceil_div,
    vector_width,
)

MULTIPROCESSORS = 132  # of a large GPU
SHARED_OF_ALL = 164 << 10  # bytes of all blocks of a multiprocessor, since capability 8.0
BUSY_THREADS = 512  # of a multiprocessor: more do not make it faster
THREAD_REGISTERS = 72
SIDES = (5, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40)
MOST_SEEN = 19  # vectors that a thread holds
# A block that takes few bytes of each pixel takes so many times as long, on an H200: memory gives and takes sectors of
# 32 bytes.
FEW_BYTES = {16: 3.5, 32: 1.4}
# Of a vector, in accesses of shared memory: brought there, and written to the output.
BROUGHT, WRITTEN = 3, 2


@dataclass(frozen=True)
class MaxPoolsTile:
    """A block computes tw x th pixels of `groups` vectors of v channels, a thread `run` of a line at a time."""

    v: int
    groups: int
    tw: int
    th: int
    run: int
    threads: int

    def blocks(self, batch: int, channels: int, size: tuple[int, int]) -> int:
        """The grid for maps of `size`."""
        slices = channels // (self.v * self.groups)
        return batch * slices * ceil_div(size[0], self.th) * ceil_div(size[1], self.tw)


@dataclass(frozen=True)
class Pools:
    """`count` pools of a `kernel` wide window, each of what the one before made of maps of `size`."""

    batch: int
    channels: int
    size: tuple[int, int]
    kernel: int
    count: int
    item_bytes: int

    def outputs(self, th: int, tw: int, later: int) -> tuple[int, int]:
        """Rows and columns that a block of th x tw pixels makes of a pool whose maxima `later` pools see.

        Of an axis that it has whole no more: beyond an image's edge there is nothing for any pool to see.
        """
        around = 2 * (self.kernel // 2) * later
        return th + around * (th < self.size[0]), tw + around * (tw < self.size[1])

    def pixels(self, th: int, tw: int) -> tuple[int, int]:
        """Rows and columns that such a block brings."""
        rows, columns = self.outputs(th, tw, self.count - 1)
        return rows + 2 * (self.kernel // 2), columns + 2 * (self.kernel // 2)

    def shared(self, tile: MaxPoolsTile) -> int:
        """Bytes of dynamic shared memory: two times a block's pixels, rows of an odd number."""
        rows, columns = self.pixels(tile.th, tile.tw)
        return 2 * rows * (columns | 1) * tile.groups * tile.v * self.item_bytes


def max_pools_tiles(pools: Pools) -> list[MaxPoolsTile]:
    """None where the pixels around one do not fit a block; else first the one that should take least.

    That first one needs no more shared memory than every GPU gives.
    """
    v = vector_width(pools.channels, pools.item_bytes)
    while v:
        every = [
            MaxPoolsTile(v, groups, tw, th, run, threads)
            for th, tw in itertools.product(*(_sides(size) for size in pools.size))
            for run in [_run(th, tw, pools)]
            for groups, threads in itertools.product((1, 2, 4), (64, 128, 256, 512))
            if pools.channels // v % groups == 0
        ]
        every = [tile for tile in every if pools.shared(tile) <= SHARED_ON_REQUEST]
        every.sort(key=lambda tile: _price(tile, pools))
        first = next((tile for tile in every if pools.shared(tile) <= SHARED_EVERYWHERE), None)
        if first:
            return [*dict.fromkeys([first, *every])][:MOST_TILES]
        v //= 2
    return []


def _sides(size: int) -> list[int]:
    """Of an axis: the whole, and parts of about SIDES that are as long as each other."""
    return sorted({ceil_div(size, ceil_div(size, side)) for side in (*SIDES, size)})


def _run(th: int, tw: int, pools: Pools) -> int:
    """How many neighbours a thread takes, so that all read least."""
    most = max(1, min(8, tw, th, MOST_SEEN - pools.kernel + 1))
    lengths = [outputs for _, outputs, _ in _passes(th, tw, pools)]

    def reads(run: int) -> int:
        return sum(ceil_div(outputs, run) * (run + pools.kernel - 1) for outputs in lengths)

    return min(range(1, most + 1), key=lambda run: (reads(run), -run))


def _passes(th: int, tw: int, pools: Pools) -> Iterator[tuple[int, int, bool]]:
    """Along rows and along columns for each pool: lines, outputs of each, whether these are the pool's."""
    for later in reversed(range(pools.count)):
        high, wide = pools.outputs(th, tw, later)
        yield high + 2 * (pools.kernel // 2), wide, False
        yield wide, high, True


def _price(tile: MaxPoolsTile, pools: Pools) -> float:
    """Accesses of shared memory, one block of a multiprocessor after the other where not all have room."""

    def slots(items: int) -> int:
        return ceil_div(items, tile.threads) * tile.threads

    rows, columns = pools.pixels(tile.th, tile.tw)
    work = BROUGHT * slots(rows * columns * tile.groups)
    for lines, outputs, is_pool in _passes(tile.th, tile.tw, pools):
        accesses = 2 * tile.run + pools.kernel - 1 + is_pool * WRITTEN * tile.run
        work += slots(lines * ceil_div(outputs, tile.run) * tile.groups) * accesses
    at_once = min(
        SHARED_OF_ALL // pools.shared(tile),
        REGISTERS // (THREAD_REGISTERS * tile.threads),
        2048 // tile.threads,
    )
    rounds = ceil_div(tile.blocks(pools.batch, pools.channels, pools.size), MULTIPROCESSORS * at_once)
    bytes_a_pixel = tile.groups * tile.v * pools.item_bytes
    short = next((times for most, times in FEW_BYTES.items() if bytes_a_pixel <= most), 1.0)
    return rounds * max(at_once * work / BUSY_THREADS, work / tile.threads) * short
