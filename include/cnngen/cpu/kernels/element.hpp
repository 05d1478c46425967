// Element types in memory, and their way to float, in which everything is computed, and back.
//
// Written so that compilers vectorise them: no branches, no calls.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace cnngen::inline cpu {

// Arithmetic in it is nobody's: where the compiler has no such type (g++ 11), its bits are enough.
#ifdef __FLT16_MAX__
using float16 = _Float16;
#else
struct float16 {
    std::uint16_t bits;
};
#endif

// The upper half of a float.
struct bfloat16 {
    std::uint16_t bits;
};

inline float to_float(float x) { return x; }
inline float to_float(bfloat16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }
#ifdef __FLT16_MAX__
inline float to_float(float16 x) { return static_cast<float>(x); }
#else
inline float to_float(float16 x) {
    const std::uint32_t sign = (x.bits & 0x8000u) << 16, magnitude = x.bits & 0x7fffu;
    // The exponent moves to its place; a multiplication rebases it, and makes numbers of denormal ones.
    const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
    const std::uint32_t special = 0x7f800000u | magnitude << 13;  // infinities and NaN
    return std::bit_cast<float>(sign | (magnitude >= 0x7c00u ? special : std::bit_cast<std::uint32_t>(scaled)));
}
#endif
// Whole numbers are exact up to 2^24.
inline float to_float(std::int32_t x) { return static_cast<float>(x); }
inline float to_float(std::int64_t x) { return static_cast<float>(x); }
inline float to_float(std::uint8_t x) { return static_cast<float>(x); }
inline float to_float(bool x) { return x ? 1.0f : 0.0f; }

#ifndef __FLT16_MAX__
namespace detail {
inline float16 float16_from(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    // Below 2^-14 the sum with 1/2 rounds to the last place of a denormal number.
    const auto denormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
    const std::uint32_t normal = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    const std::uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const std::uint32_t result = magnitude < 0x38800000u ? denormal : magnitude < 0x477ff000u ? normal : special;
    return {static_cast<std::uint16_t>(sign | result)};
}
}  // namespace detail
#endif

// Rounds to the nearest, halves to even; towards zero to whole numbers. A condition is what is not zero.
template <class T>
inline T from_float(float x) {
    if constexpr (std::is_same_v<T, bfloat16>) {
        const auto bits = std::bit_cast<std::uint32_t>(x);
        const std::uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
        const std::uint32_t nan = bits >> 16 | 0x40u;  // rounding could carry it into an infinity
        return {static_cast<std::uint16_t>(x == x ? rounded : nan)};
#ifndef __FLT16_MAX__
    } else if constexpr (std::is_same_v<T, float16>) {
        return detail::float16_from(x);
#endif
    } else if constexpr (std::is_same_v<T, bool>) {
        return x != 0.0f;
    } else if constexpr (std::is_same_v<T, std::uint8_t>) {
        return static_cast<std::uint8_t>(static_cast<std::int32_t>(x));
    } else {
        return static_cast<T>(x);
    }
}

// Whether so many images of so many elements are worth waking other threads.
constexpr bool is_large(std::int64_t images, std::int64_t elements) { return images * elements >= 16 * 1024; }

}  // namespace cnngen::inline cpu
