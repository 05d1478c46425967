// Max, average and sum pooling and the places of maxima, NHWC, any window, stride, dilation and padding. Ceil mode is
// only a larger oh and ow: the window is clipped at the input's edge.
#pragma once

#include "functions.cuh"
#include "window.cuh"

namespace cnngen {

// y[n, h, w, c] = epilogue(largest of the window). Padding never wins; a NaN does.
//
// x: [batch, shape.h, shape.w, shape.x_step()], y: [batch, shape.oh, shape.ow, shape.y_step()], of which c channels
// count. Launch: blocks(shape, tile, batch) blocks of tile.threads threads.
template <typename T, Tile tile, WindowShape shape, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void max_pool(int batch, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    detail::check_window<tile, shape>();
    detail::TilePosition at;
    if (!detail::tile_position<tile, shape>(batch, at)) return;

    float acc[tile.th][tile.tw][tile.v];
#pragma unroll
    for (int i = 0; i < tile.th; ++i) {
#pragma unroll
        for (int j = 0; j < tile.tw; ++j) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) acc[i][j][v] = -INFINITY;
        }
    }
    const T* image = x + static_cast<std::int64_t>(at.n) * (shape.h * shape.w * shape.x_step());
    detail::visit_windows<T, tile, shape>(
        image, at, -INFINITY, [](int) {},
        [&](const float (&value)[tile.v], int i, int j, int, int) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) {
                acc[i][j][v] = fn::max(value[v], acc[i][j][v]);
            }
        });
    detail::finish_tile<tile, shape>(acc, at, y, epilogue);
}

// y[n, h, w, c] = epilogue(place of the window's largest value, row * shape.w + column, the first of equals), as a
// float: exact up to 2^24. A NaN is the largest; a window without any cell gives 0.
//
// x: [batch, shape.h, shape.w, shape.x_step()], y: [batch, shape.oh, shape.ow, shape.y_step()], of which c channels
// count. Launch: blocks(shape, tile, batch) blocks of tile.threads threads.
template <typename T, Tile tile, WindowShape shape, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void arg_max_pool(int batch, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    detail::check_window<tile, shape>();
    detail::TilePosition at;
    if (!detail::tile_position<tile, shape>(batch, at)) return;

    float best[tile.th][tile.tw][tile.v];
    int place[tile.th][tile.tw][tile.v];
#pragma unroll
    for (int i = 0; i < tile.th; ++i) {
#pragma unroll
        for (int j = 0; j < tile.tw; ++j) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) {
                best[i][j][v] = -INFINITY;
                place[i][j][v] = -1;
            }
        }
    }
    const T* image = x + static_cast<std::int64_t>(at.n) * (shape.h * shape.w * shape.x_step());
    detail::visit_windows<T, tile, shape>(
        image, at, -INFINITY, [](int) {},
        [&](const float (&value)[tile.v], int i, int j, int r, int s) {
            const int row = (at.h + i) * shape.stride_h - shape.pad_top + r * shape.dilation_h;
            const int column = (at.w + j) * shape.stride_w - shape.pad_left + s * shape.dilation_w;
            if (row < 0 || row >= shape.h || column < 0 || column >= shape.w) return;
#pragma unroll
            for (int v = 0; v < tile.v; ++v) {
                const bool first_nan = value[v] != value[v] && best[i][j][v] == best[i][j][v];
                if (place[i][j][v] < 0 || value[v] > best[i][j][v] || first_nan) {
                    best[i][j][v] = value[v];
                    place[i][j][v] = row * shape.w + column;
                }
            }
        });
#pragma unroll
    for (int i = 0; i < tile.th; ++i) {
#pragma unroll
        for (int j = 0; j < tile.tw; ++j) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) {
                best[i][j][v] = static_cast<float>(place[i][j][v] < 0 ? 0 : place[i][j][v]);
            }
        }
    }
    detail::finish_tile<tile, shape>(best, at, y, epilogue);
}

namespace detail {

// How many of the positions start, start + dilation, ... (`taps` of them) lie in [low, high).
__host__ __device__ constexpr int taps_within(int start, int dilation, int taps, int low, int high) {
    const int first = start >= low ? 0 : ceil_div(low - start, dilation);
    const int last = start >= high ? 0 : ceil_div(high - start, dilation);
    const int end = last < taps ? last : taps;
    return end > first ? end - first : 0;
}

// The sum of each window of a tile.
template <typename T, Tile tile, WindowShape shape>
__device__ __forceinline__ void sum_windows(const T* x, const TilePosition& at,
                                            float (&acc)[tile.th][tile.tw][tile.v]) {
#pragma unroll
    for (int i = 0; i < tile.th; ++i) {
#pragma unroll
        for (int j = 0; j < tile.tw; ++j) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) acc[i][j][v] = 0.0f;
        }
    }
    const T* image = x + static_cast<std::int64_t>(at.n) * (shape.h * shape.w * shape.x_step());
    visit_windows<T, tile, shape>(
        image, at, 0.0f, [](int) {},
        [&](const float (&value)[tile.v], int i, int j, int, int) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) acc[i][j][v] += value[v];
        });
}

}  // namespace detail

// y[n, h, w, c] = epilogue(sum of the window).
//
// x: [batch, shape.h, shape.w, shape.x_step()], y: [batch, shape.oh, shape.ow, shape.y_step()], of which c channels
// count. Launch: blocks(shape, tile, batch) blocks of tile.threads threads.
template <typename T, Tile tile, WindowShape shape, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void sum_pool(int batch, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    detail::check_window<tile, shape>();
    detail::TilePosition at;
    if (!detail::tile_position<tile, shape>(batch, at)) return;
    float acc[tile.th][tile.tw][tile.v];
    detail::sum_windows<T, tile, shape>(x, at, acc);
    detail::finish_tile<tile, shape>(acc, at, y, epilogue);
}

// y[n, h, w, c] = epilogue(mean of the window): over the input's cells alone, or, with count_include_pad, over those of
// the padding too (pad_bottom and pad_right included), but never over what ceil mode adds beyond the padded input.
//
// x: [batch, shape.h, shape.w, shape.x_step()], y: [batch, shape.oh, shape.ow, shape.y_step()], of which c channels
// count. Launch: blocks(shape, tile, batch) blocks of tile.threads threads.
template <typename T, Tile tile, WindowShape shape, bool count_include_pad, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void avg_pool(int batch, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    detail::check_window<tile, shape>();
    detail::TilePosition at;
    if (!detail::tile_position<tile, shape>(batch, at)) return;

    float acc[tile.th][tile.tw][tile.v];
    detail::sum_windows<T, tile, shape>(x, at, acc);

    constexpr int low_h = count_include_pad ? -shape.pad_top : 0;
    constexpr int low_w = count_include_pad ? -shape.pad_left : 0;
    constexpr int high_h = count_include_pad ? shape.h + shape.pad_bottom : shape.h;
    constexpr int high_w = count_include_pad ? shape.w + shape.pad_right : shape.w;
#pragma unroll
    for (int i = 0; i < tile.th; ++i) {
        const int top = (at.h + i) * shape.stride_h - shape.pad_top;
        const int rows = detail::taps_within(top, shape.dilation_h, shape.r, low_h, high_h);
#pragma unroll
        for (int j = 0; j < tile.tw; ++j) {
            const int left = (at.w + j) * shape.stride_w - shape.pad_left;
            const int cells = rows * detail::taps_within(left, shape.dilation_w, shape.s, low_w, high_w);
            // A window without any cell gives 0.
            const float scale = 1.0f / static_cast<float>(cells > 0 ? cells : 1);
#pragma unroll
            for (int v = 0; v < tile.v; ++v) acc[i][j][v] *= scale;
        }
    }
    detail::finish_tile<tile, shape>(acc, at, y, epilogue);
}

}  // namespace cnngen
