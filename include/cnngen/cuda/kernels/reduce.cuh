// Reductions in float, in a fixed order: the same input gives the same bits. Over an axis outside of others, such as
// the pixels of an NHWC tensor (global average pooling, squeeze-and-excitation, instance norm), and over the innermost
// axis.
#pragma once

#include <cstdint>

#include "functions.cuh"
#include "rows.cuh"
#include "window.cuh"

namespace cnngen {

enum class Reduction { mean, sum, max, min, prod, sum_squares, variance };

// `count` values are reduced, each with `c` neighbours: the pixels of an NHWC image and its channels.
struct ReduceShape {
    int c, count;
};

// One block's work: all values (pixels) of groups * v neighbours (channels) of one image. `groups` (a power of two up
// to 32) threads stand side by side over the channels, `pixels` of such rows share the pixels between them.
struct ReduceTile {
    int v;
    int groups;
    int pixels;

    __host__ __device__ constexpr int threads() const { return groups * pixels; }
};

// The grid: blocks of tile.threads() threads.
__host__ __device__ constexpr unsigned blocks(const ReduceShape& shape, const ReduceTile& tile, int batch) {
    return static_cast<unsigned>(batch) * static_cast<unsigned>(detail::ceil_div(shape.c / tile.v, tile.groups));
}

// A tile for tensors of T: full 128-byte lines where there are blocks enough for every multiprocessor, else more blocks
// and more threads in each.
template <typename T>
__host__ __device__ constexpr ReduceTile reduce_tile(const ReduceShape& shape, int batch) {
    constexpr unsigned enough = 128;
    ReduceTile tile = {.v = vector_width<T>(shape.c), .groups = 1, .pixels = 1};
    const int channel_vectors = shape.c / tile.v;
    while (tile.groups < 32 && tile.groups < channel_vectors && tile.groups * tile.v * int{sizeof(T)} < 128) {
        tile.groups *= 2;
    }
    while (tile.groups > 1 && tile.groups * tile.v * int{sizeof(T)} > 32 && blocks(shape, tile, batch) < enough) {
        tile.groups /= 2;
    }
    if (blocks(shape, tile, batch) < enough / 8 && tile.groups > 1) tile.groups = 1;
    const int most = blocks(shape, tile, batch) < enough ? 1024 : 256;
    // Four pixels a thread are loads enough in flight; fewer threads would wait, more would idle.
    const int wanted = detail::ceil_div(shape.count, 4);
    const int least = 32 / tile.groups > tile.v ? 32 / tile.groups : tile.v;
    tile.pixels = least;
    while (tile.pixels < wanted && 2 * tile.groups * tile.pixels <= most) tile.pixels *= 2;
    return tile;
}

namespace detail {

template <Reduction op>
__host__ __device__ constexpr float identity_of() {
    return op == Reduction::max ? -INFINITY : op == Reduction::min ? INFINITY : op == Reduction::prod ? 1.0f : 0.0f;
}

// The operation on two partial results.
template <Reduction op>
struct Combine {
    __device__ __forceinline__ float operator()(float a, float b) const {
        if constexpr (op == Reduction::max) return fn::max(a, b);
        if constexpr (op == Reduction::min) return fn::min(a, b);
        if constexpr (op == Reduction::prod) return a * b;
        return a + b;
    }
};

// What a value adds to a partial result; of a variance's second pass the squared distance from the mean.
template <Reduction op>
__device__ __forceinline__ float term_of(float value, float mean) {
    if constexpr (op == Reduction::sum_squares) return value * value;
    if constexpr (op == Reduction::variance) return (value - mean) * (value - mean);
    return value;
}

// One pass of a block over its columns: `result` of all threads is that of their channels.
template <typename T, ReduceTile tile, ReduceShape shape, Reduction op>
__device__ __forceinline__ void reduce_columns(const T* column, bool owns_channels, const float (&mean)[tile.v],
                                               float (&result)[tile.v]) {
    constexpr int warps = tile.threads() / 32;
    constexpr int steps = ceil_div(shape.count, tile.pixels);
    constexpr Combine<op> combine;
    const int thread = static_cast<int>(threadIdx.x);
    float acc[tile.v];
#pragma unroll
    for (int v = 0; v < tile.v; ++v) acc[v] = identity_of<op>();
#pragma unroll(op == Reduction::variance ? (steps <= 4 ? steps : 2) : steps <= 16 ? steps : 8)
    for (int step = 0; step < steps; ++step) {
        const int pixel = thread / tile.groups + step * tile.pixels;
        const bool inside = owns_channels && pixel < shape.count;
        Vec<T, tile.v> input = splat<T, tile.v>(0.0f);
        if (inside) input = load_readonly<tile.v>(column + pixel * shape.c);
        float value[tile.v];
        to_float(input, value);
#pragma unroll
        for (int v = 0; v < tile.v; ++v) {
            acc[v] = combine(acc[v], inside ? term_of<op>(value[v], mean[v]) : identity_of<op>());
        }
    }

    // Lanes `groups` apart hold the same channels.
#pragma unroll
    for (int offset = 16; offset >= tile.groups; offset /= 2) {
#pragma unroll
        for (int v = 0; v < tile.v; ++v) acc[v] = combine(acc[v], exchanged(acc[v], offset));
    }
    if constexpr (warps > 1) {
        // One thread a channel adds the warps' results, in the order of the warps.
        constexpr int channels = tile.groups * tile.v;
        __shared__ float partial[warps][channels];
        __shared__ float total[channels];
        if (thread % 32 < tile.groups) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) partial[thread / 32][thread % 32 * tile.v + v] = acc[v];
        }
        __syncthreads();
        if (thread < channels) {
            float sum = partial[0][thread];
#pragma unroll
            for (int warp = 1; warp < warps; ++warp) sum = combine(sum, partial[warp][thread]);
            total[thread] = sum;
        }
        __syncthreads();
#pragma unroll
        for (int v = 0; v < tile.v; ++v) acc[v] = total[thread % tile.groups * tile.v + v];
    }
#pragma unroll
    for (int v = 0; v < tile.v; ++v) result[v] = acc[v];
}

// One pass over a row; every lane of it gets the result. Idle lanes must call, too.
template <typename T, RowTile tile, RowShape shape, Reduction op>
__device__ __forceinline__ float reduce_row(const T* from, int lane, bool active, float mean) {
    constexpr int vectors = shape.c / tile.v;
    constexpr int steps = ceil_div(vectors, tile.lanes);
    constexpr Combine<op> combine;
    float acc[tile.v];
#pragma unroll
    for (int v = 0; v < tile.v; ++v) acc[v] = identity_of<op>();
#pragma unroll(op == Reduction::variance ? 2 : steps <= 8 ? steps : 4)
    for (int step = 0; step < steps; ++step) {
        const int vector = step * tile.lanes + lane;
        const bool inside = active && vector < vectors;
        Vec<T, tile.v> input = splat<T, tile.v>(0.0f);
        if (inside) input = load_readonly<tile.v>(from + vector * tile.v);
        float value[tile.v];
        to_float(input, value);
#pragma unroll
        for (int v = 0; v < tile.v; ++v) {
            acc[v] = combine(acc[v], inside ? term_of<op>(value[v], mean) : identity_of<op>());
        }
    }
#pragma unroll
    for (int v = 1; v < tile.v; ++v) acc[0] = combine(acc[0], acc[v]);
    return over_row<tile>(acc[0], combine);
}

}  // namespace detail

// y[n, c] = epilogue(op over all i of x[n, i, c]); the epilogue is called with h = w = 0.
//
// x: [batch, shape.count, shape.c]; y: [batch, shape.c].
// Launch: blocks(shape, tile, batch) blocks of exactly tile.threads() threads.
template <typename T, ReduceTile tile, ReduceShape shape, Reduction op, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void reduce(int batch, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    constexpr int threads = tile.threads();
    constexpr int channel_vectors = shape.c / tile.v;
    constexpr int group_blocks = detail::ceil_div(channel_vectors, tile.groups);
    static_assert(shape.c % tile.v == 0, "tile.v must divide the channels");
    static_assert(tile.groups > 0 && tile.groups <= 32 && (tile.groups & (tile.groups - 1)) == 0);
    static_assert(threads % 32 == 0 && threads <= 1024);
    static_assert(threads == 32 || tile.pixels >= tile.v, "too few threads for the last step");
    static_assert(static_cast<std::int64_t>(shape.count) * shape.c < (std::int64_t{1} << 31),
                  "one image must have fewer than 2^31 elements");

    const int n = static_cast<int>(blockIdx.x / group_blocks);
    if (n >= batch) return;  // the whole block, so that no barrier waits for it
    const int thread = static_cast<int>(threadIdx.x);
    const int group = static_cast<int>(blockIdx.x % group_blocks) * tile.groups + thread % tile.groups;
    const bool owns_channels = group < channel_vectors;
    const T* column = x + static_cast<std::int64_t>(n) * (shape.count * shape.c) + group * tile.v;

    constexpr bool centred = op == Reduction::variance;
    constexpr float scale = centred || op == Reduction::mean ? 1.0f / static_cast<float>(shape.count) : 1.0f;
    float mean[tile.v] = {};
    if constexpr (centred) {
        const float none[tile.v] = {};
        detail::reduce_columns<T, tile, shape, Reduction::sum>(column, owns_channels, none, mean);
#pragma unroll
        for (int v = 0; v < tile.v; ++v) mean[v] *= scale;
    }
    float acc[tile.v];
    detail::reduce_columns<T, tile, shape, op>(column, owns_channels, mean, acc);
    if (thread < tile.groups && owns_channels) {
#pragma unroll
        for (int v = 0; v < tile.v; ++v) acc[v] *= scale;
        epilogue(acc, n, group * tile.v, 0, 0);
        store(y + static_cast<std::int64_t>(n) * shape.c + group * tile.v, from_float<Y>(acc));
    }
}

// y[row] = epilogue(op over all i of x[row, i]); the epilogue is called with n = row and c = h = w = 0.
//
// x: [rows, shape.c]; y: [rows]. Launch: blocks(shape, tile, rows) blocks of exactly tile.threads threads.
template <typename T, RowTile tile, RowShape shape, Reduction op, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void reduce_rows(int rows, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    detail::check_rows<tile, shape>();
    const int lane = static_cast<int>(threadIdx.x) % tile.lanes;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (tile.threads / tile.lanes) +
                             static_cast<int>(threadIdx.x) / tile.lanes;
    const bool active = row < rows;  // idle lanes stay for the shuffles
    const T* from = x + row * shape.c;
    constexpr bool centred = op == Reduction::variance;
    constexpr float scale = centred || op == Reduction::mean ? 1.0f / static_cast<float>(shape.c) : 1.0f;
    float mean = 0.0f;
    if constexpr (centred) mean = detail::reduce_row<T, tile, shape, Reduction::sum>(from, lane, active, 0.0f) * scale;
    float acc[1] = {detail::reduce_row<T, tile, shape, op>(from, lane, active, mean) * scale};
    if (active && lane == 0) {
        epilogue(acc, static_cast<int>(row), 0, 0, 0);
        y[row] = from_float<Y>(acc[0]);
    }
}

}  // namespace cnngen
