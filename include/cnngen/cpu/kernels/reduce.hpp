// Reductions and places of extremes along any axes of a tensor in any layout.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "cnngen/cpu/kernels/element.hpp"

namespace cnngen::inline cpu {

enum class Reduction { sum, mean, max, min, prod, sum_squares, variance };

// Axes of x that lie one within the other, as one: how many elements, and how far apart.
struct Run {
    std::int64_t size = 1;
    std::int64_t stride = 0;
};

// One image's geometry. The axis whose neighbours are neighbours in memory stands apart: as `inner` where it is kept,
// as `row` where it is reduced.
struct ReduceShape {
    Run kept[3] = {};  // outermost first; of the first the size does not count: it goes with the batch
    Run reduced[3] = {};
    std::int64_t rows = 1;   // kept elements of an image but for the inner ones
    std::int64_t inner = 1;  // kept neighbours in memory
    std::int64_t row = 1;    // reduced neighbours in memory
};

namespace detail {

constexpr std::int64_t place(const Run (&runs)[3], std::int64_t i) {
    const std::int64_t rest = i / runs[2].size;
    return rest / runs[1].size * runs[0].stride + rest % runs[1].size * runs[1].stride +
           i % runs[2].size * runs[2].stride;
}
// Reduced elements for each kept one.
constexpr std::int64_t reduced_elements(const ReduceShape& shape) {
    return shape.reduced[0].size * shape.reduced[1].size * shape.reduced[2].size * shape.row;
}

template <Reduction kind>
constexpr float start = kind == Reduction::max    ? -std::numeric_limits<float>::infinity()
                        : kind == Reduction::min  ? std::numeric_limits<float>::infinity()
                        : kind == Reduction::prod ? 1.0f
                                                  : 0.0f;

// `a` with one more element, or with what another part has come to. A NaN stays.
template <Reduction kind, class Float>
inline Float with(Float a, Float b) {
    if constexpr (kind == Reduction::max) return b > a || b != b ? b : a;
    if constexpr (kind == Reduction::min) return b < a || b != b ? b : a;
    if constexpr (kind == Reduction::prod) return a * b;
    return a + b;
}
template <Reduction kind>
inline float term(float x, float mean) {
    if constexpr (kind == Reduction::sum_squares) return x * x;
    if constexpr (kind == Reduction::variance) return (x - mean) * (x - mean);
    return x;
}

inline constexpr std::int64_t part = 256;  // elements that one float32 sums up; the parts are summed in float64

// The reduced elements [from, to), for `width` neighbours in memory.
template <Reduction kind, ReduceShape shape, int width, class T>
inline void reduce_range(const T* x, std::int64_t from, std::int64_t to, const float (&mean)[width],
                         double (&total)[width], int count) {
    for (int v = 0; v < width; ++v) total[v] = start<kind>;
    for (std::int64_t low = from; low < to; low += part) {
        const std::int64_t high = std::min(low + part, to);
        float acc[width];
        for (int v = 0; v < width; ++v) acc[v] = start<kind>;
        for (std::int64_t i = low; i < high; ++i) {
            const T* at = x + place(shape.reduced, i);
#pragma omp simd
            for (int v = 0; v < count; ++v) acc[v] = with<kind>(acc[v], term<kind>(to_float(at[v]), mean[v]));
        }
        for (int v = 0; v < width; ++v) total[v] = with<kind>(total[v], double{acc[v]});
    }
}

// The same where the reduced elements themselves are neighbours, shape.row at a time.
template <Reduction kind, ReduceShape shape, class T>
inline double reduce_row(const T* x, std::int64_t from, std::int64_t to, float mean) {
    constexpr int lanes = 32;  // a compiler may not reorder a sum; so many are kept apart
    double total = start<kind>;
    while (from < to) {
        const std::int64_t past = from % shape.row;
        const std::int64_t size = std::min({to - from, shape.row - past, part * lanes});
        const T* at = x + place(shape.reduced, from / shape.row) + past;
        float acc[lanes];
        for (int v = 0; v < lanes; ++v) acc[v] = start<kind>;
        std::int64_t i = 0;
        for (; i + lanes <= size; i += lanes) {
#pragma omp simd
            for (int v = 0; v < lanes; ++v) acc[v] = with<kind>(acc[v], term<kind>(to_float(at[i + v]), mean));
        }
        for (int v = 0; i < size; ++i, ++v) acc[v] = with<kind>(acc[v], term<kind>(to_float(at[i]), mean));
        for (int v = 0; v < lanes; ++v) total = with<kind>(total, double{acc[v]});
        from += size;
    }
    return total;
}

template <Reduction kind, ReduceShape shape>
inline double finished(double total) {
    constexpr bool divides = kind == Reduction::mean || kind == Reduction::variance;
    return divides ? total / static_cast<double>(reduced_elements(shape)) : total;
}

}  // namespace detail

// y[i] = epilogue(what `kind` makes of the reduced elements of the i-th kept one, i), in the order of memory.
//
// x: batch images of shape; y: batch * shape.rows * shape.inner elements.
template <Reduction kind, ReduceShape shape, class T, class Y, class Epilogue>
void reduce(int batch, const T* x, Y* y, const Epilogue& epilogue) {
    constexpr std::int64_t size = detail::reduced_elements(shape);
    constexpr bool is_variance = kind == Reduction::variance;
    const std::int64_t rows = batch * shape.rows;
    if constexpr (shape.inner > 1) {
        constexpr int width = 16;  // a cache line of float32
        constexpr std::int64_t blocks = (shape.inner + width - 1) / width;
#pragma omp parallel for if (is_large(batch, size * shape.rows * shape.inner))
        for (std::int64_t i = 0; i < rows * blocks; ++i) {
            const std::int64_t row = i / blocks, c = i % blocks * width;
            const int count = static_cast<int>(std::min<std::int64_t>(width, shape.inner - c));
            const T* from = x + detail::place(shape.kept, row) + c;
            float mean[width] = {};
            double total[width];
            if constexpr (is_variance) {
                detail::reduce_range<Reduction::mean, shape>(from, 0, size, mean, total, count);
                for (int v = 0; v < width; ++v) mean[v] = static_cast<float>(detail::finished<kind, shape>(total[v]));
            }
            detail::reduce_range<kind, shape>(from, 0, size, mean, total, count);
            for (int v = 0; v < count; ++v) {
                const auto result = static_cast<float>(detail::finished<kind, shape>(total[v]));
                y[row * shape.inner + c + v] = from_float<Y>(epilogue(result, row * shape.inner + c + v));
            }
        }
    } else if (rows >= 16 || !is_large(batch, size * shape.rows)) {
#pragma omp parallel for if (is_large(batch, size * shape.rows))
        for (std::int64_t row = 0; row < rows; ++row) {
            const T* from = x + detail::place(shape.kept, row);
            float mean = 0.0f;
            if constexpr (is_variance) {
                const double total = detail::reduce_row<Reduction::mean, shape>(from, 0, size, 0.0f);
                mean = static_cast<float>(detail::finished<kind, shape>(total));
            }
            const double total = detail::reduce_row<kind, shape>(from, 0, size, mean);
            y[row] = from_float<Y>(epilogue(static_cast<float>(detail::finished<kind, shape>(total)), row));
        }
    } else {  // few long rows: threads share each of them
        constexpr int parts = 64;
        for (std::int64_t row = 0; row < rows; ++row) {
            const T* from = x + detail::place(shape.kept, row);
            double totals[parts];
            const auto shared = [&]<Reduction what>(float mean) {
#pragma omp parallel for
                for (int i = 0; i < parts; ++i) {
                    totals[i] = detail::reduce_row<what, shape>(from, size * i / parts, size * (i + 1) / parts, mean);
                }
                double total = totals[0];
                for (int i = 1; i < parts; ++i) total = detail::with<what>(total, totals[i]);
                return static_cast<float>(detail::finished<kind, shape>(total));
            };
            float mean = 0.0f;
            if constexpr (is_variance) mean = shared.template operator()<Reduction::mean>(0.0f);
            y[row] = from_float<Y>(epilogue(shared.template operator()<kind>(mean), row));
        }
    }
}
template <Reduction kind, ReduceShape shape, class T, class Y>
void reduce(int batch, const T* x, Y* y) {
    reduce<kind, shape>(batch, x, y, [](float acc, std::int64_t) { return acc; });
}

// x seen as [batch * outer, axis, inner], in the order of memory.
struct AxisShape {
    std::int64_t outer = 1;
    std::int64_t axis = 1;
    std::int64_t inner = 1;
};

// y[i] = epilogue(where along the axis the largest (smallest) element is, i): the first or the last of equals.
template <bool smallest, bool last, AxisShape shape, class T, class Y, class Epilogue>
void arg_reduce(int batch, const T* x, Y* y, const Epilogue& epilogue) {
    constexpr int width = shape.inner < 64 ? static_cast<int>(shape.inner) : 64;
    constexpr std::int64_t blocks = (shape.inner + width - 1) / width;
#pragma omp parallel for if (is_large(batch, shape.outer * shape.axis * shape.inner))
    for (std::int64_t i = 0; i < batch * shape.outer * blocks; ++i) {
        const std::int64_t row = i / blocks, c = i % blocks * width;
        const int count = static_cast<int>(std::min<std::int64_t>(width, shape.inner - c));
        const T* from = x + row * shape.axis * shape.inner + c;
        float best[width], place[width] = {};
        for (int v = 0; v < count; ++v) best[v] = to_float(from[v]);
        for (std::int64_t j = 1; j < shape.axis; ++j) {
            from += shape.inner;
#pragma omp simd
            for (int v = 0; v < count; ++v) {
                const float value = to_float(from[v]);
                const bool better = smallest ? value < best[v] : value > best[v];
                const bool nan = value != value && best[v] == best[v];
                const bool taken = better || nan || (last && (value == best[v] || value != value));
                place[v] = taken ? static_cast<float>(j) : place[v];
                best[v] = taken ? value : best[v];
            }
        }
        for (int v = 0; v < count; ++v) {
            y[row * shape.inner + c + v] = from_float<Y>(epilogue(place[v], row * shape.inner + c + v));
        }
    }
}
template <bool smallest, bool last, AxisShape shape, class T, class Y>
void arg_reduce(int batch, const T* x, Y* y) {
    arg_reduce<smallest, last, shape>(batch, x, y, [](float acc, std::int64_t) { return acc; });
}

}  // namespace cnngen::inline cpu
