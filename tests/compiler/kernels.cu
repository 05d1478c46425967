// The kernels as generated code calls them: compiled by test_kernels.py for a GPU, never run. Each line below the
// macros is one __global__ kernel; the test counts them, and allows no spill.
#include "cnngen/cuda/kernels/arg_reduce.cuh"
#include "cnngen/cuda/kernels/depthwise.cuh"
#include "cnngen/cuda/kernels/diagonal_depthwise.cuh"
#include "cnngen/cuda/kernels/functions.cuh"
#include "cnngen/cuda/kernels/grouped_conv.cuh"
#include "cnngen/cuda/kernels/max_pools.cuh"
#include "cnngen/cuda/kernels/pool.cuh"
#include "cnngen/cuda/kernels/reduce.cuh"
#include "cnngen/cuda/kernels/softmax.cuh"
#include "cnngen/cuda/kernels/squeeze_excite.cuh"

using namespace cnngen;
using half = __half;
using bfloat16 = __nv_bfloat16;

namespace {

// Bias and ReLU6; a residual, where there is one, after them.
template <typename T>
struct Epilogue {
    const float* bias;
    const T* residual;
    int oh, ow, channels;

    template <int V>
    __device__ __forceinline__ void operator()(float (&acc)[V], int n, int c, int h, int w) const {
        float b[V], r[V] = {};
        to_float(load_readonly<V>(bias + c), b);
        if (residual != nullptr) {
            to_float(load_readonly<V>(residual + (((static_cast<long long>(n) * oh + h) * ow + w) * channels + c)), r);
        }
#pragma unroll
        for (int v = 0; v < V; ++v) acc[v] = fn::relu6(acc[v] + b[v]) + r[v];
    }
};

constexpr WindowShape same(int c, int size, int taps, int stride = 1) {
    const int pad = taps / 2;
    const int out = (size + 2 * pad - taps) / stride + 1;
    return {.c = c,
            .h = size,
            .w = size,
            .oh = out,
            .ow = out,
            .r = taps,
            .s = taps,
            .stride_h = stride,
            .stride_w = stride,
            .pad_top = pad,
            .pad_left = pad,
            .pad_bottom = pad,
            .pad_right = pad};
}

constexpr MaxPoolsShape pools(int c, int size, int kernel, int count, bool keeps_x) {
    return {.c = c, .h = size, .w = size, .kernel = kernel, .count = count, .keeps_x = keeps_x};
}

constexpr ConvShape grouped(int c, int size, int k, int groups) {
    return {.c = c,
            .h = size,
            .w = size,
            .k = k,
            .oh = size,
            .ow = size,
            .r = 3,
            .s = 3,
            .groups = groups,
            .pad_top = 1,
            .pad_left = 1};
}

}  // namespace

#define DEPTHWISE(name, T, window, ...)                                                                           \
    constexpr WindowShape name##_shape = window;                                                                  \
    constexpr Tile name##_tile = __VA_ARGS__;                                                                     \
    __global__ void __launch_bounds__(name##_tile.threads)                                                        \
        name(int batch, const T* __restrict__ x, const T* __restrict__ weight, const float* __restrict__ bias,    \
             const T* __restrict__ residual, T* __restrict__ y) {                                                 \
        constexpr WindowShape s = name##_shape;                                                                   \
        depthwise<T, name##_tile, s>(batch, x, weight, nullptr, y, Epilogue<T>{bias, residual, s.oh, s.ow, s.c}); \
    }
#define DIAGONAL(name, T, window, ...)                                                                             \
    constexpr WindowShape name##_shape = window;                                                                   \
    constexpr DiagonalTile name##_tile = __VA_ARGS__;                                                              \
    __global__ void __launch_bounds__(name##_tile.threads)                                                         \
        name(int batch, const T* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias, \
             const T* __restrict__ residual, T* __restrict__ y) {                                                  \
        constexpr WindowShape s = name##_shape;                                                                    \
        diagonal_depthwise<T, name##_tile, s>(batch, x, weight, bias, y,                                           \
                                              Epilogue<T>{bias, residual, s.oh, s.ow, s.c});                       \
    }
#define POOL(name, T, call, window, ...)                                                              \
    constexpr WindowShape name##_shape = window;                                                      \
    constexpr Tile name##_tile = __VA_ARGS__;                                                         \
    __global__ void __launch_bounds__(name##_tile.threads)                                            \
        name(int batch, const T* __restrict__ x, const float* __restrict__ bias, T* __restrict__ y) { \
        constexpr WindowShape s = name##_shape;                                                       \
        constexpr Tile tile = name##_tile;                                                            \
        call(batch, x, y, Epilogue<T>{bias, nullptr, s.oh, s.ow, s.c});                               \
    }
#define POOLS(name, T, shape_, ...)                                                                   \
    constexpr MaxPoolsShape name##_shape = shape_;                                                    \
    constexpr MaxPoolsTile name##_tile = __VA_ARGS__;                                                 \
    __global__ void __launch_bounds__(name##_tile.threads)                                            \
        name(int batch, const T* __restrict__ x, const float* __restrict__ bias, T* __restrict__ y) { \
        constexpr MaxPoolsShape s = name##_shape;                                                     \
        max_pools<T, name##_tile, s>(batch, x, y, Epilogue<T>{bias, nullptr, s.h, s.w, s.c});         \
    }
#define CONV(name, T, ...)                                                                                     \
    constexpr ConvShape name##_shape = __VA_ARGS__;                                                            \
    constexpr Tile name##_tile = conv_tile<T>(name##_shape, 1);                                                \
    __global__ void __launch_bounds__(name##_tile.threads, 3)                                                  \
        name(int batch, const T* __restrict__ x, const T* __restrict__ weight, const float* __restrict__ bias, \
             const T* __restrict__ residual, T* __restrict__ y) {                                              \
        constexpr ConvShape s = name##_shape;                                                                  \
        grouped_conv<T, name##_tile, s>(batch, x, weight, y, Epilogue<T>{bias, residual, s.oh, s.ow, s.k});    \
    }
#define REDUCE(name, T, op, batch_size, ...)                                                          \
    constexpr ReduceShape name##_shape = __VA_ARGS__;                                                 \
    constexpr ReduceTile name##_tile = reduce_tile<T>(name##_shape, batch_size);                      \
    __global__ void __launch_bounds__(name##_tile.threads(),                                          \
                                      name##_tile.threads() < 512 ? 512 / name##_tile.threads() : 1)  \
        name(int batch, const T* __restrict__ x, const float* __restrict__ bias, T* __restrict__ y) { \
        reduce<T, name##_tile, name##_shape, op>(batch, x, y, Epilogue<T>{bias, nullptr, 1, 1, 1});   \
    }
#define ROWS(name, T, c, call)                                           \
    constexpr RowTile name##_tile = row_tile<T>({c});                    \
    __global__ void __launch_bounds__(name##_tile.threads)               \
        name(int rows, const T* __restrict__ x, float* __restrict__ y) { \
        constexpr RowTile tile = name##_tile;                            \
        constexpr RowShape s = {c};                                      \
        call(rows, x, y);                                                \
    }
#define SOFTMAX(name, T, Y, c)                                       \
    constexpr RowTile name##_tile = row_tile<T>({c});                \
    __global__ void __launch_bounds__(name##_tile.threads)           \
        name(int rows, const T* __restrict__ x, Y* __restrict__ y) { \
        softmax<T, name##_tile, RowShape{c}>(rows, x, y);            \
    }
#define SOFTMAX_STRIDED(name, T, V, axis, inner)                                                         \
    __global__ void __launch_bounds__(256) name(int outer, const T* __restrict__ x, T* __restrict__ y) { \
        softmax_strided<T, V, AxisShape{axis, inner}>(outer, x, y);                                      \
    }
#define SQUEEZE(name, T, call, channels, units, count, ...)                                     \
    __global__ void __launch_bounds__(512)                                                      \
        name(int batch, const T* x, const T* __restrict__ w1, const T* __restrict__ w2,         \
             const T* __restrict__ hidden_bias, const T* __restrict__ bias, T* y) {             \
        constexpr SqueezeExciteTile tile = __VA_ARGS__;                                         \
        constexpr SqueezeExciteShape shape = {.c = channels, .hidden = units, .pixels = count}; \
        const auto hidden = [&](int, int m) {                                                   \
            const float v0 = to_float(hidden_bias[m]);                                          \
            return [=](float (&acc)[1]) { acc[0] = fn::silu(acc[0] + v0); };                    \
        };                                                                                      \
        const auto gate = [&](int, int c) {                                                     \
            const float v0 = to_float(bias[c]);                                                 \
            return [=](float (&acc)[1]) { acc[0] = fn::sigmoid(acc[0] + v0); };                 \
        };                                                                                      \
        call<T, tile, shape>(batch, x, w1, w2, y, hidden, gate);                                \
    }

DEPTHWISE(dw_32x112, half, same(32, 112, 3), window_tile<half>(dw_32x112_shape, 64))
DEPTHWISE(dw_32x112_small, half, same(32, 112, 3), window_tile<half>(dw_32x112_small_shape, 1))
DEPTHWISE(dw_96x112_s2, half, same(96, 112, 3, 2), window_tile<half>(dw_96x112_s2_shape, 64))
DEPTHWISE(dw_96x112_s2_small, half, same(96, 112, 3, 2), window_tile<half>(dw_96x112_s2_small_shape, 1))
DEPTHWISE(dw_144x56, half, same(144, 56, 3), window_tile<half>(dw_144x56_shape, 1))
DEPTHWISE(dw_192x28, bfloat16, same(192, 28, 3), window_tile<bfloat16>(dw_192x28_shape, 1))
DEPTHWISE(dw_384x14, half, same(384, 14, 3), window_tile<half>(dw_384x14_shape, 1))
DEPTHWISE(dw_960x7, half, same(960, 7, 3), window_tile<half>(dw_960x7_shape, 1))
DEPTHWISE(dw_960x7_large, half, same(960, 7, 3), window_tile<half>(dw_960x7_large_shape, 64))
DEPTHWISE(dw_240x28_5x5, half, same(240, 28, 5), window_tile<half>(dw_240x28_5x5_shape, 64))
DEPTHWISE(dw_240x28_5x5_small, half, same(240, 28, 5), window_tile<half>(dw_240x28_5x5_small_shape, 1))
DEPTHWISE(dw_96x56_7x7, half, same(96, 56, 7), window_tile<half>(dw_96x56_7x7_shape, 64))
DEPTHWISE(dw_64x32_31x31, half, same(64, 32, 31), window_tile<half>(dw_64x32_31x31_shape, 8))
DEPTHWISE(dw_float, float, same(32, 112, 3), window_tile<float>(dw_float_shape, 64))
DEPTHWISE(dw_float_s2, float, same(96, 112, 3, 2), window_tile<float>(dw_float_s2_shape, 64))
DIAGONAL(diagonal_5x5, half, same(128, 112, 5), {.th = 4, .steps = 4})
DIAGONAL(diagonal_7x7, bfloat16, same(96, 56, 7), {.th = 4})
DIAGONAL(diagonal_small, half, same(1152, 7, 5), {.th = 4, .wide = false})
DEPTHWISE(dw_odd_channels, half, same(27, 40, 3), window_tile<half>(dw_odd_channels_shape, 64))

POOL(max_3x3_s2, half, (max_pool<half, tile, s>), same(64, 112, 3, 2), window_tile<half>(max_3x3_s2_shape, 64))
POOL(max_2x2, float, (max_pool<float, tile, s>), same(64, 112, 2, 2), {.v = 4})
POOL(max_13x13, half, (max_pool<half, tile, s>), same(512, 13, 13), window_tile<half>(max_13x13_shape, 1))
POOL(sum_3x3, float, (sum_pool<float, tile, s>), same(64, 112, 3, 2), window_tile<float>(sum_3x3_shape, 64))
POOL(arg_max_2x2, half, (arg_max_pool<half, tile, s>), same(64, 112, 2, 2), window_tile<half>(arg_max_2x2_shape, 64))
POOL(avg_3x3, half, (avg_pool<half, tile, s, false>), same(192, 35, 3), window_tile<half>(avg_3x3_shape, 64))
POOL(avg_padded, bfloat16, (avg_pool<bfloat16, tile, s, true>), same(192, 35, 3), {.v = 8, .tw = 2})

POOLS(pools_5x5, half, pools(256, 56, 5, 1, false), {.v = 8, .groups = 2, .tw = 16, .th = 16, .run = 7, .threads = 256})
POOLS(pools_9x9, half, pools(256, 26, 9, 1, false), {8, 1, 13, 13, 7, 256})
POOLS(pools_float, float, pools(256, 26, 7, 1, false), {4, 2, 13, 13, 7, 256})
POOLS(pyramid_5x5, half, pools(512, 40, 5, 3, true),
      {.v = 8, .groups = 1, .tw = 20, .th = 20, .run = 7, .threads = 256})

CONV(resnext, half, grouped(128, 56, 128, 32))
CONV(resnext_wide, half, grouped(512, 14, 512, 32))
CONV(dense_float, float, grouped(3, 64, 32, 1))
CONV(multiplier, bfloat16, grouped(24, 32, 48, 24))

REDUCE(mean_2048x7, half, Reduction::mean, 1, {.c = 2048, .count = 49})
REDUCE(mean_2048x7_large, half, Reduction::mean, 64, {.c = 2048, .count = 49})
REDUCE(mean_32x112, half, Reduction::mean, 1, {.c = 32, .count = 12544})
REDUCE(max_odd, float, Reduction::max, 8, {.c = 27, .count = 900})
REDUCE(variance_64x128, half, Reduction::variance, 1, {.c = 64, .count = 16384})
ROWS(reduce_rows_768, half, 768, (reduce_rows<half, tile, s, Reduction::sum_squares>))
ROWS(variance_rows_768, float, 768, (reduce_rows<float, tile, s, Reduction::variance>))
ROWS(variance_rows_65536, half, 65536, (reduce_rows<half, tile, s, Reduction::variance>))
ROWS(arg_rows_1000, half, 1000, (arg_rows<half, tile, s, Extreme::max, false>))
ROWS(log_softmax_1000, half, 1000, (softmax<half, tile, s, true>))

SOFTMAX(softmax_1000, half, float, 1000)
SOFTMAX(softmax_1000_float, float, float, 1000)
SOFTMAX(softmax_21, half, half, 21)
SOFTMAX(softmax_2, float, float, 2)
SOFTMAX(softmax_50000, half, half, 50000)
SOFTMAX_STRIDED(softmax_middle, half, 8, 21, 4096)

SQUEEZE(gate_32x112, half, squeeze_excite, 32, 8, 12544, {.v = 8, .threads = 512, .cluster = 8})
SQUEEZE(gate_96x56, bfloat16, squeeze_excite, 96, 4, 3136, {.v = 8, .threads = 512, .cluster = 8})
SQUEEZE(gate_480x14, half, squeeze_excite, 480, 20, 196, {.v = 8, .threads = 256, .cluster = 8, .slices = 4})
SQUEEZE(gate_1152x7, half, squeeze_excite, 1152, 48, 49, {.v = 8, .threads = 512, .cluster = 8, .slices = 8})
SQUEEZE(gate_1152x7_alone, half, squeeze_excite, 1152, 48, 49, {.v = 8, .threads = 512})
SQUEEZE(gate_float, float, squeeze_excite, 672, 28, 196, {.v = 4, .threads = 512, .cluster = 2})
SQUEEZE(gate_odd, half, squeeze_excite, 27, 7, 900, {.v = 1, .threads = 256})
SQUEEZE(scale_480x14, half, squeeze_excite_scale, 480, 20, 196, {.v = 8, .threads = 256, .cluster = 8, .slices = 4})
SQUEEZE(scale_1152x7, half, squeeze_excite_scale, 1152, 48, 49, {.v = 8, .threads = 512, .cluster = 8, .slices = 8})
SQUEEZE(scale_1152x7_alone, half, squeeze_excite_scale, 1152, 48, 49, {.v = 8, .threads = 512})
