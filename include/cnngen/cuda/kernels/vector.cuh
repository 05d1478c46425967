// Vec<T, V>: V neighbouring channels of a channels-last tensor, moved by one access of up to 16 bytes.
//
// T is float, __half or __nv_bfloat16, or a whole number or bool; arithmetic is always done in float, which has whole
// numbers up to 2^24. A pointer given to load<V> or store must be
// aligned to min(16, V * sizeof(T)) bytes, which holds for a channel that is a multiple of V in a tensor whose channel
// count is a multiple of V and whose start is 16-byte aligned.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>

namespace cnngen {

template <typename T, int V>
struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Vec {
    static_assert(V > 0 && (V & (V - 1)) == 0, "V must be a power of two");
    T lane[V];
};

// The widest vector of T that divides `channels`: at most 16 bytes, at least one element.
template <typename T>
__host__ __device__ constexpr int vector_width(int channels) {
    int v = 16 / static_cast<int>(sizeof(T));
    while (channels % v != 0) v /= 2;
    return v;
}

namespace detail {

template <int Bytes>
struct WordOf;
template <>
struct WordOf<1> {
    using type = unsigned char;
};
template <>
struct WordOf<2> {
    using type = unsigned short;
};
template <>
struct WordOf<4> {
    using type = unsigned int;
};
template <>
struct WordOf<8> {
    using type = uint2;
};
template <>
struct WordOf<16> {
    using type = uint4;
};

// The type of one memory access of a Vec<T, V>, and how many of them the vector takes.
template <typename T, int V>
struct Access {
    static constexpr int bytes = static_cast<int>(sizeof(Vec<T, V>));
    static constexpr int count = bytes > 16 ? bytes / 16 : 1;
    using Word = typename WordOf<(bytes > 16 ? 16 : bytes)>::type;
};

template <typename To, typename From>
__device__ __forceinline__ To bits_as(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(static_cast<void*>(&to), &from, sizeof(To));
    return to;
}

}  // namespace detail

// Reads V elements from global memory.
template <int V, typename T>
__device__ __forceinline__ Vec<T, V> load(const T* from) {
    using Access = detail::Access<T, V>;
    typename Access::Word words[Access::count];
#pragma unroll
    for (int i = 0; i < Access::count; ++i) words[i] = reinterpret_cast<const typename Access::Word*>(from)[i];
    return detail::bits_as<Vec<T, V>>(words);
}

// As load, for data that nothing writes while the kernel runs. From a `const T* __restrict__` parameter the compiler
// makes it a read-only load (ld.global.nc) by itself; __ldg is volatile assembly, of which two equal ones stay two.
template <int V, typename T>
__device__ __forceinline__ Vec<T, V> load_readonly(const T* __restrict__ from) {
    return load<V>(from);
}

// Writes V elements to global memory. An ordinary assignment would often be split into 4-byte stores; the intrinsic is
// one access, and an ordinary one (write back) in all else.
template <typename T, int V>
__device__ __forceinline__ void store(T* to, const Vec<T, V>& value) {
    using Access = detail::Access<T, V>;
    struct Words {
        typename Access::Word word[Access::count];
    };
    const Words words = detail::bits_as<Words>(value);
#pragma unroll
    for (int i = 0; i < Access::count; ++i) __stwb(reinterpret_cast<typename Access::Word*>(to) + i, words.word[i]);
}

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(int x) { return static_cast<float>(x); }
__device__ __forceinline__ float to_float(std::int64_t x) { return static_cast<float>(x); }
__device__ __forceinline__ float to_float(std::uint8_t x) { return static_cast<float>(x); }
__device__ __forceinline__ float to_float(bool x) { return x ? 1.0f : 0.0f; }

// Rounds to nearest even: from_float<__half>(x). A whole number is what stands before the point, a bool whether x is
// not 0.
template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
    return x;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
    return __float2half_rn(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ int from_float<int>(float x) {
    return static_cast<int>(x);
}
template <>
__device__ __forceinline__ std::int64_t from_float<std::int64_t>(float x) {
    return static_cast<std::int64_t>(x);
}
template <>
__device__ __forceinline__ std::uint8_t from_float<std::uint8_t>(float x) {
    return static_cast<std::uint8_t>(static_cast<int>(x));
}
template <>
__device__ __forceinline__ bool from_float<bool>(float x) {
    return x != 0.0f;
}

namespace detail {

__device__ __forceinline__ float2 pair_to_float(__half2 pair) { return __half22float2(pair); }
__device__ __forceinline__ float2 pair_to_float(__nv_bfloat162 pair) { return __bfloat1622float2(pair); }

template <typename T>
struct PairOf;
template <>
struct PairOf<__half> {
    using type = __half2;
    static __device__ __forceinline__ __half2 from(float a, float b) { return __floats2half2_rn(a, b); }
};
template <>
struct PairOf<__nv_bfloat16> {
    using type = __nv_bfloat162;
    static __device__ __forceinline__ __nv_bfloat162 from(float a, float b) { return __floats2bfloat162_rn(a, b); }
};

}  // namespace detail

// Converts every lane; 16-bit types two at a time.
template <typename T, int V>
__device__ __forceinline__ void to_float(const Vec<T, V>& from, float (&to)[V]) {
    if constexpr (sizeof(T) == 2 && V % 2 == 0) {
        using Pair = typename detail::PairOf<T>::type;
        struct Pairs {
            Pair pair[V / 2];
        };
        const Pairs pairs = detail::bits_as<Pairs>(from);
#pragma unroll
        for (int i = 0; i < V / 2; ++i) {
            const float2 both = detail::pair_to_float(pairs.pair[i]);
            to[2 * i] = both.x;
            to[2 * i + 1] = both.y;
        }
    } else {
#pragma unroll
        for (int i = 0; i < V; ++i) to[i] = to_float(from.lane[i]);
    }
}

// Rounds every lane to nearest even: from_float<__half>(acc).
template <typename T, int V>
__device__ __forceinline__ Vec<T, V> from_float(const float (&from)[V]) {
    if constexpr (sizeof(T) == 2 && V % 2 == 0) {
        struct Pairs {
            typename detail::PairOf<T>::type pair[V / 2];
        } pairs;
#pragma unroll
        for (int i = 0; i < V / 2; ++i) pairs.pair[i] = detail::PairOf<T>::from(from[2 * i], from[2 * i + 1]);
        return detail::bits_as<Vec<T, V>>(pairs);
    } else {
        Vec<T, V> to;
#pragma unroll
        for (int i = 0; i < V; ++i) to.lane[i] = from_float<T>(from[i]);
        return to;
    }
}

// Every lane the same: what a window reads beyond the edge of its input.
template <typename T, int V>
__device__ __forceinline__ Vec<T, V> splat(float value) {
    Vec<T, V> all;
#pragma unroll
    for (int i = 0; i < V; ++i) all.lane[i] = from_float<T>(value);
    return all;
}

// As load_readonly where there is something to be read, else `otherwise` in every lane. Chosen by words: by elements,
// the compiler would take every 16-bit one apart.
template <int V, typename T>
__device__ __forceinline__ Vec<T, V> load_if(bool inside, const T* from, float otherwise) {
    using Access = detail::Access<T, V>;
    struct Words {
        typename Access::Word word[Access::count];
    };
    Words words = detail::bits_as<Words>(splat<T, V>(otherwise));
    if (inside) {
#pragma unroll
        for (int i = 0; i < Access::count; ++i) {
            words.word[i] = reinterpret_cast<const typename Access::Word*>(from)[i];
        }
    }
    return detail::bits_as<Vec<T, V>>(words);
}

// The epilogue of a kernel that stores its accumulators as they are. An epilogue is called once for each output vector
// of V channels, c .. c + V - 1 of pixel (h, w) of image n, and changes the accumulators in place:
//   __device__ void operator()(float (&acc)[V], int n, int c, int h, int w) const;
struct NoEpilogue {
    template <int V>
    __device__ __forceinline__ void operator()(float (&)[V], int, int, int, int) const {}
};

}  // namespace cnngen
