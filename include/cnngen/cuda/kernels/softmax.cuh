// Softmax in float, the row's largest value subtracted first: over the innermost axis, or over an axis with others
// inside it.
#pragma once

#include <cstdint>

#include "functions.cuh"
#include "window.cuh"

namespace cnngen {

// Rows of c neighbouring values. For NHWC data and the channel axis the rows are the pixels of all images.
struct SoftmaxShape {
    int c;
};

// `lanes` threads share a row: a power of two up to 32, or all threads of the block. v must divide c.
struct SoftmaxTile {
    int v;
    int lanes;
    int threads;
};

// The grid: blocks of tile.threads threads.
__host__ __device__ constexpr unsigned blocks(const SoftmaxShape&, const SoftmaxTile& tile, int rows) {
    return detail::blocks_of(rows, tile.threads / tile.lanes);
}

// A tile for rows of T: up to 8 values a thread within a warp, up to 32 within a block; longer rows are read again.
template <typename T>
__host__ __device__ constexpr SoftmaxTile softmax_tile(const SoftmaxShape& shape) {
    SoftmaxTile tile = {.v = vector_width<T>(shape.c), .lanes = 1, .threads = 128};
    while (tile.lanes < 32 && tile.lanes * 8 < shape.c) tile.lanes *= 2;
    if (shape.c > 32 * 32) {
        while (tile.threads < 1024 && tile.threads * 16 < shape.c) tile.threads *= 2;
        tile.lanes = tile.threads;
    }
    return tile;
}

namespace detail {

struct Largest {
    __device__ __forceinline__ float operator()(float a, float b) const { return fn::max(a, b); }
};
struct Sum {
    __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};

// `op` over the values of all lanes of a row, in a fixed order; every lane gets it. All threads of the block must call.
template <SoftmaxTile tile, typename Op>
__device__ __forceinline__ float over_row(float value, Op op) {
    constexpr int in_warp = tile.lanes < 32 ? tile.lanes : 32;
#pragma unroll
    for (int offset = in_warp / 2; offset > 0; offset /= 2) {
        value = op(value, __shfl_xor_sync(0xffffffffu, value, offset));
    }
    if constexpr (tile.lanes > 32) {
        constexpr int warps = tile.lanes / 32;
        __shared__ float partial[warps];
        const int thread = static_cast<int>(threadIdx.x);
        if (thread % 32 == 0) partial[thread / 32] = value;
        __syncthreads();
        value = partial[0];
#pragma unroll
        for (int warp = 1; warp < warps; ++warp) value = op(value, partial[warp]);
    }
    return value;
}

}  // namespace detail

// y[row, i] = exp(x[row, i]) / sum over j of exp(x[row, j]). x, y: [rows, shape.c].
//
// Launch: blocks(shape, tile, rows) blocks of exactly tile.threads threads.
template <typename T, SoftmaxTile tile, SoftmaxShape shape, typename Y>
__device__ __forceinline__ void softmax(int rows, const T* x, Y* y) {
    constexpr int vectors = shape.c / tile.v;
    constexpr int steps = detail::ceil_div(vectors, tile.lanes);
    constexpr bool kept = steps * tile.v <= 32;  // in registers between the passes; longer rows are read again
    static_assert(shape.c % tile.v == 0, "tile.v must divide the row");
    static_assert(tile.threads % 32 == 0 && tile.threads <= 1024);
    static_assert((tile.lanes & (tile.lanes - 1)) == 0 && (tile.lanes <= 32 || tile.lanes == tile.threads));

    const int lane = static_cast<int>(threadIdx.x) % tile.lanes;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (tile.threads / tile.lanes) +
                             static_cast<int>(threadIdx.x) / tile.lanes;
    const bool active = row < rows;  // idle lanes stay for the shuffles
    const T* from = x + row * shape.c;
    Y* to = y + row * shape.c;
    const auto read = [&](int step, float (&value)[tile.v]) {
        const int vector = step * tile.lanes + lane;
        Vec<T, tile.v> input = splat<T, tile.v>(-INFINITY);
        if (active && vector < vectors) input = load_readonly<tile.v>(from + vector * tile.v);
        to_float(input, value);
    };
    const auto write = [&](int step, const float (&value)[tile.v]) {
        const int vector = step * tile.lanes + lane;
        if (active && vector < vectors) store(to + vector * tile.v, from_float<Y>(value));
    };

    float largest = -INFINITY;
    float sum = 0.0f;
    if constexpr (kept) {
        float value[steps][tile.v];
#pragma unroll
        for (int step = 0; step < steps; ++step) read(step, value[step]);
#pragma unroll
        for (int step = 0; step < steps; ++step) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) largest = fn::max(value[step][v], largest);
        }
        largest = detail::over_row<tile>(largest, detail::Largest());
#pragma unroll
        for (int step = 0; step < steps; ++step) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) {
                value[step][v] = fn::exp(value[step][v] - largest);
                sum += value[step][v];
            }
        }
        const float scale = 1.0f / detail::over_row<tile>(sum, detail::Sum());
#pragma unroll
        for (int step = 0; step < steps; ++step) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) value[step][v] *= scale;
            write(step, value[step]);
        }
    } else {
        float value[tile.v];
#pragma unroll 4
        for (int step = 0; step < steps; ++step) {
            read(step, value);
#pragma unroll
            for (int v = 0; v < tile.v; ++v) largest = fn::max(value[v], largest);
        }
        largest = detail::over_row<tile>(largest, detail::Largest());
#pragma unroll 4
        for (int step = 0; step < steps; ++step) {
            read(step, value);
#pragma unroll
            for (int v = 0; v < tile.v; ++v) sum += fn::exp(value[v] - largest);
        }
        const float scale = 1.0f / detail::over_row<tile>(sum, detail::Sum());
#pragma unroll 4
        for (int step = 0; step < steps; ++step) {
            read(step, value);
#pragma unroll
            for (int v = 0; v < tile.v; ++v) value[v] = fn::exp(value[v] - largest) * scale;
            write(step, value);
        }
    }
}

// An axis with `inner` neighbouring elements between two of its values.
struct StridedSoftmaxShape {
    int axis;
    int inner;
};

// The grid: blocks of `threads` threads, each of which does v neighbouring rows. v must divide shape.inner.
__host__ __device__ constexpr unsigned blocks(const StridedSoftmaxShape& shape, int v, int threads, int outer) {
    return detail::blocks_of(static_cast<std::int64_t>(outer) * (shape.inner / v), threads);
}

// y[o, i, k] = exp(x[o, i, k]) / sum over j of exp(x[o, j, k]). x, y: [outer, shape.axis, shape.inner].
//
// Launch: blocks(shape, V, threads, outer) blocks of any number of threads.
template <typename T, int V, StridedSoftmaxShape shape, typename Y>
__device__ __forceinline__ void softmax_strided(int outer, const T* x, Y* y) {
    constexpr unsigned vectors = shape.inner / V;
    static_assert(shape.inner % V == 0, "V must divide the inner size");
    static_assert(static_cast<std::int64_t>(shape.axis) * shape.inner < (std::int64_t{1} << 31));
    const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
    const int o = static_cast<int>(item / vectors);
    if (o >= outer) return;
    const std::int64_t start =
        static_cast<std::int64_t>(o) * (shape.axis * shape.inner) + static_cast<int>(item % vectors) * V;

    float value[V];
    float largest[V];
    float sum[V];
#pragma unroll
    for (int v = 0; v < V; ++v) {
        largest[v] = -INFINITY;
        sum[v] = 0.0f;
    }
#pragma unroll 4
    for (int i = 0; i < shape.axis; ++i) {
        to_float(load_readonly<V>(x + start + i * shape.inner), value);
#pragma unroll
        for (int v = 0; v < V; ++v) largest[v] = fn::max(value[v], largest[v]);
    }
#pragma unroll 4
    for (int i = 0; i < shape.axis; ++i) {
        to_float(load_readonly<V>(x + start + i * shape.inner), value);
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += fn::exp(value[v] - largest[v]);
    }
#pragma unroll
    for (int v = 0; v < V; ++v) sum[v] = 1.0f / sum[v];
#pragma unroll 4
    for (int i = 0; i < shape.axis; ++i) {
        to_float(load_readonly<V>(x + start + i * shape.inner), value);
#pragma unroll
        for (int v = 0; v < V; ++v) value[v] = fn::exp(value[v] - largest[v]) * sum[v];
        store(y + start + i * shape.inner, from_float<Y>(value));
    }
}

}  // namespace cnngen
