// What softmax and reductions share: rows of neighbouring values, each the work of some lanes of a warp or of a block,
// and axes with other elements between their values.
#pragma once

#include <cstdint>

#include "functions.cuh"
#include "window.cuh"

namespace cnngen {

// Rows of c neighbouring values. For NHWC data and the channel axis the rows are the pixels of all images.
struct RowShape {
    int c;
};

// `lanes` threads share a row: a power of two up to 32, or all threads of the block. v must divide c.
struct RowTile {
    int v;
    int lanes;
    int threads;
    int staged = 0;  // 1: softmax takes a block's rows through shared memory, 16 bytes at a time however few v are
};

// The grid: blocks of tile.threads threads.
__host__ __device__ constexpr unsigned blocks(const RowShape&, const RowTile& tile, int rows) {
    return detail::blocks_of(rows, tile.threads / tile.lanes);
}

// A tile for rows of T: up to 8 values a thread within a warp, up to 32 within a block; longer rows take more.
template <typename T>
__host__ __device__ constexpr RowTile row_tile(const RowShape& shape) {
    RowTile tile = {.v = vector_width<T>(shape.c), .lanes = 1, .threads = 128};
    while (tile.lanes < 32 && tile.lanes * 8 < shape.c) tile.lanes *= 2;
    if (shape.c > 32 * 32) {
        while (tile.threads < 1024 && tile.threads * 16 < shape.c) tile.threads *= 2;
        tile.lanes = tile.threads;
    }
    return tile;
}

// An axis with `inner` neighbouring elements between two of its values.
struct AxisShape {
    int axis;
    int inner;
};

// The grid: blocks of `threads` threads, each of which does v neighbouring rows. v must divide shape.inner.
__host__ __device__ constexpr unsigned blocks(const AxisShape& shape, int v, int threads, int outer) {
    return detail::blocks_of(static_cast<std::int64_t>(outer) * (shape.inner / v), threads);
}

namespace detail {

// Calls visit<N, checked>(step) for N steps from `step` on, until all of `steps` are done: N loads that wait for each
// other would take N times as long. Only where `checked` may a step have nothing to read; `certain` ones have.
template <int steps, int certain, int most = 8, typename Visit>
__device__ __forceinline__ void in_batches(Visit visit) {
    constexpr int whole = certain / most;
    constexpr int rest = steps - whole * most;
#pragma unroll 1
    for (int batch = 0; batch < whole; ++batch) visit.template operator()<most, false>(batch * most);
    if constexpr (rest > 0) visit.template operator()<rest, (steps > certain)>(whole * most);
}

struct Largest {
    __device__ __forceinline__ float operator()(float a, float b) const { return fn::max(a, b); }
};
struct Sum {
    __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};

// Copies `count` elements, at most `most`, by all threads of the block; both places are 16-byte aligned.
template <int threads, int most, typename T>
__device__ __forceinline__ void copy_by_block(T* to, const T* from, int count) {
    constexpr int v = 16 / static_cast<int>(sizeof(T)), steps = ceil_div(most, v * threads);
    const int thread = static_cast<int>(threadIdx.x);
    Vec<T, v> value[steps];  // so that no load waits for another
#pragma unroll
    for (int step = 0; step < steps; ++step) {
        const int at = (step * threads + thread) * v;
        if (at + v <= count) value[step] = load<v>(from + at);
    }
#pragma unroll
    for (int step = 0; step < steps; ++step) {
        const int at = (step * threads + thread) * v;
        if (at + v <= count) *reinterpret_cast<uint4*>(to + at) = bits_as<uint4>(value[step]);
    }
    for (int at = count / v * v + thread; at < count; at += threads) to[at] = from[at];
}

// What the lane `offset` apart has.
__device__ __forceinline__ float exchanged(float value, int offset) {
    return __shfl_xor_sync(0xffffffffu, value, offset);
}

// `op` over the values of all lanes of a row, in a fixed order; every lane gets it. All threads of the block must call.
template <RowTile tile, typename V, typename Op>
__device__ __forceinline__ V over_row(V value, Op op) {
    constexpr int in_warp = tile.lanes < 32 ? tile.lanes : 32;
#pragma unroll
    for (int offset = in_warp / 2; offset > 0; offset /= 2) {
        value = op(value, exchanged(value, offset));
    }
    if constexpr (tile.lanes > 32) {
        constexpr int warps = tile.lanes / 32;
        __shared__ V partial[warps];
        const int thread = static_cast<int>(threadIdx.x);
        __syncthreads();  // the values of the call before have been read
        if (thread % 32 == 0) partial[thread / 32] = value;
        __syncthreads();
        value = partial[0];
#pragma unroll
        for (int warp = 1; warp < warps; ++warp) value = op(value, partial[warp]);
    }
    return value;
}

template <RowTile tile, RowShape shape>
__host__ __device__ constexpr void check_rows() {
    static_assert(shape.c % tile.v == 0, "tile.v must divide the row");
    static_assert(tile.threads % 32 == 0 && tile.threads <= 1024);
    static_assert((tile.lanes & (tile.lanes - 1)) == 0 && (tile.lanes <= 32 || tile.lanes == tile.threads));
}

}  // namespace detail
}  // namespace cnngen
