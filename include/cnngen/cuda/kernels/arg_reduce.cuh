// Where along an axis the largest or smallest value stands, the first or the last of equals; a NaN is more than any
// number of either kind. The result is a float for the epilogue: exact up to 2^24.
#pragma once

#include <cstdint>

#include "functions.cuh"
#include "rows.cuh"

namespace cnngen {

enum class Extreme { max, min };

namespace detail {

// A value and its place; a place below 0 is none.
struct Found {
    float value;
    int place;
};

__device__ __forceinline__ Found exchanged(const Found& found, int offset) {
    return {exchanged(found.value, offset), __shfl_xor_sync(0xffffffffu, found.place, offset)};
}

// The one of two that is to be found.
template <Extreme extreme, bool last>
struct Better {
    __device__ __forceinline__ Found operator()(const Found& a, const Found& b) const {
        if (a.place < 0 || b.place < 0) return a.place < 0 ? b : a;
        const bool a_is_nan = a.value != a.value;
        const bool b_is_nan = b.value != b.value;
        if (a_is_nan != b_is_nan) return a_is_nan ? a : b;
        if (!a_is_nan && a.value != b.value) return ((a.value > b.value) == (extreme == Extreme::max)) ? a : b;
        return ((a.place > b.place) == last) ? a : b;
    }
};

}  // namespace detail

// y[row] = epilogue(place in x[row, :]); the epilogue is called with n = row and c = h = w = 0.
//
// x: [rows, shape.c]; y: [rows]. Launch: blocks(shape, tile, rows) blocks of exactly tile.threads threads.
template <typename T, RowTile tile, RowShape shape, Extreme extreme, bool last, typename Y,
          typename Epilogue = NoEpilogue>
__device__ __forceinline__ void arg_rows(int rows, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    constexpr detail::Better<extreme, last> better;
    detail::check_rows<tile, shape>();
    const int lane = static_cast<int>(threadIdx.x) % tile.lanes;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (tile.threads / tile.lanes) +
                             static_cast<int>(threadIdx.x) / tile.lanes;
    const bool active = row < rows;  // idle lanes stay for the shuffles
    const T* from = x + row * shape.c;
    detail::Found best = {0.0f, -1};
#pragma unroll 4
    for (int vector = lane * tile.v; vector < shape.c; vector += tile.lanes * tile.v) {
        if (!active) continue;
        float value[tile.v];
        to_float(load_readonly<tile.v>(from + vector), value);
#pragma unroll
        for (int v = 0; v < tile.v; ++v) best = better(best, detail::Found{value[v], vector + v});
    }
    best = detail::over_row<tile>(best, better);
    if (active && lane == 0) {
        float acc[1] = {static_cast<float>(best.place)};
        epilogue(acc, static_cast<int>(row), 0, 0, 0);
        y[row] = from_float<Y>(acc[0]);
    }
}

// y[n, c] = epilogue(place in x[n, :, c]); the epilogue is called with h = w = 0.
//
// x: [outer, shape.axis, shape.inner]; y: [outer, shape.inner].
// Launch: blocks(shape, V, threads, outer) blocks of any number of threads.
template <typename T, int V, AxisShape shape, Extreme extreme, bool last, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void arg_columns(int outer, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    constexpr unsigned vectors = shape.inner / V;
    constexpr detail::Better<extreme, last> better;
    static_assert(shape.inner % V == 0, "V must divide the inner size");
    static_assert(static_cast<std::int64_t>(shape.axis) * shape.inner < (std::int64_t{1} << 31));
    const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
    const int n = static_cast<int>(item / vectors);
    if (n >= outer) return;
    const int c = static_cast<int>(item % vectors) * V;
    const T* from = x + static_cast<std::int64_t>(n) * (shape.axis * shape.inner) + c;
    detail::Found best[V];
#pragma unroll
    for (int v = 0; v < V; ++v) best[v] = {0.0f, -1};
#pragma unroll 4
    for (int i = 0; i < shape.axis; ++i) {
        float value[V];
        to_float(load_readonly<V>(from + i * shape.inner), value);
#pragma unroll
        for (int v = 0; v < V; ++v) best[v] = better(best[v], detail::Found{value[v], i});
    }
    float acc[V];
#pragma unroll
    for (int v = 0; v < V; ++v) acc[v] = static_cast<float>(best[v].place);
    epilogue(acc, n, c, 0, 0);
    store(y + static_cast<std::int64_t>(n) * shape.inner + c, from_float<Y>(acc));
}

}  // namespace cnngen
