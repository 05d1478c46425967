// Depthwise convolution down strips of the output, NHWC: a thread goes from row to row of the input, adds what each
// gives to all rows of outputs that see it, and brings the next rows meanwhile. A tile of outputs (depthwise.cuh) reads
// more for each, and reads it all before it computes.
#pragma once

#include "early_start.cuh"
#include "window.cuh"

namespace cnngen {

// One thread's work: v channels of a strip of tw columns and `rows` rows of outputs. v must divide the channels.
struct StripTile {
    int v;
    int tw, rows;
    int threads;  // of a block
};

// The grid: blocks of tile.threads threads.
__host__ __device__ constexpr unsigned blocks(const WindowShape& shape, const StripTile& tile, int batch) {
    return blocks(shape, Tile{.v = tile.v, .tw = tile.tw, .th = tile.rows, .threads = tile.threads}, batch);
}

// y[n, h, w, c] = epilogue(sum over r, s of x[n, h * stride - pad + r * dilation, ..., c] * weight[r, s, c])
//
// x: [batch, shape.h, shape.w, shape.x_step()], y: [batch, shape.oh, shape.ow, shape.y_step()], of which c channels
// count; weight: [shape.r, shape.s, shape.c]. Sums in float. Waits for x itself: the filters are constants, and come
// while the kernel before still runs. Launch: blocks(shape, tile, batch) blocks of tile.threads threads.
template <typename T, StripTile tile, WindowShape shape, typename W, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void depthwise_strips(int batch, const T* x, const W* weight, Y* y,
                                                 const Epilogue& epilogue = Epilogue()) {
    constexpr Tile strip = {.v = tile.v, .tw = tile.tw, .th = tile.rows, .threads = tile.threads};
    constexpr Tile row_of_it = {.v = tile.v, .tw = tile.tw, .th = 1, .threads = tile.threads};
    detail::check_window<strip, shape>();
    constexpr int row_span = (shape.r - 1) * shape.dilation_h + 1;  // of the input, that an output sees
    constexpr int column_span = (tile.tw - 1) * shape.stride_w + (shape.s - 1) * shape.dilation_w + 1;
    constexpr int open = detail::ceil_div(row_span, shape.stride_h);  // rows of outputs that see a row of the input
    constexpr int period = open * shape.stride_h;          // of rows of the input, after which all is as before
    constexpr int ahead = shape.r * shape.s <= 9 ? 2 : 1;  // rows that are on their way

    detail::TilePosition at;
    const bool has_outputs = detail::tile_position<strip, shape>(batch, at);
    float filter[shape.r][shape.s][tile.v];
    if (has_outputs) {
#pragma unroll
        for (int r = 0; r < shape.r; ++r) {
#pragma unroll
            for (int s = 0; s < shape.s; ++s) {
                to_float(load_readonly<tile.v>(weight + ((r * shape.s + s) * shape.c + at.c)), filter[r][s]);
            }
        }
    }
    begin();
    if (!has_outputs) return;

    constexpr bool columns_inside =
        shape.pad_left == 0 &&
        (detail::ceil_div(shape.ow, tile.tw) - 1) * tile.tw * shape.stride_w + column_span <= shape.w;
    const int first = at.h, rows = detail::least(tile.rows, shape.oh - at.h);
    const int top = first * shape.stride_h - shape.pad_top, left = at.w * shape.stride_w - shape.pad_left;
    const int steps = (rows - 1) * shape.stride_h + row_span;
    constexpr int pitch = shape.w * shape.x_step();
    const T* const corner =
        x + (static_cast<std::int64_t>(at.n) * (shape.h * pitch) + top * pitch + (left * shape.x_step() + at.c));
    using Row = Vec<T, tile.v>[column_span];
    const auto is_inside = [&](int step) { return static_cast<unsigned>(top + step) < static_cast<unsigned>(shape.h); };
    const auto bring = [&](int step, Row& row) {
        const bool row_inside = step < steps && is_inside(step);
        const T* const from = corner + step * pitch;
#pragma unroll
        for (int i = 0; i < column_span; ++i) {
            const bool inside =
                row_inside && (columns_inside || static_cast<unsigned>(left + i) < static_cast<unsigned>(shape.w));
            row[i] = load_if<tile.v>(inside, from + i * shape.x_step(), 0.0f);
        }
    };
    // Which of the open rows of outputs the one is that row `step` of the input meets with row `r` of the filter.
    const auto slot_of = [](int step, int r) {
        return (step + period * row_span - r * shape.dilation_h) / shape.stride_h % open;
    };

    float acc[open][1][tile.tw][tile.v] = {};
    Row on_their_way[ahead];
#pragma unroll
    for (int i = 0; i < ahead; ++i) bring(i, on_their_way[i]);
#pragma unroll 1
    for (int base = 0; base < steps; base += period) {
#pragma unroll
        for (int k = 0; k < period; ++k) {
            const int step = base + k;
            if (step >= steps) break;
            float value[column_span][tile.v];
#pragma unroll
            for (int i = 0; i < column_span; ++i) to_float(on_their_way[0][i], value[i]);
#pragma unroll
            for (int i = 0; i + 1 < ahead; ++i) {
#pragma unroll
                for (int j = 0; j < column_span; ++j) on_their_way[i][j] = on_their_way[i + 1][j];
            }
            bring(step + ahead, on_their_way[ahead - 1]);
            // Rows of outputs above and below the strip get something, too; it is never stored.
            if (is_inside(step)) {
#pragma unroll
                for (int r = 0; r < shape.r; ++r) {
                    if ((k + period * row_span - r * shape.dilation_h) % shape.stride_h != 0) continue;
                    auto& sums = acc[slot_of(k, r)][0];
#pragma unroll
                    for (int j = 0; j < tile.tw; ++j) {
#pragma unroll
                        for (int s = 0; s < shape.s; ++s) {
                            const auto& tap = value[j * shape.stride_w + s * shape.dilation_w];
#pragma unroll
                            for (int v = 0; v < tile.v; ++v) sums[j][v] = fmaf(tap[v], filter[r][s][v], sums[j][v]);
                        }
                    }
                }
            }
            if ((k + period * row_span - (row_span - 1)) % shape.stride_h != 0) continue;
            auto& done = acc[slot_of(k, shape.r - 1)];
            if (step >= row_span - 1) {
                at.h = first + (step - (row_span - 1)) / shape.stride_h;
                detail::finish_tile<row_of_it, shape>(done, at, y, epilogue);
            }
#pragma unroll
            for (int j = 0; j < tile.tw; ++j) {
#pragma unroll
                for (int v = 0; v < tile.v; ++v) done[0][j][v] = 0.0f;
            }
        }
    }
}

}  // namespace cnngen
