// Softmax along any axis of a tensor in any layout, and its logarithm.
#pragma once

#include "cnngen/cpu/functions.hpp"
#include "cnngen/cpu/kernels/reduce.hpp"

namespace cnngen::inline cpu {

namespace detail {

// One row of neighbours. exp(x - largest) is at most 1, so that nothing overflows.
template <bool log, std::int64_t length, class T, class Y>
inline void softmax_row(const T* x, Y* y) {
    constexpr int lanes = 16;  // kept apart, since a compiler may not reorder a sum
    constexpr std::int64_t whole = length / lanes * lanes;
    float largest = to_float(x[0]);
#pragma omp simd reduction(max : largest)
    for (std::int64_t i = 0; i < length; ++i) largest = to_float(x[i]) > largest ? to_float(x[i]) : largest;
    float acc[lanes] = {};
    for (std::int64_t i = 0; i < whole; i += lanes) {
#pragma omp simd
        for (int v = 0; v < lanes; ++v) acc[v] += fn::exp(to_float(x[i + v]) - largest);
    }
    for (std::int64_t i = whole; i < length; ++i) acc[i - whole] += fn::exp(to_float(x[i]) - largest);
    double sum = 0;
    for (int v = 0; v < lanes; ++v) sum += acc[v];
    const float scale = log ? fn::log(static_cast<float>(sum)) : static_cast<float>(1 / sum);
#pragma omp simd
    for (std::int64_t i = 0; i < length; ++i) {
        const float shifted = to_float(x[i]) - largest;
        y[i] = from_float<Y>(log ? shifted - scale : fn::exp(shifted) * scale);
    }
}

// `count` neighbours, each along an axis whose elements lie `stride` apart.
template <bool log, std::int64_t length, std::int64_t stride, int width, class T, class Y>
inline void softmax_columns(const T* x, Y* y, int count) {
    float largest[width], scale[width] = {};
    for (int v = 0; v < count; ++v) largest[v] = to_float(x[v]);
    for (std::int64_t i = 1; i < length; ++i) {
#pragma omp simd
        for (int v = 0; v < count; ++v) largest[v] = fn::max(to_float(x[i * stride + v]), largest[v]);
    }
    for (std::int64_t i = 0; i < length; ++i) {
#pragma omp simd
        for (int v = 0; v < count; ++v) scale[v] += fn::exp(to_float(x[i * stride + v]) - largest[v]);
    }
#pragma omp simd
    for (int v = 0; v < count; ++v) scale[v] = log ? fn::log(scale[v]) : 1.0f / scale[v];
    for (std::int64_t i = 0; i < length; ++i) {
#pragma omp simd
        for (int v = 0; v < count; ++v) {
            const float shifted = to_float(x[i * stride + v]) - largest[v];
            y[i * stride + v] = from_float<Y>(log ? shifted - scale[v] : fn::exp(shifted) * scale[v]);
        }
    }
}

}  // namespace detail

// x and y: batch images of shape. y may be x.
template <bool log, AxisShape shape, class T, class Y>
void softmax(int batch, const T* x, Y* y) {
    constexpr int width = shape.inner < 64 ? static_cast<int>(shape.inner) : 64;
    constexpr std::int64_t blocks = (shape.inner + width - 1) / width;
#pragma omp parallel for if (is_large(batch, shape.outer * shape.axis * shape.inner))
    for (std::int64_t i = 0; i < batch * shape.outer * blocks; ++i) {
        const std::int64_t c = i % blocks * width, at = i / blocks * shape.axis * shape.inner + c;
        if constexpr (shape.inner == 1) {
            detail::softmax_row<log, shape.axis>(x + at, y + at);
        } else {
            const int count = static_cast<int>(std::min<std::int64_t>(width, shape.inner - c));
            detail::softmax_columns<log, shape.axis, shape.inner, width>(x + at, y + at, count);
        }
    }
}

}  // namespace cnngen::inline cpu
