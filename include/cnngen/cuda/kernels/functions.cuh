// The scalar functions of generated pointwise kernels and epilogues: float to float, accurate to a few ulp.
//
// NaN passes through every one of them, as in numpy and PyTorch (relu(NaN) is NaN, where fmaxf would give 0): a network
// that diverges must show it. They run on the host too.
#pragma once

#include <vector_types.h>  // __host__ and __device__ for a host compiler

#include <cmath>

namespace cnngen::fn {

__host__ __device__ inline float identity(float x) { return x; }
__host__ __device__ inline float neg(float x) { return -x; }
__host__ __device__ inline float abs(float x) { return ::fabsf(x); }
__host__ __device__ inline float sqrt(float x) { return ::sqrtf(x); }
__host__ __device__ inline float rsqrt(float x) {
#ifdef __CUDA_ARCH__
    return ::rsqrtf(x);
#else
    return 1.0f / ::sqrtf(x);
#endif
}
__host__ __device__ inline float exp(float x) { return ::expf(x); }
__host__ __device__ inline float log(float x) { return ::logf(x); }
__host__ __device__ inline float erf(float x) { return ::erff(x); }
__host__ __device__ inline float pow(float x, float y) { return ::powf(x, y); }
__host__ __device__ inline float floor(float x) { return ::floorf(x); }
__host__ __device__ inline float ceil(float x) { return ::ceilf(x); }
__host__ __device__ inline float round(float x) { return ::rintf(x); }  // halves to even
__host__ __device__ inline float trunc(float x) { return ::truncf(x); }
__host__ __device__ inline float tanh(float x) { return ::tanhf(x); }
__host__ __device__ inline float sin(float x) { return ::sinf(x); }
__host__ __device__ inline float cos(float x) { return ::cosf(x); }
__host__ __device__ inline float tan(float x) { return ::tanf(x); }
__host__ __device__ inline float asin(float x) { return ::asinf(x); }
__host__ __device__ inline float acos(float x) { return ::acosf(x); }
__host__ __device__ inline float atan(float x) { return ::atanf(x); }
__host__ __device__ inline float sinh(float x) { return ::sinhf(x); }
__host__ __device__ inline float cosh(float x) { return ::coshf(x); }
__host__ __device__ inline float asinh(float x) { return ::asinhf(x); }
__host__ __device__ inline float acosh(float x) { return ::acoshf(x); }
__host__ __device__ inline float atanh(float x) { return ::atanhf(x); }
__host__ __device__ inline bool is_nan(float x) { return x != x; }
__host__ __device__ inline float sign(float x) { return x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : x); }

// The remainder of a / b with the sign of a, and with that of b.
__host__ __device__ inline float fmod(float a, float b) { return ::fmodf(a, b); }
__host__ __device__ inline float mod(float a, float b) {
    const float rest = ::fmodf(a, b);
    return rest != 0.0f && (rest < 0.0f) != (b < 0.0f) ? rest + b : rest;
}

// Written so that a NaN on either side is the result.
#if __CUDA_ARCH__ >= 800
__device__ inline float max(float a, float b) {
    float larger;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(a), "f"(b));
    return larger;
}
__device__ inline float min(float a, float b) {
    float smaller;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(smaller) : "f"(a), "f"(b));
    return smaller;
}
#else
__host__ __device__ inline float max(float a, float b) { return a > b || a != a ? a : b; }
__host__ __device__ inline float min(float a, float b) { return a < b || a != a ? a : b; }
#endif

// As comparisons they take twice the instructions.
#if __CUDA_ARCH__ >= 800
__device__ inline float clip(float x, float low, float high) { return min(max(x, low), high); }
__device__ inline float relu(float x) { return max(x, 0.0f); }
#else
__host__ __device__ inline float clip(float x, float low, float high) { return x < low ? low : (x > high ? high : x); }
__host__ __device__ inline float relu(float x) { return x < 0.0f ? 0.0f : x; }
#endif
__host__ __device__ inline float relu6(float x) { return clip(x, 0.0f, 6.0f); }
__host__ __device__ inline float leaky_relu(float x, float slope) { return x < 0.0f ? slope * x : x; }
__host__ __device__ inline float prelu(float x, float slope) { return leaky_relu(x, slope); }
__host__ __device__ inline float elu(float x, float alpha) { return x > 0.0f ? x : alpha * ::expm1f(x); }

__host__ __device__ inline float celu(float x, float alpha) { return x > 0.0f ? x : alpha * ::expm1f(x / alpha); }
__host__ __device__ inline float selu(float x, float alpha, float gamma) { return gamma * elu(x, alpha); }
__host__ __device__ inline float thresholded_relu(float x, float alpha) { return x <= alpha ? 0.0f : x; }
__host__ __device__ inline float shrink(float x, float bias, float lambd) {
    return x < -lambd ? x + bias : (x <= lambd ? 0.0f : x - bias);
}
__host__ __device__ inline float softsign(float x) { return x / (1.0f + ::fabsf(x)); }

// a / b for b of at least 1, two units in the last place off at most and without the branches of an exact division; 0
// where b is 2^126 or more.
__host__ __device__ inline float quotient(float a, float b) {
#ifdef __CUDA_ARCH__
    float reciprocal;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(reciprocal) : "f"(b));
    return a * reciprocal;
#else
    return a / b;
#endif
}

// exp(-x) overflows to infinity below -88, where 1 / (1 + inf) = 0 is the right answer.
__host__ __device__ inline float sigmoid(float x) { return quotient(1.0f, 1.0f + ::expf(-x)); }
__host__ __device__ inline float silu(float x) { return quotient(x, 1.0f + ::expf(-x)); }
__host__ __device__ inline float swish(float x, float alpha) { return quotient(x, 1.0f + ::expf(-alpha * x)); }

// log(1 + exp(x)) without overflow for large x and without cancellation for small.
__host__ __device__ inline float softplus(float x) { return relu(x) + ::log1pf(::expf(-::fabsf(x))); }

__host__ __device__ inline float scaled_softplus(float x, float beta) { return softplus(beta * x) / beta; }

// x * tanh(softplus(x)): with e = exp(x), tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2). From 20 on the quotient is 1.
__host__ __device__ inline float mish(float x) {
    if (x > 20.0f) return x;
    const float e = ::expf(x);
    const float n = e * (e + 2.0f);
    return x * quotient(n, n + 2.0f);
}

// x times the normal distribution's cumulative function. erfc keeps its relative accuracy where 1 + erf cancels.
__host__ __device__ inline float gelu(float x) { return 0.5f * x * ::erfcf(-0.70710678118654752f * x); }
__host__ __device__ inline float gelu_tanh(float x) {
    return 0.5f * x * (1.0f + ::tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
}

__host__ __device__ inline float hard_sigmoid(float x, float alpha, float beta) {
    return clip(alpha * x + beta, 0.0f, 1.0f);
}
__host__ __device__ inline float hard_swish(float x) { return x * clip(x * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f); }

}  // namespace cnngen::fn
