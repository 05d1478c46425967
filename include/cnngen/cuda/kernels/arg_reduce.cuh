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

// Looks at one more value, whose place is behind those of all before it.
template <Extreme extreme, bool last>
__device__ __forceinline__ void look_at(Found& best, float value, int place) {
    const bool more = extreme == Extreme::max ? (last ? value >= best.value : value > best.value)
                                              : (last ? value <= best.value : value < best.value);
    const bool is_nan = value != value && (last || best.value == best.value);
    const bool take = best.place < 0 || more || is_nan;
    best.value = take ? value : best.value;
    best.place = take ? place : best.place;
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
    const T* from = x + (active ? row : rows - 1) * shape.c;
    constexpr int vectors = shape.c / tile.v;
    detail::Found best = {0.0f, -1};
    detail::in_batches<detail::ceil_div(vectors, tile.lanes), vectors / tile.lanes>([&]<int N, bool checked>(int step) {
        Vec<T, tile.v> input[N];
#pragma unroll
        for (int n = 0; n < N; ++n) {
            const int vector = (step + n) * tile.lanes + lane;
            input[n] = load_if<tile.v>(!checked || vector < vectors, from + vector * tile.v, 0.0f);
        }
#pragma unroll
        for (int n = 0; n < N; ++n) {
            const int vector = (step + n) * tile.lanes + lane;
            if (checked && vector >= vectors) break;
            float value[tile.v];
            to_float(input[n], value);
#pragma unroll
            for (int v = 0; v < tile.v; ++v) {
                detail::look_at<extreme, last>(best, value[v], vector * tile.v + v);
            }
        }
    });
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
    detail::in_batches<shape.axis, shape.axis>([&]<int N, bool>(int first) {
        Vec<T, V> input[N];
#pragma unroll
        for (int i = 0; i < N; ++i) input[i] = load<V>(from + (first + i) * shape.inner);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            float value[V];
            to_float(input[i], value);
#pragma unroll
            for (int v = 0; v < V; ++v) detail::look_at<extreme, last>(best[v], value[v], first + i);
        }
    });
    float acc[V];
#pragma unroll
    for (int v = 0; v < V; ++v) acc[v] = static_cast<float>(best[v].place);
    epilogue(acc, n, c, 0, 0);
    store(y + static_cast<std::int64_t>(n) * shape.inner + c, from_float<Y>(acc));
}

}  // namespace cnngen
