// Direct convolution, NHWC, any number of groups: for what has no cuDNN plan. A depthwise one (groups equal to input
// and output channels) belongs to depthwise.cuh.
#pragma once

#include <cstdint>

#include "window.cuh"

namespace cnngen {

// One image's geometry; padding and stride as in WindowShape.
struct ConvShape {
    int c, h, w;    // input
    int k, oh, ow;  // output
    int r, s;
    int groups = 1;
    int stride_h = 1, stride_w = 1;
    int dilation_h = 1, dilation_w = 1;
    int pad_top = 0, pad_left = 0;
};

// Threads that one image takes: each computes tile.v output channels of tile.tw pixels of a row.
__host__ __device__ constexpr std::int64_t items(const ConvShape& shape, const Tile& tile) {
    return static_cast<std::int64_t>(shape.k / tile.v) * detail::ceil_div(shape.ow, tile.tw) * shape.oh;
}

// The grid: blocks of tile.threads threads. batch * items must stay below 2^31.
__host__ __device__ constexpr unsigned blocks(const ConvShape& shape, const Tile& tile, int batch) {
    return detail::blocks_of(batch * items(shape, tile), tile.threads);
}

// A tile for tensors of T. Its v divides the output channels of a group, so that a thread's channels share their input.
template <typename T>
__host__ __device__ constexpr Tile conv_tile(const ConvShape& shape, int batch) {
    constexpr std::int64_t enough = 16 * 1024;
    Tile tile = {.v = vector_width<T>(shape.k / shape.groups), .tw = 4, .th = 1, .threads = 128};
    while (tile.tw > 1 && (tile.tw > shape.ow || batch * items(shape, tile) < enough)) tile.tw /= 2;
    while (tile.v > 2 && batch * items(shape, tile) < enough) tile.v /= 2;
    return tile;
}

// y[n, h, w, k] = epilogue(sum over r, s, c of x[n, h * stride - pad + r * dilation, ..., g C + c] * weight[r, s, c,
// k]) where C = shape.c / groups and g = k's group.
//
// x: [batch, shape.h, shape.w, shape.c]; weight: [shape.r, shape.s, shape.c / shape.groups, shape.k], so that
// neighbours read neighbours; y: [batch, shape.oh, shape.ow, shape.k]. Sums in float. Launch: blocks(shape, tile,
// batch) blocks of tile.threads threads.
template <typename T, Tile tile, ConvShape shape, typename W, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void grouped_conv(int batch, const T* x, const W* weight, Y* y,
                                             const Epilogue& epilogue = Epilogue()) {
    static_assert(shape.groups > 0 && shape.c % shape.groups == 0 && shape.k % shape.groups == 0);
    constexpr int group_c = shape.c / shape.groups;
    constexpr int group_k = shape.k / shape.groups;
    static_assert(tile.v > 0 && group_k % tile.v == 0, "tile.v must divide the output channels of a group");
    static_assert(tile.tw > 0 && tile.th == 1, "tiles of grouped_conv are one row high");
    static_assert(static_cast<std::int64_t>(shape.h) * shape.w * shape.c < (std::int64_t{1} << 31) &&
                      static_cast<std::int64_t>(shape.oh) * shape.ow * shape.k < (std::int64_t{1} << 31) &&
                      static_cast<std::int64_t>(shape.k) * shape.r * shape.s * group_c < (std::int64_t{1} << 31),
                  "one image, and the filters, must have fewer than 2^31 elements");
    // Input channels of one access. More of each pixel would take too many registers beside acc.
    constexpr int cv = vector_width<T>(group_c) < 4 ? vector_width<T>(group_c) : 4;
    // A row of the input is read once for all taps of a filter's row, where registers hold it; else tap by tap.
    constexpr int row_span = (tile.tw - 1) * shape.stride_w + (shape.s - 1) * shape.dilation_w + 1;
    constexpr int taps = row_span * cv <= 64 ? shape.s : 1;
    constexpr int span = (tile.tw - 1) * shape.stride_w + (taps - 1) * shape.dilation_w + 1;
    constexpr unsigned k_groups = shape.k / tile.v;
    constexpr unsigned columns = detail::ceil_div(shape.ow, tile.tw);

    unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
    const int k = static_cast<int>(item % k_groups) * tile.v;
    item /= k_groups;
    const int ow = static_cast<int>(item % columns) * tile.tw;
    item /= columns;
    const int oh = static_cast<int>(item % shape.oh);
    const int n = static_cast<int>(item / shape.oh);
    if (n >= batch) return;

    const T* image = x + static_cast<std::int64_t>(n) * (shape.h * shape.w * shape.c) + k / group_k * group_c;
    float acc[tile.tw][tile.v] = {};
#pragma unroll 1
    for (int r = 0; r < shape.r; ++r) {
        const int ih = oh * shape.stride_h - shape.pad_top + r * shape.dilation_h;
        if (ih < 0 || ih >= shape.h) continue;
#pragma unroll 1
        for (int s = 0; s < shape.s; s += taps) {
            const int left = ow * shape.stride_w - shape.pad_left + s * shape.dilation_w;
#pragma unroll 1
            for (int c = 0; c < group_c; c += cv) {
                float value[span][cv];
#pragma unroll
                for (int j = 0; j < span; ++j) {
                    const T* from = image + ((ih * shape.w + left + j) * shape.c + c);
                    to_float(load_if<cv>(static_cast<unsigned>(left + j) < static_cast<unsigned>(shape.w), from, 0.0f),
                             value[j]);
                }
#pragma unroll
                for (int tap = 0; tap < taps; ++tap) {
#pragma unroll
                    for (int i = 0; i < cv; ++i) {
                        float filter[tile.v];
                        const W* from = weight + (((r * shape.s + s + tap) * group_c + c + i) * shape.k + k);
                        to_float(load_readonly<tile.v>(from), filter);
#pragma unroll
                        for (int j = 0; j < tile.tw; ++j) {
#pragma unroll
                            for (int v = 0; v < tile.v; ++v) {
                                acc[j][v] =
                                    fmaf(value[j * shape.stride_w + tap * shape.dilation_w][i], filter[v], acc[j][v]);
                            }
                        }
                    }
                }
            }
        }
    }

#pragma unroll
    for (int j = 0; j < tile.tw; ++j) {
        if (ow + j < shape.ow) epilogue(acc[j], n, k, oh, ow + j);
    }
    Y* row = y + static_cast<std::int64_t>(n) * (shape.oh * shape.ow * shape.k) + oh * shape.ow * shape.k + k;
#pragma unroll
    for (int j = 0; j < tile.tw; ++j) {
        if (ow + j < shape.ow) store(row + (ow + j) * shape.k, from_float<Y>(acc[j]));
    }
}

}  // namespace cnngen
