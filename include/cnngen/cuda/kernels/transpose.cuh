// Elements whose neighbours in the input are not those in the output: other layouts, transposes, shuffles of channels.
#pragma once

#include <cstdint>

#include "vector.cuh"
#include "window.cuh"

namespace cnngen {

// A matrix of `rows` x `columns`: element (i, j) lies at i * row_pitch + j in the input, at j * column_pitch + i in the
// output. The input has only `readable` of the rows; others are 0.
struct TransposeShape {
    int rows, columns;
    int row_pitch, column_pitch;
    int readable;
};

// A thread turns v rows x w columns in registers: v loads of w elements, w stores of v. `across` threads of a block
// stand side by side along the columns.
struct TransposeTile {
    int v, w;
    int across;
    int threads;

    __host__ __device__ constexpr int down() const { return threads / across; }
};

// The grid of a matrix: blocks of tile.threads threads.
__host__ __device__ constexpr unsigned blocks(const TransposeShape& shape, const TransposeTile& tile) {
    return static_cast<unsigned>(detail::ceil_div(shape.columns, tile.w * tile.across)) *
           static_cast<unsigned>(detail::ceil_div(shape.rows, tile.v * tile.down()));
}

// The epilogue of a kernel that stores elements as they are.
struct NoPlaceEpilogue {
    template <int V>
    __device__ __forceinline__ void operator()(float (&)[V], int) const {}
};

// y[j * column_pitch + i] = epilogue(x[i * row_pitch + j]) in one block of a matrix. The epilogue is called for v
// neighbours of y with the place of the first: (float (&acc)[v], int place).
template <typename T, TransposeTile tile, TransposeShape shape, typename Y, typename Epilogue = NoPlaceEpilogue>
__device__ __forceinline__ void transpose(unsigned block, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    constexpr unsigned across = detail::ceil_div(shape.columns, tile.w * tile.across);
    static_assert(tile.threads % tile.across == 0 && shape.readable <= shape.rows);
    static_assert(shape.rows % tile.v == 0 && shape.column_pitch % tile.v == 0, "tile.v must divide the stores' rows");
    static_assert(shape.columns % tile.w == 0 && shape.row_pitch % tile.w == 0, "tile.w must divide the loads' rows");
    static_assert(static_cast<std::int64_t>(shape.rows) * shape.row_pitch < (std::int64_t{1} << 31) &&
                      static_cast<std::int64_t>(shape.columns) * shape.column_pitch < (std::int64_t{1} << 31),
                  "a matrix must span fewer than 2^31 elements");
    const int thread = static_cast<int>(threadIdx.x);
    const int column = (static_cast<int>(block % across) * tile.across + thread % tile.across) * tile.w;
    const int row = (static_cast<int>(block / across) * tile.down() + thread / tile.across) * tile.v;
    if (row >= shape.rows || column >= shape.columns) return;

    Vec<T, tile.w> input[tile.v];
#pragma unroll
    for (int i = 0; i < tile.v; ++i) {
        const bool inside = shape.readable == shape.rows || row + i < shape.readable;
        input[i] = load_if<tile.w>(inside, x + ((row + i) * shape.row_pitch + column), 0.0f);
    }
    float value[tile.w][tile.v];
#pragma unroll
    for (int i = 0; i < tile.v; ++i) {
        float part[tile.w];
        to_float(input[i], part);
#pragma unroll
        for (int j = 0; j < tile.w; ++j) value[j][i] = part[j];
    }
    const int first = column * shape.column_pitch + row;
#pragma unroll
    for (int j = 0; j < tile.w; ++j) epilogue(value[j], first + j * shape.column_pitch);
#pragma unroll
    for (int j = 0; j < tile.w; ++j) store(y + (first + j * shape.column_pitch), from_float<Y>(value[j]));
}

}  // namespace cnngen
