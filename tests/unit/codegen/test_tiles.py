"""Tiles that kernels are offered: what each has to fulfil, whatever the geometry; and which loads are matrices."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from cnngen.codegen import expr as ex
from cnngen.codegen import tiles
from cnngen.codegen.emit.permutation import Digit, permutation_of
from cnngen.codegen.expr import Coord, Expr, Int, Load
from cnngen.codegen.graph import Value
from cnngen.codegen.max_pools_tiles import Pools, max_pools_tiles
from cnngen.codegen.tiles import REGISTERS
from cnngen.codegen.window_tiles import (
    Windows,
    diagonal_blocks,
    diagonal_shared,
    diagonal_tiles,
    grouped_conv_tiles,
    window_items,
    window_tiles,
)

WINDOWS = [
    Windows(channels, (size, size), (kernel, kernel), (stride, stride), (dilation, dilation), item, filters)
    for channels in (3, 8, 20, 144, 1152)
    for size in (1, 7, 28, 112)
    for kernel in (1, 3, 5, 7, 9)
    for stride, dilation in ((1, 1), (2, 1), (1, 2))
    for item, filters in ((2, True), (4, True), (2, False))
]


@pytest.mark.parametrize("batch", [1, 64])
def test_tiles_of_windows(batch: int) -> None:
    for windows in WINDOWS:
        found = window_tiles(batch, windows)
        assert len(set(found)) == len(found) <= tiles.MOST_TILES
        for tile in found:
            assert windows.channels % tile.v == 0
            assert tile.v * windows.item_bytes <= 16
            assert tile.tw <= windows.out[1]
            assert tile.th <= windows.out[0]
            # Registers of as many threads as are asked for; 255 is what a thread can have.
            assert tile.resident * tile.threads * 32 <= REGISTERS
        # One output a thread is always among them, and all that is offered for windows that are large.
        singles = [tile for tile in found if (tile.tw, tile.th) == (1, 1)]
        assert singles
        if windows.kernel[1] > 7:
            assert singles == found


@pytest.mark.parametrize("batch", [1, 64])
def test_tiles_of_depthwise_convolutions_on_tensor_cores(batch: int) -> None:
    """Of 16-bit tensors, stride 1, and windows large enough."""
    offered = []
    for windows in filter(lambda windows: windows.filters, WINDOWS):
        found = diagonal_tiles(batch, windows)
        assert len(set(found)) == len(found)
        takes = windows.item_bytes == 2 and windows.channels % 8 == 0 and windows.stride == (1, 1)
        assert bool(found) == (takes and 25 <= windows.taps <= 81)
        for tile in found:
            rows, columns = tile.outputs
            assert diagonal_shared(tile, windows) <= tiles.SHARED_EVERYWHERE
            assert (tile.steps - 1) * rows < windows.out[0]
            covered = diagonal_blocks(tile, windows, batch) * tile.steps * rows * columns * 32
            assert covered >= batch * windows.out[0] * windows.out[1] * windows.channels
        offered += found
    # A map of 7x7 has its pixels one above the other.
    assert {tile.wide for tile in offered} == {0, 1}


def test_a_small_map_has_as_many_threads_as_there_may_be() -> None:
    windows = Windows(144, (7, 7), (3, 3), (1, 1), (1, 1), 2, filters=True)
    assert window_tiles(1, windows)[0] == tiles.Tile(4, 1, 1, 128)
    first = window_tiles(64, replace(windows, out=(112, 112)))[0]
    assert (first.v, first.tw * first.th > 1) == (8, True)
    assert 64 * window_items(first, 144, (112, 112)) >= tiles.ENOUGH_THREADS


@pytest.mark.parametrize("kernel", [3, 5, 13, 31])
@pytest.mark.parametrize("count", [1, 3])
def test_tiles_of_pools_in_shared_memory(kernel: int, count: int) -> None:
    for batch, channels, size, item in itertools.product(
        (1, 64), (3, 8, 256), ((1, 1), (7, 20), (112, 112)), (2, 4)
    ):
        pools = Pools(batch, channels, size, kernel, count, item)
        found = max_pools_tiles(pools)
        assert len(set(found)) == len(found) <= tiles.MOST_TILES
        for tile in found:
            assert channels % (tile.v * tile.groups) == 0
            assert 1 <= tile.run <= min(tile.tw, tile.th)
            assert tile.th <= size[0]
            assert tile.tw <= size[1]
            assert pools.shared(tile) <= tiles.SHARED_ON_REQUEST
        assert not found or pools.shared(found[0]) <= tiles.SHARED_EVERYWHERE
        assert found or count * kernel >= 39  # what a pixel sees must fit


def test_a_block_of_pools_takes_whole_sectors_of_memory() -> None:
    """32 bytes of a pixel at least, where it has as many channels and neighbours leave room for them."""
    for size, kernel, count in (((40, 40), 5, 3), ((56, 56), 5, 1), ((20, 20), 5, 3)):
        first = max_pools_tiles(Pools(64, 256, size, kernel, count, 2))[0]
        assert first.groups * first.v * 2 >= 32


def test_tiles_of_grouped_convolutions() -> None:
    for filters, groups in ((24, 8), (128, 32), (30, 15), (64, 2)):
        for size in (1, 5, 40):
            found = grouped_conv_tiles(2, filters, groups, (size, size), 2)
            assert len(set(found)) == len(found)
            assert all(filters // groups % tile.v == 0 and tile.tw <= size for tile in found)


def test_tiles_of_matrices() -> None:
    for rows in (4, 24, 96, 1000):
        for columns in (8, 49, 3000):
            v, w = tiles.vector_width(rows, 2), tiles.vector_width(columns, 4)
            found = tiles.transpose_tiles(rows, columns, v, w)
            assert len(set(found)) == len(found) <= tiles.MOST_TILES
            for tile in found:
                assert rows % tile.v == columns % tile.w == tile.threads % tile.across == 0
                inside = tile.v * tile.w * tile.threads * tile.blocks(rows, columns)
                assert rows * columns <= inside


def test_tiles_of_rows_and_reductions() -> None:
    for columns in (1, 21, 1000, 5000):
        found = tiles.row_tiles(columns, 2)
        assert len(set(found)) == len(found) <= tiles.MOST_TILES
        assert all(columns % tile.v == 0 and tile.threads % tile.lanes == 0 for tile in found)
    for columns, item_bytes in ((21, 2), (150, 2), (183, 2), (21, 4), (1000, 2), (5001, 2)):
        softmax = tiles.softmax_tiles(columns, item_bytes)
        assert len(set(softmax)) == len(softmax) <= tiles.MOST_TILES
        staged = [tile for tile in softmax if isinstance(tile, tiles.StagedRowTile)]
        assert bool(staged) == (columns not in (1000, 5001))
        for tile in staged:
            rows = tile.threads // tile.lanes
            assert rows * columns * item_bytes % 16 == 0
            assert rows * columns * 4 <= tiles.SHARED_EVERYWHERE
    for channels, pixels in ((8, 200_704), (1280, 49), (128, 12_544)):
        reductions = tiles.reduce_tiles(1, channels, pixels, 8, 2)
        assert len(set(reductions)) == len(reductions) <= tiles.MOST_TILES
        assert all(64 <= tile.groups * tile.pixels <= 1024 for tile in reductions[1:])


# --- permutations ----------------------------------------------------------------------------------------------------


def image(name: str, layout: str, *shape: int) -> Value:
    return Value(name, shape, "float16", "NCHW" if layout == "NCHW" else "NHWC")


N, C, H, W = (Coord(axis) for axis in range(4))


def test_another_layout_is_a_matrix() -> None:
    x, y = image("x", "NCHW", 2, 32, 5, 6), image("y", "NHWC", 2, 32, 5, 6)
    found = permutation_of(Load(0, (N, C, H, W)), x, y)
    assert found is not None
    assert (found.rows, found.columns) == (Digit(32, 30, 1), Digit(30, 1, 32))
    assert (found.outer, found.images, found.readable) == ((), Digit(2, 960, 960), 32)


def test_rows_that_the_input_lacks() -> None:
    x, y = image("x", "NCHW", 2, 3, 8, 8), image("y", "NHWC", 2, 4, 8, 8)
    found = permutation_of(Load(0, (N, C, H, W)), x, y)
    assert found is not None
    assert (found.rows.extent, found.readable) == (4, 3)
    higher = image("y", "NHWC", 2, 3, 9, 8)
    assert permutation_of(Load(0, (N, C, H, W)), x, higher) is None  # it lacks rows of pixels


def _shuffled(groups: int, channels: int) -> Expr:
    rest = channels // groups
    inner = ex.call("imul", ex.call("imod", C, Int(groups)), Int(rest))
    return ex.call("iadd", inner, ex.call("idiv", C, Int(groups)))


def test_parts_of_a_coordinate_are_digits() -> None:
    x, y = image("x", "NHWC", 2, 12, 5, 5), image("y", "NHWC", 2, 12, 5, 5)
    found = permutation_of(Load(0, (N, _shuffled(4, 12), H, W)), x, y)
    assert found is not None
    assert (found.rows, found.columns) == (Digit(4, 3, 1), Digit(3, 1, 4))
    assert found.outer == (Digit(25, 12, 12),)


@pytest.mark.parametrize(
    "index",
    [
        (N, C, H, W),  # nothing moves
        (N, C, W, W),  # a coordinate twice
        (N, C, ex.call("idiv", H, Int(2)), W),  # elements are repeated
        (N, C, ex.call("iadd", H, Int(-1)), W),  # shifted
        (Int(0), C, W, H),  # one image for all
    ],
)
def test_other_loads_are_none(index: tuple[Expr, ...]) -> None:
    x, y = image("x", "NHWC", 2, 32, 6, 6), image("y", "NHWC", 2, 32, 6, 6)
    assert permutation_of(Load(0, index), x, y) is None
