"""How `max_pools.cuh` divides a map among blocks and threads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from cnngen.codegen.tiles import MOST_TILES, REGISTERS, SHARED_EVERYWHERE, ceil_div, vector_width

MULTIPROCESSORS = 132  # of a large GPU
SHARED_OF_ALL = 164 << 10  # bytes of all blocks of a multiprocessor, since capability 8.0
BUSY_THREADS = 512  # of a multiprocessor: more do not make it faster
THREAD_REGISTERS = 72
SIDES = (8, 10, 12, 14, 16, 20, 24, 28, 32)
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

    def shared(self, halo: int, item_bytes: int) -> int:
        """Bytes of dynamic shared memory: two times its pixels with those around them, rows of an odd number."""
        rows, columns = self.th + 2 * halo, self.tw + 2 * halo
        return 2 * rows * (columns | 1) * self.groups * self.v * item_bytes

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

    @property
    def halo(self) -> int:
        """How far the last pool sees."""
        return self.count * (self.kernel // 2)


def max_pools_tiles(pools: Pools) -> list[MaxPoolsTile]:
    """None where the pixels around one do not fit a block; else first the one that should take least."""
    v = vector_width(pools.channels, pools.item_bytes)
    while v:
        found = [
            MaxPoolsTile(v, groups, tw, th, _run(tw, th, pools), threads)
            for groups, side in itertools.product((1, 2, 4), SIDES)
            for th, tw in [(min(side, pools.size[0]), min(side, pools.size[1]))]
            for threads in (64, 128, 256)
            if pools.channels // v % groups == 0
        ]
        fitting = [tile for tile in found if tile.shared(pools.halo, pools.item_bytes) <= SHARED_EVERYWHERE]
        if fitting:
            return sorted(dict.fromkeys(fitting), key=lambda tile: _price(tile, pools))[:MOST_TILES]
        v //= 2
    return []


def _run(tw: int, th: int, pools: Pools) -> int:
    """How many neighbours a thread takes, so that all read least."""
    most = max(1, min(8, tw, th, MOST_SEEN - pools.kernel + 1))

    def reads(run: int) -> int:
        return sum(
            ceil_div(outputs, run) * (run + pools.kernel - 1) for _, outputs, _ in _passes(th, tw, pools)
        )

    return min(range(1, most + 1), key=lambda run: (reads(run), -run))


def _passes(th: int, tw: int, pools: Pools) -> Iterator[tuple[int, int, bool]]:
    """Along rows and along columns for each pool: lines, outputs of each, whether these are the pool's."""
    for level in range(1, pools.count + 1):
        here = 2 * level * (pools.kernel // 2)
        rows, columns = th + 2 * pools.halo, tw + 2 * pools.halo
        before = here - 2 * (pools.kernel // 2)
        yield rows - before, columns - here, False
        yield columns - here, rows - here, True


def _price(tile: MaxPoolsTile, pools: Pools) -> float:
    """Accesses of shared memory, one block of a multiprocessor after the other where not all have room."""

    def slots(items: int) -> int:
        return ceil_div(items, tile.threads) * tile.threads

    halo = 2 * pools.halo
    work = BROUGHT * slots((tile.th + halo) * (tile.tw + halo) * tile.groups)
    for lines, outputs, is_pool in _passes(tile.th, tile.tw, pools):
        accesses = 2 * tile.run + pools.kernel - 1 + is_pool * WRITTEN * tile.run
        work += slots(lines * ceil_div(outputs, tile.run) * tile.groups) * accesses
    at_once = min(
        SHARED_OF_ALL // tile.shared(pools.halo, pools.item_bytes),
        REGISTERS // (THREAD_REGISTERS * tile.threads),
        2048 // tile.threads,
    )
    rounds = ceil_div(tile.blocks(pools.batch, pools.channels, pools.size), MULTIPROCESSORS * at_once)
    bytes_a_pixel = tile.groups * tile.v * pools.item_bytes
    short = next((times for most, times in FEW_BYTES.items() if bytes_a_pixel <= most), 1.0)
    return rounds * max(at_once * work / BUSY_THREADS, work / tile.threads) * short
