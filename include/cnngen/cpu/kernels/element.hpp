// Element types in memory, and their way to float, in which everything is computed, and back.
//
// Written so that compilers vectorise them: no branches, no calls.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace cnngen::inline cpu {

using float16 = _Float16;

// The upper half of a float.
struct bfloat16 {
    std::uint16_t bits;
};

inline float to_float(float x) { return x; }
inline float to_float(float16 x) { return static_cast<float>(x); }
inline float to_float(bfloat16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }
// Whole numbers are exact up to 2^24.
inline float to_float(std::int32_t x) { return static_cast<float>(x); }
inline float to_float(std::int64_t x) { return static_cast<float>(x); }
inline float to_float(std::uint8_t x) { return static_cast<float>(x); }
inline float to_float(bool x) { return x ? 1.0f : 0.0f; }

// Rounds to the nearest, halves to even; towards zero to whole numbers. A condition is what is not zero.
template <class T>
inline T from_float(float x) {
    if constexpr (std::is_same_v<T, bfloat16>) {
        const auto bits = std::bit_cast<std::uint32_t>(x);
        const std::uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
        const std::uint32_t nan = bits >> 16 | 0x40u;  // rounding could carry it into an infinity
        return {static_cast<std::uint16_t>(x == x ? rounded : nan)};
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
