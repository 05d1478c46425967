// Depthwise convolution, NHWC: each channel has one filter of its own. Memory-bound: the aim is a copy's time.
#pragma once

#include <cstddef>
#include <type_traits>

#include "early_start.cuh"
#include "window.cuh"

namespace cnngen {

// y[n, h, w, c] = epilogue(bias[c] + sum over r, s of x[n, h * stride - pad + r * dilation, ..., c] * weight[r, s, c])
//
// x: [batch, shape.h, shape.w, shape.x_step()], y: [batch, shape.oh, shape.ow, shape.y_step()], of which c channels
// count; weight: [shape.r, shape.s, shape.c]; bias: [shape.c], or nullptr. Sums in float, from the bias on. Waits for x
// itself: the filters are constants, and come while the kernel before still runs. Launch: blocks(shape, tile, batch)
// blocks of tile.threads threads.
template <typename T, Tile tile, WindowShape shape, typename W, typename Bias, typename Y,
          typename Epilogue = NoEpilogue>
__device__ __forceinline__ void depthwise(int batch, const T* x, const W* weight, Bias bias, Y* y,
                                          const Epilogue& epilogue = Epilogue()) {
    detail::check_window<tile, shape>();
    detail::TilePosition at;
    const bool has_outputs = detail::tile_position<tile, shape>(batch, at);
    // A small map has small tiles, and its threads nothing else to do while a filter comes.
    if (tile.tw * tile.th <= 2 && has_outputs) {
#pragma unroll
        for (int tap = 0; tap < shape.r * shape.s; ++tap) ptx::prefetch(weight + (tap * shape.c + at.c));
    }
    begin();
    if (!has_outputs) return;

    float acc[tile.th][tile.tw][tile.v] = {};
    if constexpr (!std::is_same_v<Bias, std::nullptr_t>) {
        float first[tile.v];
        to_float(load_readonly<tile.v>(bias + at.c), first);
#pragma unroll
        for (int i = 0; i < tile.th * tile.tw * tile.v; ++i)
            acc[i / tile.v / tile.tw][i / tile.v % tile.tw][i % tile.v] = first[i % tile.v];
    }
    const T* image = x + static_cast<std::int64_t>(at.n) * (shape.h * shape.w * shape.x_step());
    const auto read_filter = [&](int r, int s, float (&filter)[tile.v]) {
        to_float(load_readonly<tile.v>(weight + ((r * shape.s + s) * shape.c + at.c)), filter);
    };
    const auto multiply = [&](const float (&value)[tile.v], const float (&filter)[tile.v], float (&sum)[tile.v]) {
#pragma unroll
        for (int v = 0; v < tile.v; ++v) sum[v] = fmaf(value[v], filter[v], sum[v]);
    };
    if constexpr (tile.th == 1 && tile.tw == 1) {
        // Each tap of the filter is used once.
        detail::visit_windows<T, tile, shape>(
            image, at, 0.0f, [](int) {},
            [&](const float (&value)[tile.v], int i, int j, int r, int s) {
                float filter[tile.v];
                read_filter(r, s, filter);
                multiply(value, filter, acc[i][j]);
            });
    } else {
        // A row of outputs needs one row of the filter at a time; several rows need all of it.
        constexpr bool by_row = tile.th == 1;
        constexpr int rows = by_row ? 1 : shape.r;
        float filter[rows][shape.s][tile.v];
        const auto read_rows = [&](int first) {
#pragma unroll
            for (int r = 0; r < rows; ++r) {
#pragma unroll
                for (int s = 0; s < shape.s; ++s) read_filter(first + r, s, filter[r][s]);
            }
        };
        if (!by_row) read_rows(0);
        detail::visit_windows<T, tile, shape>(
            image, at, 0.0f,
            [&](int y) {
                if (by_row) read_rows(y / shape.dilation_h);
            },
            [&](const float (&value)[tile.v], int i, int j, int r, int s) {
                multiply(value, filter[by_row ? 0 : r][s], acc[i][j]);
            });
    }
    detail::finish_tile<tile, shape>(acc, at, y, epilogue);
}

}  // namespace cnngen
