// Softmax, or its logarithm, in float, the row's largest value subtracted first: over the innermost axis, or over an
// axis with others inside it.
#pragma once

#include <cstdint>

#include "rows.cuh"

namespace cnngen {
namespace detail {

// Turns a row, whose values are spread over the registers of its lanes, into its softmax. What lies beyond the row is
// -INFINITY. All threads of the block must call.
template <RowTile tile, bool log, int steps>
__device__ __forceinline__ void to_softmax(float (&value)[steps][tile.v]) {
    float largest = -INFINITY;
#pragma unroll
    for (int step = 0; step < steps; ++step) {
#pragma unroll
        for (int v = 0; v < tile.v; ++v) largest = fn::max(value[step][v], largest);
    }
    largest = over_row<tile>(largest, Largest());
    float sum = 0.0f;
#pragma unroll
    for (int step = 0; step < steps; ++step) {
#pragma unroll
        for (int v = 0; v < tile.v; ++v) {
            const float power = fn::exp(value[step][v] - largest);
            value[step][v] = log ? value[step][v] - largest : power;
            sum += power;
        }
    }
    sum = over_row<tile>(sum, Sum());
    const float scale = log ? fn::log(sum) : 1.0f / sum;
#pragma unroll
    for (int step = 0; step < steps; ++step) {
#pragma unroll
        for (int v = 0; v < tile.v; ++v) value[step][v] = log ? value[step][v] - scale : value[step][v] * scale;
    }
}

// As softmax below, of neighbouring rows at a time, which lie in shared memory as they do in x and y.
template <typename T, RowTile tile, RowShape shape, bool log, typename Y>
__device__ __forceinline__ void staged_softmax(int rows, const T* x, Y* y) {
    constexpr int together = tile.threads / tile.lanes, most = together * shape.c;
    constexpr int steps = ceil_div(shape.c / tile.v, tile.lanes);
    static_assert(most * sizeof(T) % 16 == 0 && most * sizeof(Y) % 16 == 0, "blocks must begin aligned");
    alignas(16) __shared__ unsigned char memory[most * (sizeof(T) > sizeof(Y) ? sizeof(T) : sizeof(Y))];
    T* const from = reinterpret_cast<T*>(memory);
    Y* const to = reinterpret_cast<Y*>(memory);
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * together;
    const int live = static_cast<int>(rows - first < together ? rows - first : together);
    const int lane = static_cast<int>(threadIdx.x) % tile.lanes, row = static_cast<int>(threadIdx.x) / tile.lanes;

    copy_by_block<tile.threads, most>(from, x + first * shape.c, live * shape.c);
    __syncthreads();
    float value[steps][tile.v];
#pragma unroll
    for (int step = 0; step < steps; ++step) {
        const int i = (step * tile.lanes + lane) * tile.v;
        to_float(load_if<tile.v>(row < live && i < shape.c, from + row * shape.c + i, -INFINITY), value[step]);
    }
    to_softmax<tile, log>(value);
    __syncthreads();  // all has been read: results may be larger
#pragma unroll
    for (int step = 0; step < steps; ++step) {
        const int i = (step * tile.lanes + lane) * tile.v;
        if (row >= live || i >= shape.c) continue;
#pragma unroll
        for (int v = 0; v < tile.v; ++v) to[row * shape.c + i + v] = from_float<Y>(value[step][v]);
    }
    __syncthreads();
    copy_by_block<tile.threads, most>(y + first * shape.c, to, live * shape.c);
}

}  // namespace detail

// y[row, i] = exp(x[row, i]) / sum over j of exp(x[row, j]), or the logarithm of that. x, y: [rows, shape.c].
//
// Launch: blocks(shape, tile, rows) blocks of exactly tile.threads threads.
template <typename T, RowTile tile, RowShape shape, bool log = false, typename Y>
__device__ __forceinline__ void softmax(int rows, const T* x, Y* y) {
    constexpr int vectors = shape.c / tile.v;
    constexpr int steps = detail::ceil_div(vectors, tile.lanes);
    constexpr bool kept = steps * tile.v <= 32;  // in registers between the passes; longer rows are read again
    detail::check_rows<tile, shape>();
    if constexpr (tile.staged) return detail::staged_softmax<T, tile, shape, log>(rows, x, y);

    const int lane = static_cast<int>(threadIdx.x) % tile.lanes;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (tile.threads / tile.lanes) +
                             static_cast<int>(threadIdx.x) / tile.lanes;
    const bool active = row < rows;  // idle lanes stay for the shuffles
    const T* from = x + row * shape.c;
    Y* to = y + row * shape.c;
    const auto read = [&](int step, float (&value)[tile.v]) {
        const int vector = step * tile.lanes + lane;
        to_float(load_if<tile.v>(active && vector < vectors, from + vector * tile.v, -INFINITY), value);
    };
    const auto write = [&](int step, const float (&value)[tile.v]) {
        const int vector = step * tile.lanes + lane;
        if (active && vector < vectors) store(to + vector * tile.v, from_float<Y>(value));
    };

    if constexpr (kept) {
        float value[steps][tile.v];
#pragma unroll
        for (int step = 0; step < steps; ++step) read(step, value[step]);
        detail::to_softmax<tile, log>(value);
#pragma unroll
        for (int step = 0; step < steps; ++step) write(step, value[step]);
    } else {
        float largest = -INFINITY;
        float sum = 0.0f;
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
        sum = detail::over_row<tile>(sum, detail::Sum());
        const float scale = log ? fn::log(sum) : 1.0f / sum;
#pragma unroll 4
        for (int step = 0; step < steps; ++step) {
            read(step, value);
#pragma unroll
            for (int v = 0; v < tile.v; ++v) {
                const float x = value[v] - largest;
                value[v] = log ? x - scale : fn::exp(x) * scale;
            }
            write(step, value);
        }
    }
}

// y[o, i, k] = exp(x[o, i, k]) / sum over j of exp(x[o, j, k]), or the logarithm of that.
// x, y: [outer, shape.axis, shape.inner].
//
// Launch: blocks(shape, V, threads, outer) blocks of any number of threads.
template <typename T, int V, AxisShape shape, bool log = false, typename Y>
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
        to_float(load<V>(x + start + i * shape.inner), value);
#pragma unroll
        for (int v = 0; v < V; ++v) largest[v] = fn::max(value[v], largest[v]);
    }
#pragma unroll 4
    for (int i = 0; i < shape.axis; ++i) {
        to_float(load<V>(x + start + i * shape.inner), value);
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += fn::exp(value[v] - largest[v]);
    }
#pragma unroll
    for (int v = 0; v < V; ++v) sum[v] = log ? fn::log(sum[v]) : 1.0f / sum[v];
#pragma unroll 4
    for (int i = 0; i < shape.axis; ++i) {
        to_float(load<V>(x + start + i * shape.inner), value);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const float less = value[v] - largest[v];
            value[v] = log ? less - sum[v] : fn::exp(less) * sum[v];
        }
        store(y + start + i * shape.inner, from_float<Y>(value));
    }
}

}  // namespace cnngen
