// Pooling, NHWC, any window, stride, dilation and padding. Ceil mode is only a larger oh and ow: the window is clipped
// at the input's edge.
#pragma once

#include <limits>

#include "cnngen/cpu/functions.hpp"
#include "cnngen/cpu/kernels/element.hpp"

namespace cnngen::inline cpu {

// One image's geometry. Output row h reads the input rows h * stride_h - pad_top + i * dilation_h, i = 0 .. r - 1.
struct WindowShape {
    int c, h, w;  // input
    int oh, ow;   // output, with the same channels
    int r, s;     // the window's height and width
    int stride_h = 1, stride_w = 1;
    int dilation_h = 1, dilation_w = 1;
    int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
};

enum class Pooling {
    max,                  // padding never wins; a NaN does
    argmax,               // h * w_input + w of the first largest; 0 where a window has no cell
    sum,                  //
    average,              // over the input's cells alone; 0 where a window has none
    average_with_padding  // over those of the padding too, but never over what ceil mode adds beyond
};

namespace detail {

// The taps of a window along one axis that lie within the input: [first, end).
struct Taps {
    int first, end;
};
constexpr Taps taps_within(int start, int dilation, int taps, int low, int high) {
    const int first = start >= low ? 0 : (low - start + dilation - 1) / dilation;
    const int end = start >= high ? 0 : (high - start + dilation - 1) / dilation;
    return {first, end < taps ? end : taps};
}
constexpr int count(const Taps& taps) { return taps.end > taps.first ? taps.end - taps.first : 0; }

// One window: `n` channels of a pixel from x on. x: the image's channels from here on; top and left may be negative.
template <Pooling kind, WindowShape shape, int n, class T>
inline void pool_window(const T* x, int top, int left, float (&acc)[n], int channels) {
    constexpr bool is_max = kind == Pooling::max || kind == Pooling::argmax;
    const Taps rows = taps_within(top, shape.dilation_h, shape.r, 0, shape.h);
    const Taps columns = taps_within(left, shape.dilation_w, shape.s, 0, shape.w);
    [[maybe_unused]] float place[n] = {};
    for (int v = 0; v < n; ++v) acc[v] = is_max ? -std::numeric_limits<float>::infinity() : 0.0f;
    if constexpr (kind == Pooling::argmax) {
        const int first = (top + rows.first * shape.dilation_h) * shape.w + left + columns.first * shape.dilation_w;
        const bool any = count(rows) && count(columns);
        for (int v = 0; v < n; ++v) place[v] = any ? static_cast<float>(first) : 0.0f;
    }
    for (int i = rows.first; i < rows.end; ++i) {
        for (int j = columns.first; j < columns.end; ++j) {
            const int cell = (top + i * shape.dilation_h) * shape.w + left + j * shape.dilation_w;
            const T* from = x + static_cast<std::int64_t>(cell) * shape.c;
#pragma omp simd
            for (int v = 0; v < channels; ++v) {
                const float value = to_float(from[v]);
                if constexpr (kind == Pooling::argmax) {
                    const bool larger = value > acc[v] || (value != value && acc[v] == acc[v]);
                    place[v] = larger ? static_cast<float>(cell) : place[v];
                    acc[v] = larger ? value : acc[v];
                } else {
                    acc[v] = is_max ? fn::max(value, acc[v]) : acc[v] + value;
                }
            }
        }
    }
    if constexpr (kind == Pooling::argmax) {
        for (int v = 0; v < n; ++v) acc[v] = place[v];
    }
    if constexpr (kind == Pooling::average || kind == Pooling::average_with_padding) {
        constexpr bool padded = kind == Pooling::average_with_padding;
        constexpr int low_h = padded ? -shape.pad_top : 0, high_h = shape.h + (padded ? shape.pad_bottom : 0);
        constexpr int low_w = padded ? -shape.pad_left : 0, high_w = shape.w + (padded ? shape.pad_right : 0);
        const int cells = count(taps_within(top, shape.dilation_h, shape.r, low_h, high_h)) *
                          count(taps_within(left, shape.dilation_w, shape.s, low_w, high_w));
        const float scale = 1.0f / static_cast<float>(cells > 0 ? cells : 1);
        for (int v = 0; v < n; ++v) acc[v] *= scale;
    }
}

}  // namespace detail

// y[n, h, w, c] = epilogue(what `kind` makes of the window, n, c, h, w).
//
// x: [batch, shape.h, shape.w, shape.c]; y: [batch, shape.oh, shape.ow, shape.c].
template <Pooling kind, WindowShape shape, class T, class Y, class Epilogue>
void pool(int batch, const T* x, Y* y, const Epilogue& epilogue) {
    constexpr int block = shape.c < 64 ? shape.c : 64;  // channels at a time, which registers hold
    constexpr std::int64_t image = std::int64_t{shape.h} * shape.w * shape.c;
#pragma omp parallel for collapse(2) if (is_large(batch, std::int64_t{shape.oh} * shape.ow * shape.c * shape.r))
    for (int n = 0; n < batch; ++n) {
        for (int h = 0; h < shape.oh; ++h) {
            for (int w = 0; w < shape.ow; ++w) {
                Y* to = y + ((std::int64_t{n} * shape.oh + h) * shape.ow + w) * shape.c;
                const int top = h * shape.stride_h - shape.pad_top, left = w * shape.stride_w - shape.pad_left;
                const auto finish = [&](int c, int channels) {
                    float acc[block];
                    detail::pool_window<kind, shape>(x + n * image + c, top, left, acc, channels);
#pragma omp simd
                    for (int v = 0; v < channels; ++v) to[c + v] = from_float<Y>(epilogue(acc[v], n, c + v, h, w));
                };
                for (int c = 0; c + block <= shape.c; c += block) finish(c, block);
                if constexpr (shape.c % block != 0) finish(shape.c / block * block, shape.c % block);
            }
        }
    }
}
template <Pooling kind, WindowShape shape, class T, class Y>
void pool(int batch, const T* x, Y* y) {
    pool<kind, shape>(batch, x, y, [](float acc, int, int, int, int) { return acc; });
}

}  // namespace cnngen::inline cpu
