"""Tiles of what slides over an image: pools, depthwise and grouped convolutions.

A thread that computes more neighbouring outputs reads less for each, and has fewer others beside it. Which is best is
measured; here are those worth it, the first of them by the instructions and registers that each would take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnngen.codegen.tiles import (
    ENOUGH_THREADS,
    FULL_GPU,
    MOST_TILES,
    REGISTERS,
    SHARED_EVERYWHERE,
    DiagonalTile,
    Tile,
    ceil_div,
    vector_width,
)

SHAPES = ((4, 2), (4, 1), (2, 1), (2, 2), (8, 1), (4, 4), (8, 2), (8, 4), (2, 4))  # columns, rows of outputs
USUAL = SHAPES[:3]  # where instructions are not what it waits for
MOST_REGISTERS = 190  # for threads enough to keep memory busy
FEW_REGISTERS = 120  # that may be half as many again
LEAST_THREADS = 1024  # of a multiprocessor
MOST_DIAGONAL = 9  # rows and columns of a window: its products are written out
MOST_DIAGONAL_TILES = 8
FEWEST_DIAGONAL = 25  # taps: below, multiplications are not what a depthwise convolution waits for
MOST_CODE = 3200  # multiplications, written out: the instruction cache
# An H100 issues so many instructions of a thread in the time that it takes to move a byte.
INSTRUCTIONS_A_BYTE = 11
LEISURE = 0.6  # how much of that time they may take without being noticed


@dataclass(frozen=True)
class Windows:
    """The geometry. `filters`: whether each tap has a weight of its own, in float32 in a register."""

    channels: int
    out: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    item_bytes: int
    filters: bool

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def items(self, tile: Tile) -> int:
        """Threads an image takes."""
        return window_items(tile, self.channels, self.out)

    def span(self, tile: Tile) -> tuple[int, int]:
        """Rows and columns of the input that a thread reads."""
        counts = (tile.th, tile.tw)
        found = []
        for axis in range(2):
            reach = (counts[axis] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1
            found.append(ceil_div(reach, self.dilation[axis]) if counts[axis] == 1 else reach)
        return found[0], found[1]

    def registers(self, tile: Tile) -> int:
        """About so many: sums, the filters' rows that a row of the input meets, such a row, places."""
        weights = self.kernel[1] * min(tile.th, self.kernel[0]) if self.filters else 0
        row = self.span(tile)[1] * self.item_bytes / 4
        return int(tile.v * (tile.tw * tile.th + weights + row)) + 30

    def resident(self, tile: Tile) -> int:
        """Blocks on a multiprocessor where each thread has half as many registers again, for loads ahead."""
        wanted = tile.threads * self.registers(tile) * 3 // 2
        return max(1, min(REGISTERS // wanted, LEAST_THREADS // tile.threads))

    def instructions(self, tile: Tile) -> float:
        """For each output: its taps, and its share of all loads with what goes with them."""
        rows, columns = self.span(tile)
        outputs = tile.tw * tile.th
        weights = self.taps * ceil_div(tile.v, 4) / tile.v if self.filters else 0.0
        return self.taps + rows * columns / outputs * (1 + 4 / tile.v) + weights / outputs

    def fits(self, tile: Tile) -> bool:
        """Whether such a kernel is worth compiling."""
        written = self.taps * tile.tw * tile.th
        if tile.th == 1 and self.taps * tile.tw > 100:  # a loop over the rows
            written = self.kernel[1] * tile.tw
        return (
            self.kernel[1] <= 7
            and tile.tw <= self.out[1]
            and tile.th <= self.out[0]
            and (self.taps >= 25 or tile.tw * tile.th <= 16)  # of small windows more would gain nothing
            and written * tile.v <= MOST_CODE
            and self.registers(tile) <= MOST_REGISTERS - self.taps * (self.stride[1] - 1)
        )


def diagonal_tiles(batch: int, windows: Windows) -> list[DiagonalTile]:
    """For depthwise convolutions of 16-bit tensors by large windows, on tensor cores."""
    if (
        windows.item_bytes != 2
        or windows.channels % 8
        or windows.stride != (1, 1)
        or windows.taps < FEWEST_DIAGONAL
        or max(windows.kernel) > MOST_DIAGONAL
    ):
        return []

    def slots(tile: DiagonalTile) -> int:
        """Rows and columns that are computed, of which some may lie beyond the map."""
        rows, columns = tile.outputs
        return ceil_div(windows.out[0], rows) * rows * ceil_div(windows.out[1], columns) * columns

    def share(tile: DiagonalTile) -> float:
        """Of a GPU, which a quarter of its threads keep busy with products."""
        return min(1.0, diagonal_blocks(tile, windows, batch) * tile.threads / (FULL_GPU / 4))

    def price(tile: DiagonalTile) -> float:
        """Rows that a warp reads for each that it computes, of all that are."""
        return slots(tile) * (1 + (windows.kernel[0] - 1) * windows.dilation[0] / tile.th) / share(tile)

    shapes = [min(DiagonalTile(th, 1), DiagonalTile(th, 0), key=slots) for th in (8, 7, 4, 2)]
    every = [
        replace(shape, steps=steps)
        for shape in shapes
        for all_steps in [ceil_div(windows.out[0], shape.outputs[0])]
        for steps in dict.fromkeys((min(all_steps, 4), all_steps, 1))
    ]
    fitting = [tile for tile in every if diagonal_shared(tile, windows) <= SHARED_EVERYWHERE]
    return sorted(fitting, key=price)[:MOST_DIAGONAL_TILES]


def diagonal_shared(tile: DiagonalTile, windows: Windows) -> int:
    """Bytes of a block's shared memory: rows of a pitch two more than a multiple of 4, filters in fours."""
    rows, columns = [
        count + (size - 1) * dilation
        for count, size, dilation in zip(tile.outputs, windows.kernel, windows.dilation, strict=True)
    ]
    if tile.steps > 1:
        rows += tile.outputs[0]
    pitch = columns + (6 - columns % 4) % 4
    return 64 * (rows * pitch + windows.kernel[1] * ceil_div(windows.kernel[0], 4) * 4)


def diagonal_blocks(tile: DiagonalTile, windows: Windows, batch: int) -> int:
    """The grid."""
    rows, columns = tile.outputs
    places = ceil_div(windows.out[0], rows * tile.steps) * ceil_div(windows.out[1], columns)
    return batch * places * ceil_div(windows.channels, 32)


def window_items(tile: Tile, channels: int, out: tuple[int, int]) -> int:
    """Threads an image takes."""
    return channels // tile.v * ceil_div(out[0], tile.th) * ceil_div(out[1], tile.tw)


def window_tiles(batch: int, windows: Windows) -> list[Tile]:
    """For pools and depthwise convolutions."""
    widest = vector_width(windows.channels, windows.item_bytes)
    widths = [v for v in (widest, widest // 2, widest // 4) if v > 0 and v * windows.item_bytes >= 4] or [
        widest
    ]
    every = [Tile(v, tw, th, 128) for v in widths for tw, th in SHAPES]
    # Those that leave a part of the GPU idle come last.
    by_use = sorted(
        filter(windows.fits, every),
        key=lambda tile: (
            max(1.0, ENOUGH_THREADS / (batch * windows.items(tile))) * windows.instructions(tile)
        ),
    )
    single = [Tile(v, 1, 1, 128) for v in widths]
    first = _first(batch, windows, by_use, single)
    few = [
        tile for tile in (first, *by_use) if windows.registers(tile) <= FEW_REGISTERS and windows.taps <= 9
    ]
    ample = [replace(tile, resident=windows.resident(tile)) for tile in dict.fromkeys([*few[:3], single[0]])]
    most = MOST_TILES - 1 - len(single) - len(ample)
    return list(dict.fromkeys([first, *by_use[:most], *single, *ample]))


def _first(batch: int, windows: Windows, fitting: Sequence[Tile], single: Sequence[Tile]) -> Tile:
    enough = [tile for tile in fitting if batch * windows.items(tile) >= ENOUGH_THREADS]
    usual = [tile for tw, th in USUAL if (tile := Tile(single[0].v, tw, th, 128)) in enough]
    bytes_each = windows.item_bytes * (1 + windows.stride[0] * windows.stride[1])
    for tile in usual:
        if windows.instructions(tile) <= LEISURE * INSTRUCTIONS_A_BYTE * bytes_each:
            return tile
    if usual:
        most = 1.1 * windows.instructions(enough[0])
        return min((tile for tile in enough if windows.instructions(tile) <= most), key=windows.registers)
    # Of a small map as many threads as there may be, down to loads of 8 bytes.
    for tile in single:
        if tile.v * windows.item_bytes <= 8 or batch * windows.items(tile) >= ENOUGH_THREADS:
            return tile
    return single[-1]


def grouped_conv_tiles(
    batch: int, filters: int, groups: int, out: tuple[int, int], item_bytes: int
) -> list[Tile]:
    """For direct convolutions: one row high, `v` output channels of one group."""
    tile = Tile(vector_width(filters // groups, item_bytes), 8, 1, 128)
    every = [
        Tile(v, tw, 1, 128) for v in (tile.v, tile.v // 2) if v > 0 for tw in (8, 4, 2, 1) if tw <= out[1]
    ]
    every += [replace(tile, tw=16)] if out[1] >= 16 and tile.v <= 4 else []
    while tile.tw > 1 and (tile.tw > out[1] or batch * window_items(tile, filters, out) < ENOUGH_THREADS):
        tile = replace(tile, tw=tile.tw // 2)
    while tile.v > 2 and batch * window_items(tile, filters, out) < ENOUGH_THREADS:
        tile = replace(tile, v=tile.v // 2)
    return [tile, *(other for other in every if other != tile)]
