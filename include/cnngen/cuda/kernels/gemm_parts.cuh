// What convolutions on tensor cores share: how their operands lie in shared memory, how their sums leave it.
#pragma once

#include <cstdint>
#include <type_traits>

#include "early_start.cuh"
#include "functions.cuh"
#include "gemm_shape.hpp"
#include "rows.cuh"
#include "tensor_core.cuh"
#include "window.cuh"

namespace cnngen::detail {

// A buffer of rows of `depth` elements in shared memory. The 16-byte chunks of a row change places by the row's number,
// so that eight rows' chunks of one column lie in different banks.
template <int depth>
__device__ __forceinline__ int chunk_place(int row, int chunk) {
    if constexpr (depth == 64) return row * 64 + (chunk ^ (row & 7)) * 8;
    return row * 32 + (chunk ^ ((row >> 1) & 3)) * 8;
}

// Eight elements; zeros where they do not `exist`.
template <typename T>
__device__ __forceinline__ uint4 eight_or_zeros(const T* from, bool exists) {
    return exists ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
}

// Products of two depths of 16, of which a thread has eight elements that lie together in each of its rows:
// sums += left right^T. left: rows lane / 4, and so many times 8 behind it; right: of each fragment row lane / 4.
template <typename T, int rows, int ni>
__device__ __forceinline__ void multiply_eights(const uint4 (&left)[rows], const uint4 (&right)[ni],
                                                float (&sums)[rows / 2][ni][4]) {
#pragma unroll
    for (int i = 0; i < rows / 2; ++i) {
        const uint4 &upper = left[2 * i], &lower = left[2 * i + 1];
        const std::uint32_t a[2][4] = {{upper.x, lower.x, upper.y, lower.y}, {upper.z, lower.z, upper.w, lower.w}};
#pragma unroll
        for (int j = 0; j < ni; ++j) {
            const std::uint32_t b[2][2] = {{right[j].x, right[j].y}, {right[j].z, right[j].w}};
            ptx::multiply<T>(sums[i][j], a[0], b[0]);
            ptx::multiply<T>(sums[i][j], a[1], b[1]);
        }
    }
}

// A warp's sums from their fragments into rows of `pitch` floats in shared memory, from a row and a column on.
template <int pitch, int mi, int ni>
__device__ __forceinline__ void put_sums(float* to, int first_row, int first_column, int lane,
                                         const float (&sums)[mi][ni][4]) {
#pragma unroll
    for (int i = 0; i < mi; ++i) {
#pragma unroll
        for (int j = 0; j < ni; ++j) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int row = first_row + i * 16 + half * 8 + lane / 4;
                const int column = first_column + j * 8 + lane % 4 * 2;
                *reinterpret_cast<float2*>(to + row * pitch + column) =
                    make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
            }
        }
    }
}

// The epilogue of tile.v filters from k on, of `filters` that y's pixel `to` has.
template <auto tile, typename Epilogue>
__device__ __forceinline__ void finish_filters(const GemmShape& shape, std::int64_t to, int filters, int k,
                                               float (&acc)[tile.v], const Epilogue& epilogue) {
    if constexpr (std::is_invocable_v<const Epilogue&, float (&)[tile.v], std::int64_t, int>) {
        epilogue(acc, to * filters + k, k);
    } else {
        const int n = static_cast<int>(to / (shape.y_h * shape.y_w));
        const int place = static_cast<int>(to - static_cast<std::int64_t>(n) * (shape.y_h * shape.y_w));
        epilogue(acc, n, k, place / shape.y_w, place % shape.y_w);
    }
}

// The epilogue of tile.v filters from k on at a pixel, and their place in y.
template <auto tile, typename Y, typename Epilogue>
__device__ __forceinline__ void store_filters(const GemmShape& shape, int pixel, int k, float (&acc)[tile.v], Y* y,
                                              const Epilogue& epilogue) {
    int filters = shape.k;
    std::int64_t to = pixel;
    if constexpr (tile.interleaves) {
        filters /= shape.phases_h * shape.phases_w;
        const int phase = k / filters;
        k -= phase * filters;
        const int n = pixel / (shape.oh * shape.ow), place = pixel - n * (shape.oh * shape.ow);
        const int h = place / shape.ow * shape.phases_h + phase / shape.phases_w;
        const int w = place % shape.ow * shape.phases_w + phase % shape.phases_w;
        if (h >= shape.y_h || w >= shape.y_w) return;
        to = (static_cast<std::int64_t>(n) * shape.y_h + h) * shape.y_w + w;
    }
    finish_filters<tile>(shape, to, filters, k, acc, epilogue);
    store(y + to * shape.y_pixel + k, from_float<Y>(acc));
}

}  // namespace cnngen::detail
