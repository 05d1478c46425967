// Each check runs one kernel in the emulation on random data and compares it with its definition in double precision,
// written here without regard to speed. Outputs start as NaN, so that an element that is not written is found.
#pragma once

#include "emulation.hpp"
// The kernels come after the emulation's names.
#include <cmath>
#include <limits>

#include "cnngen/cuda/kernels/arg_reduce.cuh"
#include "cnngen/cuda/kernels/depthwise.cuh"
#include "cnngen/cuda/kernels/diagonal_depthwise.cuh"
#include "cnngen/cuda/kernels/functions.cuh"
#include "cnngen/cuda/kernels/grouped_conv.cuh"
#include "cnngen/cuda/kernels/pool.cuh"
#include "cnngen/cuda/kernels/reduce.cuh"
#include "cnngen/cuda/kernels/softmax.cuh"

namespace checks {

using cnngen::AxisShape;
using cnngen::ConvShape;
using cnngen::DiagonalTile;
using cnngen::Extreme;
using cnngen::ReduceShape;
using cnngen::ReduceTile;
using cnngen::Reduction;
using cnngen::RowShape;
using cnngen::RowTile;
using cnngen::Tile;
using cnngen::WindowShape;
using emulation::Buffer;
using emulation::running;
using half = __half;
using bfloat16 = __nv_bfloat16;

inline std::mt19937 numbers{7};

template <typename T>
void fill(Buffer<T>& buffer, float low = -1.0f, float high = 1.0f) {
    std::uniform_real_distribution<float> uniform(low, high);
    for (std::size_t i = 0; i < buffer.size(); ++i) buffer[i] = cnngen::from_float<T>(uniform(numbers));
}

// Half the distance of neighbouring numbers near 1: what storing may lose.
template <typename T>
constexpr double rounding() {
    return sizeof(T) == 4 ? 0x1p-23 : (std::is_same_v<T, half> ? 0x1p-11 : 0x1p-8);
}

// `scale` is the sum of the absolute values of all terms: float sums lose some 1e-7 of it.
template <typename Y>
void expect(Y got, double want, double scale, std::size_t at) {
    const double value = cnngen::to_float(got);
    const double cut = std::is_integral_v<Y> ? 1.0 : 0.0;  // what stands behind the point
    const double allowed = 1.01 * rounding<Y>() * std::fabs(want) + 2e-6 * scale + 1e-7 + cut;
    const bool equal = value == want || (std::isnan(value) && std::isnan(want));  // infinities too
    if (!equal && !(std::fabs(value - want) <= allowed)) {
        std::fprintf(stderr, "%s: element %zu is %.9g, should be %.9g\n", running, at, value, want);
        std::_Exit(1);
    }
}

// A bias a channel, a residual an output, leaky ReLU; counts its calls, which must be one an output.
struct Epilogue {
    const float* bias;
    const half* residual;
    unsigned char* calls;
    int oh, ow, channels;

    template <int V>
    void operator()(float (&acc)[V], int n, int c, int h, int w) const {
        (*this)(acc, ((static_cast<std::int64_t>(n) * oh + h) * ow + w) * channels + c, c);
    }

    template <int V>
    void operator()(float (&acc)[V], std::int64_t at, int c) const {
        float b[V], r[V];
        cnngen::to_float(cnngen::load_readonly<V>(bias + c), b);
        cnngen::to_float(cnngen::load_readonly<V>(residual + at), r);
        for (int v = 0; v < V; ++v) {
            acc[v] = cnngen::fn::leaky_relu(acc[v] + b[v] + r[v], 0.25f);
            ++calls[at + v];
        }
    }
};

// What every kernel with an epilogue shares: its buffers, its launch and the comparison of y with `definition`, a
// function (n, k, h, w, &scale) -> double of the output before the epilogue.
template <typename Y, typename Launch, typename Definition>
void run(const char* name, int batch, int channels, int oh, int ow, Launch launch, Definition definition) {
    running = name;
    const std::size_t count = static_cast<std::size_t>(batch) * oh * ow * channels;
    Buffer<Y> y(count);
    Buffer<float> bias(channels);
    Buffer<half> residual(count);
    std::vector<unsigned char> calls(count, 0);
    fill(bias);
    fill(residual);
    launch(y.data(), Epilogue{bias.data(), residual.data(), calls.data(), oh, ow, channels});
    y.check();
    std::size_t at = 0;
    for (int n = 0; n < batch; ++n) {
        for (int h = 0; h < oh; ++h) {
            for (int w = 0; w < ow; ++w) {
                for (int k = 0; k < channels; ++k, ++at) {
                    double scale = 2.0;
                    double want = definition(n, k, h, w, scale) + double{bias[k]} + cnngen::to_float(residual[at]);
                    want = want < 0.0 ? 0.25 * want : want;
                    expect(y[at], want, scale, at);
                    if (calls[at] != 1) {
                        std::fprintf(stderr, "%s: epilogue called %d times for %zu\n", name, calls[at], at);
                        std::_Exit(1);
                    }
                }
            }
        }
    }
    std::printf("%s\n", name);
}

template <typename T>
double element(Buffer<T>& x, const auto& shape, int n, int h, int w, int c) {
    return cnngen::to_float(x[((static_cast<std::size_t>(n) * shape.h + h) * shape.w + w) * shape.c + c]);
}

// `kernel` is a function of batch, x, weight, y and the epilogue.
template <typename T, typename W, typename Y, auto tile, WindowShape shape, typename Kernel>
void depthwise_by(const char* name, int batch, unsigned threads, std::size_t shared, Kernel kernel) {
    Buffer<T> x(static_cast<std::size_t>(batch) * shape.h * shape.w * shape.c);
    Buffer<W> weight(shape.r * shape.s * shape.c);
    fill(x);
    fill(weight);
    const auto launch = [&](Y* y, const Epilogue& epilogue) {
        emulation::launch(
            cnngen::blocks(shape, tile, batch), threads, [&] { kernel(batch, x.data(), weight.data(), y, epilogue); },
            1, shared);
    };
    run<Y>(name, batch, shape.c, shape.oh, shape.ow, launch, [&](int n, int c, int h, int w, double& scale) {
        double sum = 0.0;
        for (int r = 0; r < shape.r; ++r) {
            for (int s = 0; s < shape.s; ++s) {
                const int ih = h * shape.stride_h - shape.pad_top + r * shape.dilation_h;
                const int iw = w * shape.stride_w - shape.pad_left + s * shape.dilation_w;
                if (ih < 0 || ih >= shape.h || iw < 0 || iw >= shape.w) continue;
                const double term =
                    element(x, shape, n, ih, iw, c) * cnngen::to_float(weight[(r * shape.s + s) * shape.c + c]);
                sum += term;
                scale += std::fabs(term);
            }
        }
        return sum;
    });
}

template <typename T, typename W, typename Y, Tile tile, WindowShape shape>
void depthwise(const char* name, int batch) {
    const auto kernel = [](int batch, auto* x, auto* weight, Y* y, const auto& epilogue) {
        cnngen::depthwise<T, tile, shape>(batch, x, weight, nullptr, y, epilogue);
    };
    depthwise_by<T, W, Y, tile, shape>(name, batch, tile.threads, 0, kernel);
}

// Filters of T, which are used as they are.
template <typename T, typename Y, DiagonalTile tile, WindowShape shape>
void diagonal_depthwise(const char* name, int batch) {
    const auto kernel = [](int batch, auto* x, auto* weight, Y* y, const auto& epilogue) {
        cnngen::diagonal_depthwise<T, tile, shape>(batch, x, weight, nullptr, y, epilogue);
    };
    depthwise_by<T, T, Y, tile, shape>(name, batch, tile.threads, cnngen::shared_bytes(shape, tile), kernel);
}

template <typename T, typename W, typename Y, Tile tile, ConvShape shape>
void grouped_conv(const char* name, int batch) {
    constexpr int group_c = shape.c / shape.groups;
    Buffer<T> x(static_cast<std::size_t>(batch) * shape.h * shape.w * shape.c);
    Buffer<W> weight(shape.k * shape.r * shape.s * group_c);
    fill(x);
    fill(weight);
    const auto launch = [&](Y* y, const Epilogue& epilogue) {
        emulation::launch(cnngen::blocks(shape, tile, batch), tile.threads,
                          [&] { cnngen::grouped_conv<T, tile, shape>(batch, x.data(), weight.data(), y, epilogue); });
    };
    run<Y>(name, batch, shape.k, shape.oh, shape.ow, launch, [&](int n, int k, int h, int w, double& scale) {
        double sum = 0.0;
        for (int r = 0; r < shape.r; ++r) {
            for (int s = 0; s < shape.s; ++s) {
                const int ih = h * shape.stride_h - shape.pad_top + r * shape.dilation_h;
                const int iw = w * shape.stride_w - shape.pad_left + s * shape.dilation_w;
                if (ih < 0 || ih >= shape.h || iw < 0 || iw >= shape.w) continue;
                for (int c = 0; c < group_c; ++c) {
                    const int group = k / (shape.k / shape.groups);
                    const double term = element(x, shape, n, ih, iw, group * group_c + c) *
                                        cnngen::to_float(weight[((r * shape.s + s) * group_c + c) * shape.k + k]);
                    sum += term;
                    scale += std::fabs(term);
                }
            }
        }
        return sum;
    });
}

// Few different numbers, so that some are equal.
template <typename T>
void fill_with_steps(Buffer<T>& buffer) {
    std::uniform_int_distribution<int> uniform(-4, 4);
    for (std::size_t i = 0; i < buffer.size(); ++i) buffer[i] = cnngen::from_float<T>(uniform(numbers));
}

enum class Pool { max, avg, avg_include_pad, sum, arg_max };

template <typename T, typename Y, Tile tile, WindowShape shape, Pool pool>
void pooling(const char* name, int batch, bool with_nan = false) {
    Buffer<T> x(static_cast<std::size_t>(batch) * shape.h * shape.w * shape.c);
    pool == Pool::arg_max ? fill_with_steps(x) : fill(x);
    if (with_nan) {
        for (std::size_t i = 0; i < x.size(); i += 37) x[i] = cnngen::from_float<T>(std::nanf(""));
    }
    const auto launch = [&](Y* y, const Epilogue& epilogue) {
        emulation::launch(cnngen::blocks(shape, tile, batch), tile.threads, [&] {
            if constexpr (pool == Pool::max) {
                cnngen::max_pool<T, tile, shape>(batch, x.data(), y, epilogue);
            } else if constexpr (pool == Pool::sum) {
                cnngen::sum_pool<T, tile, shape>(batch, x.data(), y, epilogue);
            } else if constexpr (pool == Pool::arg_max) {
                cnngen::arg_max_pool<T, tile, shape>(batch, x.data(), y, epilogue);
            } else {
                cnngen::avg_pool<T, tile, shape, pool == Pool::avg_include_pad>(batch, x.data(), y, epilogue);
            }
        });
    };
    run<Y>(name, batch, shape.c, shape.oh, shape.ow, launch, [&](int n, int c, int h, int w, double& scale) {
        double sum = 0.0, largest = -std::numeric_limits<double>::infinity();
        int cells = 0, padded_cells = 0, place = -1;
        for (int r = 0; r < shape.r; ++r) {
            for (int s = 0; s < shape.s; ++s) {
                const int ih = h * shape.stride_h - shape.pad_top + r * shape.dilation_h;
                const int iw = w * shape.stride_w - shape.pad_left + s * shape.dilation_w;
                if (ih < shape.h + shape.pad_bottom && iw < shape.w + shape.pad_right) ++padded_cells;
                if (ih < 0 || ih >= shape.h || iw < 0 || iw >= shape.w) continue;
                const double value = element(x, shape, n, ih, iw, c);
                sum += value;
                scale += std::isnan(value) ? 0.0 : std::fabs(value);
                ++cells;
                if (std::isnan(largest)) continue;
                if (std::isnan(value) || value > largest || place < 0) {
                    largest = value;
                    place = ih * shape.w + iw;
                }
            }
        }
        if (pool == Pool::max || (pool != Pool::arg_max && std::isnan(largest))) return largest;
        if (pool == Pool::arg_max) return double(std::max(place, 0));
        if (pool == Pool::sum) return sum;
        return sum / std::max(1, pool == Pool::avg ? cells : padded_cells);
    });
}

// A reduction of values, by definition; `scale` is the sum of the absolute values of all terms.
template <Reduction op>
double reduced(const std::vector<double>& values, double& scale) {
    double sum = 0.0, terms = 0.0, product = 1.0, squares = 0.0;
    for (const double value : values) {
        sum += value;
        terms += std::fabs(value);
        product *= value;
        squares += value * value;
    }
    const double count = static_cast<double>(values.size()), mean = sum / count;
    double distances = 0.0;
    for (const double value : values) distances += (value - mean) * (value - mean);
    scale += op == Reduction::mean || op == Reduction::variance ? terms / count : terms;
    switch (op) {
        case Reduction::max:
            return *std::max_element(values.begin(), values.end());
        case Reduction::min:
            return *std::min_element(values.begin(), values.end());
        case Reduction::prod:
            return product;
        case Reduction::sum_squares:
            return squares;
        case Reduction::variance:
            return distances / count;
        default:
            return op == Reduction::mean ? mean : sum;
    }
}

// x[n, :, c] of [batch, count, inner].
template <typename T>
std::vector<double> line(Buffer<T>& x, int count, int inner, int n, int c) {
    std::vector<double> values;
    for (int i = 0; i < count; ++i) {
        values.push_back(cnngen::to_float(x[(static_cast<std::size_t>(n) * count + i) * inner + c]));
    }
    return values;
}

template <typename T, typename Y, ReduceTile tile, ReduceShape shape, Reduction op>
void reduce(const char* name, int batch) {
    Buffer<T> x(static_cast<std::size_t>(batch) * shape.count * shape.c);
    fill(x);
    const auto launch = [&](Y* y, const Epilogue& epilogue) {
        // One block more than needed: a kernel must survive any grid.
        emulation::launch(cnngen::blocks(shape, tile, batch) + 1, tile.threads(),
                          [&] { cnngen::reduce<T, tile, shape, op>(batch, x.data(), y, epilogue); });
    };
    run<Y>(name, batch, shape.c, 1, 1, launch, [&](int n, int c, int, int, double& scale) {
        return reduced<op>(line(x, shape.count, shape.c, n, c), scale);
    });
}

template <typename T, typename Y, RowTile tile, RowShape shape, Reduction op>
void reduce_rows(const char* name, int rows) {
    Buffer<T> x(static_cast<std::size_t>(rows) * shape.c);
    fill(x);
    const auto launch = [&](Y* y, const Epilogue& epilogue) {
        emulation::launch(cnngen::blocks(shape, tile, rows) + 1, tile.threads,
                          [&] { cnngen::reduce_rows<T, tile, shape, op>(rows, x.data(), y, epilogue); });
    };
    run<Y>(name, rows, 1, 1, 1, launch,
           [&](int n, int, int, int, double& scale) { return reduced<op>(line(x, shape.c, 1, n, 0), scale); });
}

// The place of an extreme, by definition.
template <Extreme extreme, bool last>
double place_of(const std::vector<double>& values) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < values.size(); ++i) {
        const double a = values[i], b = values[best];
        const bool better = std::isnan(a) ? !std::isnan(b) || last : extreme == Extreme::max ? a > b : a < b;
        if (better || (last && a == b)) best = i;
    }
    return static_cast<double>(best);
}

template <typename T>
void add_nans(Buffer<T>& x) {
    for (std::size_t i = 3; i < x.size(); i += 101) x[i] = cnngen::from_float<T>(std::nanf(""));
}

template <typename T, typename Y, RowTile tile, RowShape shape, Extreme extreme, bool last>
void arg_rows(const char* name, int rows) {
    Buffer<T> x(static_cast<std::size_t>(rows) * shape.c);
    fill_with_steps(x);
    add_nans(x);
    const auto launch = [&](Y* y, const Epilogue& epilogue) {
        emulation::launch(cnngen::blocks(shape, tile, rows) + 1, tile.threads,
                          [&] { cnngen::arg_rows<T, tile, shape, extreme, last>(rows, x.data(), y, epilogue); });
    };
    run<Y>(name, rows, 1, 1, 1, launch,
           [&](int n, int, int, int, double&) { return place_of<extreme, last>(line(x, shape.c, 1, n, 0)); });
}

template <typename T, typename Y, int V, AxisShape shape, Extreme extreme, bool last>
void arg_columns(const char* name, int outer) {
    constexpr int threads = 96;
    Buffer<T> x(static_cast<std::size_t>(outer) * shape.axis * shape.inner);
    fill_with_steps(x);
    add_nans(x);
    const auto launch = [&](Y* y, const Epilogue& epilogue) {
        emulation::launch(cnngen::blocks(shape, V, threads, outer) + 1, threads,
                          [&] { cnngen::arg_columns<T, V, shape, extreme, last>(outer, x.data(), y, epilogue); });
    };
    run<Y>(name, outer, shape.inner, 1, 1, launch, [&](int n, int c, int, int, double&) {
        return place_of<extreme, last>(line(x, shape.axis, shape.inner, n, c));
    });
}

// Softmax over x[o, :, i], by definition; both kernels are this.
template <typename T, typename Y>
void expect_softmax(const char* name, Buffer<T>& x, Buffer<Y>& y, int outer, int axis, int inner, bool log) {
    y.check();
    for (int o = 0; o < outer; ++o) {
        for (int i = 0; i < inner; ++i) {
            const std::size_t start = static_cast<std::size_t>(o) * axis * inner + i;
            double largest = -std::numeric_limits<double>::infinity(), sum = 0.0;
            for (int a = 0; a < axis; ++a) {
                largest = std::max(largest, double{cnngen::to_float(x[start + static_cast<std::size_t>(a) * inner])});
            }
            for (int a = 0; a < axis; ++a) {
                sum += std::exp(cnngen::to_float(x[start + static_cast<std::size_t>(a) * inner]) - largest);
            }
            for (int a = 0; a < axis; ++a) {
                const std::size_t at = start + static_cast<std::size_t>(a) * inner;
                const double less = cnngen::to_float(x[at]) - largest;
                const double want = log ? less - std::log(sum) : std::exp(less) / sum;
                expect(y[at], want, log ? 120.0 : want, at);
            }
        }
    }
    std::printf("%s\n", name);
}

template <typename T, typename Y, RowTile tile, RowShape shape, bool log>
void softmax(const char* name, int rows) {
    running = name;
    Buffer<T> x(static_cast<std::size_t>(rows) * shape.c);
    Buffer<Y> y(x.size());
    fill(x, -30.0f, 90.0f);  // exp(90) overflows a float
    emulation::launch(cnngen::blocks(shape, tile, rows) + 1, tile.threads,
                      [&] { cnngen::softmax<T, tile, shape, log>(rows, x.data(), y.data()); });
    expect_softmax(name, x, y, rows, shape.c, 1, log);
}

template <typename T, typename Y, int V, AxisShape shape, bool log>
void softmax_strided(const char* name, int outer) {
    running = name;
    constexpr int threads = 96;
    Buffer<T> x(static_cast<std::size_t>(outer) * shape.axis * shape.inner);
    Buffer<Y> y(x.size());
    fill(x, -30.0f, 90.0f);
    emulation::launch(cnngen::blocks(shape, V, threads, outer) + 1, threads,
                      [&] { cnngen::softmax_strided<T, V, shape, log>(outer, x.data(), y.data()); });
    expect_softmax(name, x, y, outer, shape.axis, shape.inner, log);
}

}  // namespace checks
