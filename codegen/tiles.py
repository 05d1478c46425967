"""How much of an output each thread (or block) of a kernel of our own takes.

More reuse where the tensor is large, more threads where it is small. A lock's measured choice will answer here
first, once there is a lock.
"""

from __future__ import annotations

from dataclasses import dataclass

ENOUGH_THREADS = 16 * 1024  # about 4 warps on each multiprocessor of a large GPU
ENOUGH_BLOCKS = 128


@dataclass(frozen=True)
class Tile:
    """A thread computes `v` channels of `th` x `tw` outputs."""

    v: int
    tw: int
    th: int
    threads: int


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


def ceil_div(a: int, b: int) -> int:
    """A / b, rounded up."""
    return -(-a // b)


def vector_width(channels: int, item_bytes: int) -> int:
    """The widest vector that divides the channels: at most 16 bytes, at least one element."""
    v = 16 // item_bytes
    while channels % v:
        v //= 2
    return v


def window_items(tile: Tile, channels: int, out: tuple[int, int]) -> int:
    """Threads an image takes."""
    return channels // tile.v * ceil_div(out[0], tile.th) * ceil_div(out[1], tile.tw)


def window_tile(
    batch: int, channels: int, kernel: tuple[int, int], out: tuple[int, int], item_bytes: int
) -> Tile:
    """For pools and depthwise convolutions."""
    v = vector_width(channels, item_bytes)
    for tw, th in ((4, 2), (4, 1), (2, 1)):
        # Large windows keep to one output a thread: the unrolled code would not fit the instruction cache.
        small = kernel[1] <= 7 and kernel[0] * kernel[1] * tw * th <= 100
        tile = Tile(v, tw, th, 128)
        if (
            small
            and out[1] >= tw
            and out[0] >= th
            and batch * window_items(tile, channels, out) >= ENOUGH_THREADS
        ):
            return tile
    tile = Tile(v, 1, 1, 128)
    while tile.v * item_bytes > 8 and batch * window_items(tile, channels, out) < ENOUGH_THREADS:
        tile = Tile(tile.v // 2, 1, 1, 128)
    return tile


def grouped_conv_tile(batch: int, filters: int, groups: int, out: tuple[int, int], item_bytes: int) -> Tile:
    """For direct convolutions: one row high, `v` output channels of one group."""
    tile = Tile(vector_width(filters // groups, item_bytes), 4, 1, 128)
    while tile.tw > 1 and (tile.tw > out[1] or batch * window_items(tile, filters, out) < ENOUGH_THREADS):
        tile = Tile(tile.v, tile.tw // 2, 1, 128)
    while tile.v > 2 and batch * window_items(tile, filters, out) < ENOUGH_THREADS:
        tile = Tile(tile.v // 2, tile.tw, 1, 128)
    return tile


def reduce_blocks(tile: ReduceTile, channels: int) -> int:
    """Blocks an image takes."""
    return ceil_div(channels // tile.v, tile.groups)


def reduce_tile(batch: int, channels: int, pixels: int, v: int, item_bytes: int) -> ReduceTile:
    """For reductions of `pixels` values with `channels` neighbours each, `v` of which a thread takes."""
    groups = 1
    while groups < 32 and groups < channels // v and groups * v * item_bytes < 128:
        groups *= 2

    def blocks(count: int) -> int:
        return batch * reduce_blocks(ReduceTile(v, count, 1), channels)

    while groups > 1 and groups * v * item_bytes > 32 and blocks(groups) < ENOUGH_BLOCKS:
        groups //= 2
    if blocks(groups) < ENOUGH_BLOCKS // 8:
        groups = 1
    most = 1024 if blocks(groups) < ENOUGH_BLOCKS else 256
    wanted = ceil_div(pixels, 4)  # four loads in flight a thread; fewer threads would wait, more would idle
    threads = max(32 // groups, v)
    while threads < wanted and 2 * groups * threads <= most:
        threads *= 2
    return ReduceTile(v, groups, threads)


def row_tile(columns: int, item_bytes: int) -> RowTile:
    """For softmax and reductions over the innermost axis: a row to some lanes of a warp, or to a block."""
    v, lanes, threads = vector_width(columns, item_bytes), 1, 128
    while lanes < 32 and lanes * 8 < columns:
        lanes *= 2
    if columns > 32 * 32:
        while threads < 1024 and threads * 16 < columns:
            threads *= 2
        lanes = threads
    return RowTile(v, lanes, threads)
