// What depthwise convolution and pooling share: a window that slides over an NHWC tensor, and a tile of its outputs,
// one thread's work. Neighbouring windows overlap, so that a thread that computes several outputs reads each input
// once for all of them.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "vector.cuh"

namespace cnngen {

// One image's geometry. Output row h reads the input rows h * stride_h - pad_top + i * dilation_h, i = 0 .. r - 1.
struct WindowShape {
    int c, h, w;  // input
    int oh, ow;   // output, with the same channels
    int r, s;     // the window's height and width
    int stride_h = 1, stride_w = 1;
    int dilation_h = 1, dilation_w = 1;
    int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
    // Elements from a pixel to its neighbour, where a tensor is a slice of wider pixels; 0: c.
    int x_pixel = 0, y_pixel = 0;

    __host__ __device__ constexpr int x_step() const { return x_pixel > 0 ? x_pixel : c; }
    __host__ __device__ constexpr int y_step() const { return y_pixel > 0 ? y_pixel : c; }
};

// One thread's work: v channels of th x tw neighbouring output pixels. v must divide the channels.
struct Tile {
    int v;
    int tw = 1, th = 1;
    int threads = 256;  // of a block
    // Neighbouring threads take `groups` vectors of neighbouring channels, then the tiles to the right and below, then
    // the next channels; 0: all channels first. Fewer channels a block are more rows a block, which share their inputs
    // in the multiprocessor's own cache. Must divide the channels' vectors.
    int groups = 0;
};

namespace detail {

__host__ __device__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

__host__ __device__ constexpr int least(int a, int b) { return a < b ? a : b; }

__host__ __device__ constexpr unsigned blocks_of(std::int64_t items, int threads) {
    return static_cast<unsigned>((items + threads - 1) / threads);
}

}  // namespace detail

// Threads that one image takes.
__host__ __device__ constexpr std::int64_t items(const WindowShape& shape, const Tile& tile) {
    return static_cast<std::int64_t>(shape.c / tile.v) * detail::ceil_div(shape.ow, tile.tw) *
           detail::ceil_div(shape.oh, tile.th);
}

// The grid: blocks of tile.threads threads. batch * items must stay below 2^31.
__host__ __device__ constexpr unsigned blocks(const WindowShape& shape, const Tile& tile, int batch) {
    return detail::blocks_of(batch * items(shape, tile), tile.threads);
}

// A tile for tensors of T: the largest that fits the registers and still gives the GPU enough threads to hide its
// latencies. At batch 1 the maps are small, and more threads win over more reuse.
template <typename T>
__host__ __device__ constexpr Tile window_tile(const WindowShape& shape, int batch) {
    constexpr std::int64_t enough = 16 * 1024;  // about 4 warps on each multiprocessor of a large GPU
    Tile tile = {.v = vector_width<T>(shape.c), .tw = 1, .th = 1, .threads = 128};
    const int runs[3][2] = {{4, 2}, {4, 1}, {2, 1}};
    for (const auto& run : runs) {
        const int tw = run[0], th = run[1];
        // Accumulators and filters, in registers. A single row of outputs needs one row of filters at a time.
        const bool fits = shape.s <= 7 && tile.v * (tw * th + shape.s * (th > 1 ? shape.r : 1)) <= 110;
        const Tile larger = {.v = tile.v, .tw = tw, .th = th, .threads = tile.threads};
        if (fits && shape.ow >= tw && shape.oh >= th && batch * items(shape, larger) >= enough) {
            tile = larger;
            break;
        }
    }
    if (tile.tw == 1) {
        while (tile.v * static_cast<int>(sizeof(T)) > 8 && batch * items(shape, tile) < enough) tile.v /= 2;
    }
    if (batch * items(shape, tile) >= 16 * enough) tile.threads = 256;
    // 64 to 128 bytes of each pixel, in whole 32-byte sectors.
    for (const int bytes : {128, 96, 64}) {
        const int groups = bytes / static_cast<int>(tile.v * sizeof(T));
        if (tile.groups == 0 && groups > 0 && shape.c / tile.v % groups == 0) tile.groups = groups;
    }
    return tile;
}

namespace detail {

// The first output of a thread's tile.
struct TilePosition {
    int n, c, h, w;
};

// Which tile this thread computes. False beyond the batch.
template <Tile tile, WindowShape shape>
__device__ __forceinline__ bool tile_position(int batch, TilePosition& at) {
    constexpr unsigned all_groups = shape.c / tile.v;
    constexpr unsigned groups = tile.groups > 0 ? tile.groups : all_groups;
    constexpr unsigned columns = ceil_div(shape.ow, tile.tw);
    constexpr unsigned rows = ceil_div(shape.oh, tile.th);
    unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
    at.c = static_cast<int>(item % groups) * tile.v;
    item /= groups;
    at.w = static_cast<int>(item % columns) * tile.tw;
    item /= columns;
    at.h = static_cast<int>(item % rows) * tile.th;
    item /= rows;
    at.c += static_cast<int>(item % (all_groups / groups)) * static_cast<int>(groups) * tile.v;
    at.n = static_cast<int>(item / (all_groups / groups));
    return at.n < batch;
}

template <Tile tile, WindowShape shape>
__host__ __device__ constexpr void check_window() {
    static_assert(tile.v > 0 && shape.c % tile.v == 0, "tile.v must divide the channels");
    static_assert(tile.groups >= 0 && shape.c / tile.v % (tile.groups > 0 ? tile.groups : 1) == 0,
                  "tile.groups must divide the channels' vectors");
    static_assert(tile.tw > 0 && tile.th > 0 && tile.threads > 0 && tile.threads <= 1024);
    static_assert(shape.r > 0 && shape.s > 0 && shape.stride_h > 0 && shape.stride_w > 0);
    static_assert(shape.dilation_h > 0 && shape.dilation_w > 0);
    static_assert(static_cast<std::int64_t>(shape.h) * shape.w * shape.x_step() < (std::int64_t{1} << 31) &&
                      static_cast<std::int64_t>(shape.oh) * shape.ow * shape.y_step() < (std::int64_t{1} << 31),
                  "one image must have fewer than 2^31 elements");
}

// Calls begin_row(y) before the tile's y-th input row is read, and visit(value, i, j, r, s) for each input vector of
// each window of the tile: `value` (float[tile.v]) is what tap (r, s) of the window of output (at.h + i, at.w + j)
// reads, `outside` in the padding. `image` points to image at.n. Each input is read once, whatever the number of
// windows that share it.
template <typename T, Tile tile, WindowShape shape, typename BeginRow, typename Visit>
__device__ __forceinline__ void visit_windows(const T* image, const TilePosition& at, float outside, BeginRow begin_row,
                                              Visit visit) {
    constexpr int row_span = (tile.th - 1) * shape.stride_h + (shape.r - 1) * shape.dilation_h + 1;
    constexpr int column_span = (tile.tw - 1) * shape.stride_w + (shape.s - 1) * shape.dilation_w + 1;
    // A single row of outputs reads only every dilation-th input row.
    constexpr int row_step = tile.th == 1 ? shape.dilation_h : 1;
    constexpr int column_step = tile.tw == 1 ? shape.dilation_w : 1;
    // Accumulators stay in registers only where their indices are constants: tiles unroll. Single outputs need not.
    constexpr bool long_code = shape.r * shape.s * tile.tw > 100;
    [[maybe_unused]] constexpr int row_unroll = tile.th == 1 && long_code ? 1 : row_span;
    [[maybe_unused]] constexpr int column_unroll = tile.tw == 1 && shape.s > 8 ? 4 : column_span;
    // Without padding and with whole tiles no access can be outside.
    constexpr bool rows_inside =
        shape.pad_top == 0 && (ceil_div(shape.oh, tile.th) - 1) * tile.th * shape.stride_h + row_span <= shape.h;
    constexpr bool columns_inside =
        shape.pad_left == 0 && (ceil_div(shape.ow, tile.tw) - 1) * tile.tw * shape.stride_w + column_span <= shape.w;

    const int top = at.h * shape.stride_h - shape.pad_top;
    const int left = at.w * shape.stride_w - shape.pad_left;
    const int origin = (top * shape.w + left) * shape.x_step() + at.c;
#pragma unroll(row_unroll)
    for (int y = 0; y < row_span; y += row_step) {
        const bool row_inside = rows_inside || static_cast<unsigned>(top + y) < static_cast<unsigned>(shape.h);
        begin_row(y);
#pragma unroll(column_unroll)
        for (int x = 0; x < column_span; x += column_step) {
            const bool inside =
                row_inside && (columns_inside || static_cast<unsigned>(left + x) < static_cast<unsigned>(shape.w));
            float value[tile.v];
            to_float(load_if<tile.v>(inside, image + (origin + (y * shape.w + x) * shape.x_step()), outside), value);
#pragma unroll
            for (int i = 0; i < tile.th; ++i) {
                const int dy = y - i * shape.stride_h;
                if (dy < 0 || dy % shape.dilation_h != 0 || dy / shape.dilation_h >= shape.r) continue;
#pragma unroll
                for (int j = 0; j < tile.tw; ++j) {
                    const int dx = x - j * shape.stride_w;
                    if (dx < 0 || dx % shape.dilation_w != 0 || dx / shape.dilation_w >= shape.s) continue;
                    visit(value, i, j, dy / shape.dilation_h, dx / shape.dilation_w);
                }
            }
        }
    }
}

// Runs the epilogue over the tile's accumulators and stores them. All of the epilogue's loads stand before the first
// store, so that they overlap and a bias is read once.
template <Tile tile, WindowShape shape, typename Y, typename Epilogue>
__device__ __forceinline__ void finish_tile(float (&acc)[tile.th][tile.tw][tile.v], const TilePosition& at, Y* y,
                                            const Epilogue& epilogue) {
    constexpr bool whole_rows = shape.oh % tile.th == 0;
    constexpr bool whole_columns = shape.ow % tile.tw == 0;
#pragma unroll
    for (int i = 0; i < tile.th; ++i) {
#pragma unroll
        for (int j = 0; j < tile.tw; ++j) {
            if ((whole_rows || at.h + i < shape.oh) && (whole_columns || at.w + j < shape.ow)) {
                epilogue(acc[i][j], at.n, at.c, at.h + i, at.w + j);
            }
        }
    }
    Y* image = y + static_cast<std::int64_t>(at.n) * (shape.oh * shape.ow * shape.y_step());
#pragma unroll
    for (int i = 0; i < tile.th; ++i) {
#pragma unroll
        for (int j = 0; j < tile.tw; ++j) {
            if ((whole_rows || at.h + i < shape.oh) && (whole_columns || at.w + j < shape.ow)) {
                store(image + (((at.h + i) * shape.ow + at.w + j) * shape.y_step() + at.c), from_float<Y>(acc[i][j]));
            }
        }
    }
}

}  // namespace detail
}  // namespace cnngen
