// A convolution or matrix product by its definition, one element a thread, in double: what an engine's results are held
// against before it is trusted. Slow, and obvious.
#pragma once

#include <cstdint>

#include "reference_problem.hpp"
#include "vector.cuh"

namespace cnngen {

namespace detail {

__device__ inline double reference_element(ReferenceTensor::Type type, const void* data, std::int64_t at) {
    switch (type) {
        case ReferenceTensor::float16:
            return to_float(static_cast<const __half*>(data)[at]);
        case ReferenceTensor::bfloat16:
            return to_float(static_cast<const __nv_bfloat16*>(data)[at]);
        case ReferenceTensor::int32:
            return static_cast<const std::int32_t*>(data)[at];
        case ReferenceTensor::int64:
            return static_cast<double>(static_cast<const std::int64_t*>(data)[at]);
        case ReferenceTensor::uint8:
            return static_cast<const std::uint8_t*>(data)[at];
        default:
            return static_cast<const float*>(data)[at];
    }
}

__device__ inline double reference_element(const ReferenceTensor& t, std::int64_t at) {
    return reference_element(t.type, t.data, at);
}

// The element at a logical index; an axis of one element is broadcast.
__device__ inline double reference_at(const ReferenceTensor& t, const std::int64_t (&index)[4]) {
    std::int64_t at = 0;
    for (int axis = 0; axis < t.rank; ++axis) at += (t.dims[axis] == 1 ? 0 : index[axis]) * t.strides[axis];
    return reference_element(t, at);
}

__device__ inline double reference_function(const ReferenceStep& p, double x) {
    switch (p.function) {
        case ReferenceStep::relu:
            return x < p.a ? p.a + p.slope * (x - p.a) : (x > p.b ? p.b : x);
        case ReferenceStep::sigmoid:
            return 1 / (1 + ::exp(-x));
        case ReferenceStep::tanh:
            return ::tanh(x);
        case ReferenceStep::elu:
            return x > 0 ? x : p.a * ::expm1(x);
        case ReferenceStep::gelu:
            return 0.5 * x * ::erfc(-x * 0.70710678118654752);
        case ReferenceStep::gelu_tanh:
            return 0.5 * x * (1 + ::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
        case ReferenceStep::softplus:
            return x > 30 ? x : ::log1p(::exp(x));
        case ReferenceStep::silu:
            return x / (1 + ::exp(-x));
        case ReferenceStep::hard_sigmoid:
            return ::fmin(::fmax(p.a * x + p.b, 0.0), 1.0);
        case ReferenceStep::hard_swish:
            return x * ::fmin(::fmax(p.a * x + p.b, 0.0), 1.0);
        default:
            return x;
    }
}

__device__ inline double reference_sum(const ReferenceProblem& p, const std::int64_t (&at)[4]) {
    double sum = 0;
    if (p.kind == ReferenceProblem::matmul) {
        for (std::int64_t k = 0; k < p.x.dims[1]; ++k) {
            sum += reference_element(p.x, at[0] * p.x.strides[0] + k * p.x.strides[1]) *
                   reference_element(p.w, at[1] * p.w.strides[0] + k * p.w.strides[1]);
        }
    } else if (p.kind == ReferenceProblem::batch_matmul) {
        for (std::int64_t k = 0; k < p.x.dims[2]; ++k) {
            sum += reference_element(p.x, at[0] * p.x.strides[0] + at[1] * p.x.strides[1] + k * p.x.strides[2]) *
                   reference_element(p.w, at[0] * p.w.strides[0] + k * p.w.strides[1] + at[2] * p.w.strides[2]);
        }
    } else {
        const std::int64_t channels = p.w.dims[1];
        const std::int64_t first = at[1] / (p.y.dims[1] / p.groups) * channels;
        for (std::int64_t r = 0; r < p.w.dims[2]; ++r) {
            for (std::int64_t s = 0; s < p.w.dims[3]; ++s) {
                const std::int64_t h = at[2] * p.stride[0] - p.padding[0] + r * p.dilation[0];
                const std::int64_t w = at[3] * p.stride[1] - p.padding[1] + s * p.dilation[1];
                if (h < 0 || h >= p.x.dims[2] || w < 0 || w >= p.x.dims[3]) continue;
                for (std::int64_t c = 0; c < channels; ++c) {
                    const std::int64_t x[4] = {at[0], first + c, h, w}, filter[4] = {at[1], c, r, s};
                    sum += reference_at(p.x, x) * reference_at(p.w, filter);
                }
            }
        }
    }
    return sum;
}

}  // namespace detail

// Adds up over `samples` elements of y, all of them where that many: totals[0] the squared differences from the
// definition, totals[1] the squares of the definition, totals[2] how many elements are no numbers.
__global__ void check_operation(ReferenceProblem p, std::int64_t samples, double* totals) {
    std::int64_t elements = 1;
    for (int axis = 0; axis < p.y.rank; ++axis) elements *= p.y.dims[axis];
    const std::int64_t sample = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (sample >= samples || sample >= elements) return;
    std::int64_t rest = sample;
    if (samples < elements) {  // spread over all of them, by a multiplicative hash
        rest = static_cast<std::int64_t>(
                   (static_cast<std::uint64_t>(sample) * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du) >> 1) %
               elements;
    }
    std::int64_t at[4] = {};
    for (int axis = p.y.rank - 1; axis >= 0; --axis) {
        at[axis] = rest % p.y.dims[axis];
        rest /= p.y.dims[axis];
    }
    double want = detail::reference_sum(p, at);
    for (int i = 0; i < p.step_count; ++i) {
        const ReferenceStep& step = p.steps[i];
        if (step.function == ReferenceStep::add || step.function == ReferenceStep::mul) {
            const std::int64_t channel[4] = {at[p.kind == ReferenceProblem::batch_matmul ? 2 : 1], 0, 0, 0};
            const double other = step.operand.rank == 1 ? detail::reference_at(step.operand, channel)
                                                        : detail::reference_at(step.operand, at);
            want = step.function == ReferenceStep::add ? want + other : want * other;
        } else {
            want = detail::reference_function(step, want);
        }
    }
    const double got = detail::reference_at(p.y, at);
    if (got != got) {
        atomicAdd(totals + 2, 1.0);
        return;
    }
    atomicAdd(totals, (got - want) * (got - want));
    atomicAdd(totals + 1, want * want);
}

// Adds up over `count` rows of `width` elements, `pitch` apart and in `kept` one behind the other: totals[0] the
// squared differences, totals[1] the squares of what was kept, totals[2] how many elements are a number in one of the
// two alone.
__global__ void compare_elements(ReferenceTensor::Type type, const void* got, std::int64_t pitch, const void* kept,
                                 std::int64_t width, std::int64_t count, double* totals) {
    double off = 0, norm = 0, odd = 0;
    const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < width * count;
         i += threads) {
        const double a = detail::reference_element(type, got, i / width * pitch + i % width);
        const double b = detail::reference_element(type, kept, i);
        odd += (a != a) != (b != b);
        if (a - a != 0 || b - b != 0) continue;  // no number, or infinite
        off += (a - b) * (a - b);
        norm += b * b;
    }
    atomicAdd(totals, off);
    atomicAdd(totals + 1, norm);
    atomicAdd(totals + 2, odd);
}

// Numbers between -1 and 1, other ones for each seed.
template <typename T>
__global__ void fill_randomly(T* data, std::int64_t count, unsigned seed) {
    const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= count) return;
    unsigned bits = static_cast<unsigned>(at) * 2654435761u + seed * 40503u;
    bits = (bits ^ (bits >> 15)) * 2246822519u;
    bits = (bits ^ (bits >> 13)) * 3266489917u;
    bits ^= bits >> 16;
    data[at] = from_float<T>(static_cast<float>(bits >> 8) * 0x1p-23f - 1.0f);
}

}  // namespace cnngen
