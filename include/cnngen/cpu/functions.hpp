// The scalar functions of generated pointwise kernels and epilogues: float to float, accurate to a few ulp.
//
// Those that networks are full of have no branches and call nothing, so that compilers vectorise a loop over them; the
// rarer ones are the C library's. NaN passes through every one of them, as in numpy and PyTorch (relu(NaN) is NaN,
// where fmaxf would give 0): a network that diverges must show it.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace cnngen::inline cpu {
namespace fn {

inline bool is_nan(float x) { return x != x; }
inline float abs(float x) { return std::fabs(x); }
inline float sqrt(float x) { return std::sqrt(x); }
inline float rsqrt(float x) { return 1.0f / std::sqrt(x); }
inline float floor(float x) { return std::floor(x); }
inline float ceil(float x) { return std::ceil(x); }
inline float trunc(float x) { return std::trunc(x); }
inline float round(float x) { return std::rint(x); }  // halves to even
inline float sign(float x) { return x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : x); }

// Written so that a NaN on either side is the result.
inline float max(float a, float b) { return a > b || a != a ? a : b; }
inline float min(float a, float b) { return a < b || a != a ? a : b; }

inline float clip(float x, float low, float high) { return x < low ? low : (x > high ? high : x); }
inline float relu(float x) { return x < 0.0f ? 0.0f : x; }
inline float leaky_relu(float x, float slope) { return x < 0.0f ? slope * x : x; }
inline float prelu(float x, float slope) { return leaky_relu(x, slope); }

namespace detail {

// x where it is within +-110: beyond, e^x is 0 or infinity anyway. By its bits: a choice between x and a constant would
// be taken for a branch, with all that follows computed apart for the constant, and nothing would be vectorised.
inline float limited(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t magnitude = std::min(bits & 0x7fffffffu, std::bit_cast<std::uint32_t>(110.0f));
    return std::bit_cast<float>((bits & 0x80000000u) | magnitude);
}

// limited x = n ln 2 + r, |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to a whole number, which the lower bits then hold.
struct Reduced {
    float r;
    std::int32_t n;
};
inline Reduced reduce(float any) {
    constexpr float shift = 12582912.0f;
    const float x = limited(any);
    const float shifted = x * 1.44269504f + shift;
    const float n = shifted - shift;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first one short
    return {r, std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(shift)};
}

// e^r - 1 for |r| <= ln 2 / 2
inline float expm1_reduced(float r) {
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * r * r + r;
}

// 2^n for -126 <= n <= 127
inline float power_of_two(std::int32_t n) { return std::bit_cast<float>((n + 127) << 23); }

}  // namespace detail

inline float exp(float x) {
    const auto [r, n] = detail::reduce(x);
    const std::int32_t half = n >> 1;  // 2^n itself may be no float where the result is one
    const float result =
        (detail::expm1_reduced(r) + 1.0f) * detail::power_of_two(half) * detail::power_of_two(n - half);
    return x != x ? x : result;
}

// e^x - 1, accurate also where e^x is close to 1; for x below 88.
inline float expm1(float x) {
    const auto [r, n] = detail::reduce(x);
    const float half = detail::power_of_two(std::clamp(n - 1, -100, 127));  // 2^-100 is nothing beside 1
    const float result = (detail::expm1_reduced(r) * half + (half - 0.5f)) * 2.0f;
    return x == 0.0f || x != x ? x : result;
}

namespace detail {

// log of a normal number
inline float log_normal(float x) {
    // x = 2^e (1 + m), 1 + m between the roots of 1/2 and 2
    const std::int32_t above = std::bit_cast<std::int32_t>(x) - std::bit_cast<std::int32_t>(0.70710678f);
    const auto e = static_cast<float>(above >> 23);
    const float m = std::bit_cast<float>((above & 0x7fffff) + std::bit_cast<std::int32_t>(0.70710678f)) - 1.0f;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    const float square = m * m;
    return p * m * square - e * 2.12194440e-4f - 0.5f * square + m + e * 0.693359375f;
}

}  // namespace detail

inline float log(float x) {
    const bool tiny = x < std::numeric_limits<float>::min();
    float result = detail::log_normal(tiny ? x * 8388608.0f : x) - (tiny ? 15.942385f : 0.0f);  // 23 ln 2
    result = x == std::numeric_limits<float>::infinity() ? x : result;
    result = x == 0.0f ? -std::numeric_limits<float>::infinity() : result;
    return x < 0.0f || x != x ? std::numeric_limits<float>::quiet_NaN() : result;
}

// log(1 + x) for 0 <= x <= 1, with what 1 + x loses made good
inline float log1p(float x) {
    const float sum = 1.0f + x;
    const float lost = x - (sum - 1.0f);
    return detail::log_normal(sum) + lost / sum;
}

inline float tanh(float x) {
    const float e = expm1(-2.0f * std::fabs(x));
    return std::copysign(e / (e + 2.0f), x);
}

inline float erf(float x) {
    const float a = std::fabs(x);
    const float square = x * x;
    float far = -1.72853470e-5f * a + 3.83197126e-4f;
    far = far * square + (-3.88396438e-3f * a + 2.42546219e-2f);
    far = far * a - 1.06777877e-1f;
    far = far * a - 6.34846687e-1f;
    far = far * a - 1.28717512e-1f;
    far = std::copysign(-expm1(far * a - a), x);
    float near = -5.96761703e-4f;
    near = near * square + 4.99119423e-3f;
    near = near * square - 2.67681349e-2f;
    near = near * square + 1.12819925e-1f;
    near = near * square - 3.76125336e-1f;
    near = near * square + 1.28379166e-1f;
    return a > 0.921875f ? far : near * x + x;
}

// 1 - erf(x), with its relative accuracy where that is close to 0
inline float erfc(float x) {
    const float a = std::fabs(x);
    // exp(a^2) erfc(a) (1 + 2a) as a polynomial of q = (a - 2) / (a + 2)
    const float reciprocal = 1.0f / (a + 2.0f);
    float q = (a - 2.0f) * reciprocal;
    q = std::fma(reciprocal, std::fma(q, -a, std::fma(q + 1.0f, -2.0f, a)), q);
    float p = -4.01020574e-4f;
    p = p * q - 1.23073824e-3f;
    p = p * q + 1.31355994e-3f;
    p = p * q + 8.63243826e-3f;
    p = p * q - 8.05991236e-3f;
    p = p * q - 5.42047396e-2f;
    p = p * q + 1.64055347e-1f;
    p = p * q - 1.66031361e-1f;
    p = p * q - 9.27639678e-2f;
    p = p * q + 2.76978403e-1f;
    const float quotient = 1.0f / std::fma(2.0f, a, 1.0f);
    q = std::fma(p, quotient, quotient);
    const float rest = std::fma(std::fma(q, -a, 0.5f), 2.0f, p - q);
    float result = std::fma(rest, quotient, q);
    const float square = a * a;
    const float e = exp(-square);
    result = std::fma(result, e, result * e * std::fma(-a, a, square));
    result = a > 10.0546875f ? 0.0f : result;
    return x < 0.0f ? 2.0f - result : result;
}

inline float elu(float x, float alpha) { return x > 0.0f ? x : alpha * expm1(x); }
inline float celu(float x, float alpha) { return x > 0.0f ? x : alpha * expm1(x / alpha); }
inline float selu(float x, float alpha, float gamma) { return gamma * elu(x, alpha); }
inline float softsign(float x) { return x / (1.0f + std::fabs(x)); }
inline float thresholded_relu(float x, float alpha) { return x <= alpha ? 0.0f : x; }
inline float shrink(float x, float bias, float lambd) { return x < -lambd ? x + bias : (x <= lambd ? 0.0f : x - bias); }

// exp(-x) overflows to infinity below -88, where 1 / (1 + inf) = 0 is the right answer.
inline float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }
inline float silu(float x) { return x / (1.0f + exp(-x)); }
inline float swish(float x, float alpha) { return x / (1.0f + exp(-alpha * x)); }

// log(1 + exp(x)) without overflow for large x and without cancellation for small.
inline float softplus(float x) { return relu(x) + log1p(exp(-std::fabs(x))); }
inline float scaled_softplus(float x, float beta) { return softplus(beta * x) / beta; }

// x * tanh(softplus(x)): with e = exp(x), tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2). From 20 on the quotient is 1.
inline float mish(float x) {
    const float e = exp(x > 20.0f ? 20.0f : x);
    const float n = e * (e + 2.0f);
    return x * (n / (n + 2.0f));
}

// x times the normal distribution's cumulative function. erfc keeps its relative accuracy where 1 + erf cancels.
inline float gelu(float x) { return 0.5f * x * erfc(-0.70710678118654752f * x); }
inline float gelu_tanh(float x) { return 0.5f * x * (1.0f + tanh(0.79788456080286536f * (x + 0.044715f * x * x * x))); }

inline float hard_sigmoid(float x, float alpha, float beta) { return clip(alpha * x + beta, 0.0f, 1.0f); }
inline float hard_swish(float x) { return x * clip(x / 6.0f + 0.5f, 0.0f, 1.0f); }

// The rarer ones: a call each.
inline float pow(float x, float y) { return std::pow(x, y); }
inline float fmod(float x, float y) { return std::fmod(x, y); }  // with the sign of x
inline float mod(float x, float y) {                             // with the sign of y
    const float rest = std::fmod(x, y);
    return rest != 0.0f && (rest < 0.0f) != (y < 0.0f) ? rest + y : rest;
}
inline float sin(float x) { return std::sin(x); }
inline float cos(float x) { return std::cos(x); }
inline float tan(float x) { return std::tan(x); }
inline float asin(float x) { return std::asin(x); }
inline float acos(float x) { return std::acos(x); }
inline float atan(float x) { return std::atan(x); }
inline float sinh(float x) { return std::sinh(x); }
inline float cosh(float x) { return std::cosh(x); }
inline float asinh(float x) { return std::asinh(x); }
inline float acosh(float x) { return std::acosh(x); }
inline float atanh(float x) { return std::atanh(x); }

}  // namespace fn
}  // namespace cnngen::inline cpu
