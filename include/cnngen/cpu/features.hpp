// What a CPU must know to run a kernel, as bits: those that the including file is compiled for, and those of this
// machine.
#pragma once

#include <cstdint>
#include <string>

namespace cnngen::inline cpu {

// The names are those of g++'s -m options and of /proc/cpuinfo, by bit.
inline constexpr const char* feature_names[] = {
    "sse4.2",   "avx",      "avx2",       "fma",        "f16c",       "bmi2",       "avx512f",    "avx512bw",
    "avx512dq", "avx512vl", "avx512vnni", "avx512bf16", "avx512fp16", "avx512vbmi", "avx512ifma", "avx512vpopcntdq"};

// Of the file that includes this: static, since files of one program may differ.
static constexpr std::uint32_t compiled_features =
#ifdef __SSE4_2__
    1u << 0 |
#endif
#ifdef __AVX__
    1u << 1 |
#endif
#ifdef __AVX2__
    1u << 2 |
#endif
#ifdef __FMA__
    1u << 3 |
#endif
#ifdef __F16C__
    1u << 4 |
#endif
#ifdef __BMI2__
    1u << 5 |
#endif
#ifdef __AVX512F__
    1u << 6 |
#endif
#ifdef __AVX512BW__
    1u << 7 |
#endif
#ifdef __AVX512DQ__
    1u << 8 |
#endif
#ifdef __AVX512VL__
    1u << 9 |
#endif
#ifdef __AVX512VNNI__
    1u << 10 |
#endif
#ifdef __AVX512BF16__
    1u << 11 |
#endif
#ifdef __AVX512FP16__
    1u << 12 |
#endif
#ifdef __AVX512VBMI__
    1u << 13 |
#endif
#ifdef __AVX512IFMA__
    1u << 14 |
#endif
#ifdef __AVX512VPOPCNTDQ__
    1u << 15 |
#endif
    0;

inline std::uint32_t machine_features() {
    std::uint32_t out = 0;
#if defined(__x86_64__) || defined(__i386__)
    const bool has[] = {__builtin_cpu_supports("sse4.2") != 0,     __builtin_cpu_supports("avx") != 0,
                        __builtin_cpu_supports("avx2") != 0,       __builtin_cpu_supports("fma") != 0,
                        __builtin_cpu_supports("f16c") != 0,       __builtin_cpu_supports("bmi2") != 0,
                        __builtin_cpu_supports("avx512f") != 0,    __builtin_cpu_supports("avx512bw") != 0,
                        __builtin_cpu_supports("avx512dq") != 0,   __builtin_cpu_supports("avx512vl") != 0,
                        __builtin_cpu_supports("avx512vnni") != 0, __builtin_cpu_supports("avx512bf16") != 0,
                        __builtin_cpu_supports("avx512fp16") != 0, __builtin_cpu_supports("avx512vbmi") != 0,
                        __builtin_cpu_supports("avx512ifma") != 0, __builtin_cpu_supports("avx512vpopcntdq") != 0};
    for (std::uint32_t i = 0; i < std::size(has); ++i) out |= std::uint32_t{has[i]} << i;
#else
    out = compiled_features;  // one set for all that this program runs on
#endif
    return out;
}

// "avx2, fma"
inline std::string features_text(std::uint32_t features) {
    std::string out;
    for (std::uint32_t i = 0; i < std::size(feature_names); ++i) {
        if (features >> i & 1) out += (out.empty() ? "" : ", ") + std::string(feature_names[i]);
    }
    return out;
}

}  // namespace cnngen::inline cpu
