"""How `depthwise_strips.cuh` divides a map among threads: v channels of a strip of tw columns and some rows each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from cnngen.codegen.tiles import REGISTERS, ceil_div, vector_width
from cnngen.codegen.window_tiles import Windows

MULTIPROCESSORS = 132  # of a large GPU
THREADS = 128  # of a block
RESIDENT = 2  # blocks that a multiprocessor has registers for at least
MOST_REGISTERS = REGISTERS // (RESIDENT * THREADS) - 25
LATENCY = 700  # cycles, about, until a row of the input is there
FEW, MORE = 3, 5  # tiles, of small windows and of large ones


@dataclass(frozen=True)
class StripTile:
    """A thread goes down a strip of tw columns and `rows` rows of outputs, of v channels."""

    v: int
    tw: int
    rows: int
    threads: int

    @property
    def th(self) -> int:
        """Rows of outputs, as other tiles say it."""
        return self.rows

    @property
    def resident(self) -> int:
        """Blocks that a multiprocessor has registers for at least. Left to itself the compiler would spill."""
        return RESIDENT


def strip_tiles(batch: int, windows: Windows) -> list[StripTile]:
    """For depthwise convolutions, first the one that should take least; none where nothing fits the registers."""
    widest = vector_width(windows.channels, windows.item_bytes)
    widths = {v for v in (widest // 2, widest // 4) if v * windows.item_bytes >= 4}
    heights = {ceil_div(windows.out[0], parts) for parts in (1, 2, 4, 8)}
    every = [
        StripTile(v, tw, rows, THREADS)
        for v, tw, rows in itertools.product(widths, (2, 4, 8), heights)
        if tw <= windows.out[1] and rows >= windows.kernel[0]
    ]
    fitting = [tile for tile in every if _registers(tile, windows) <= MOST_REGISTERS]
    found: list[StripTile] = []
    for tile in sorted(fitting, key=lambda tile: (_price(tile, batch, windows), tile.rows, tile.tw, tile.v)):
        if sum((tile.v, tile.tw) == (other.v, other.tw) for other in found) < 2:
            found.append(tile)
    return found[: MORE if windows.taps >= 25 else FEW]


def _spans(tile: StripTile, windows: Windows) -> tuple[int, int]:
    """Rows of the input that an output sees; columns that a row of the strip sees."""
    rows = (windows.kernel[0] - 1) * windows.dilation[0] + 1
    columns = (tile.tw - 1) * windows.stride[1] + (windows.kernel[1] - 1) * windows.dilation[1] + 1
    return rows, columns


def _ahead(windows: Windows) -> int:
    return 2 if windows.taps <= 9 else 1


def _registers(tile: StripTile, windows: Windows) -> float:
    """About so many: open sums, filters, a row of the input and those on their way, places."""
    rows, columns = _spans(tile, windows)
    sums = ceil_div(rows, windows.stride[0]) * tile.tw
    row = columns * (1 + _ahead(windows) * windows.item_bytes / 4)
    return tile.v * (sums + windows.taps + row) + 35


def _price(tile: StripTile, batch: int, windows: Windows) -> float:
    """Cycles: blocks that a multiprocessor has room for share its instructions, or wait for memory together."""
    row_span, columns = _spans(tile, windows)
    outputs = tile.tw * tile.v
    row = outputs * (windows.taps / windows.stride[0] + 3) + columns * (tile.v + 2)  # instructions
    steps = (tile.rows - 1) * windows.stride[0] + row_span
    blocks = ceil_div(batch * windows.items(tile), THREADS)
    room = int(REGISTERS // (THREADS * _registers(tile, windows)))
    together = min(room, ceil_div(blocks, MULTIPROCESSORS))
    step = max(together * row, LATENCY / _ahead(windows))
    return ceil_div(blocks, MULTIPROCESSORS * room) * (steps * step + LATENCY)
