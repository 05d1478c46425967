// A tensor is an address with a type, logical dimensions and strides; it owns nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "cnngen/error.hpp"

namespace cnngen {

// The first three are what networks store and compute in; the others are of inputs, outputs, indices and conditions.
enum class DType : std::uint8_t { float32, float16, bfloat16, int32, int64, uint8, boolean };

constexpr std::size_t bytes_of(DType dtype) {
    switch (dtype) {
        case DType::int64:
            return 8;
        case DType::float32:
        case DType::int32:
            return 4;
        case DType::float16:
        case DType::bfloat16:
            return 2;
        case DType::uint8:
        case DType::boolean:
            return 1;
    }
    return 0;
}

constexpr const char* name_of(DType dtype) {
    constexpr const char* names[] = {"float32", "float16", "bfloat16", "int32", "int64", "uint8", "bool"};
    return names[static_cast<std::size_t>(dtype)];
}

// Dimensions are logical: N, C, H, W for activations and K, C, R, S for filters, whatever lies next to what in memory.
// Strides count elements.
struct Tensor {
    void* data = nullptr;
    DType dtype = DType::float32;
    int rank = 0;
    std::array<std::int64_t, 4> dims = {};
    std::array<std::int64_t, 4> strides = {};

    std::int64_t elements() const {
        std::int64_t product = 1;
        for (int i = 0; i < rank; ++i) product *= dims[i];
        return product;
    }
    std::size_t bytes() const { return static_cast<std::size_t>(elements()) * bytes_of(dtype); }
};

// Channels-last activation; `pitch` is the channel count of the buffer where the tensor is a slice of wider pixels.
constexpr Tensor nhwc(void* data, DType dtype, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w,
                      std::int64_t pitch = 0) {
    const std::int64_t p = pitch ? pitch : c;
    return {data, dtype, 4, {n, c, h, w}, {h * w * p, 1, w * p, p}};
}

constexpr Tensor nchw(void* data, DType dtype, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
    return {data, dtype, 4, {n, c, h, w}, {c * h * w, h * w, w, 1}};
}

// Convolution filter, stored K, R, S, C; `c` is the input channels of one group.
constexpr Tensor filter(void* data, DType dtype, std::int64_t k, std::int64_t c, std::int64_t r, std::int64_t s) {
    return {data, dtype, 4, {k, c, r, s}, {c * r * s, 1, s * c, c}};
}

// Row-major matrix; `pitch` is the row length of the buffer where the matrix is a slice of longer rows.
constexpr Tensor rows(void* data, DType dtype, std::int64_t m, std::int64_t n, std::int64_t pitch = 0) {
    return {data, dtype, 2, {m, n}, {pitch ? pitch : n, 1}};
}

// Row-major matrices, one after the other.
constexpr Tensor matrices(void* data, DType dtype, std::int64_t count, std::int64_t m, std::int64_t n) {
    return {data, dtype, 3, {count, m, n}, {m * n, n, 1}};
}

constexpr Tensor vector(void* data, DType dtype, std::int64_t n) { return {data, dtype, 1, {n}, {1}}; }

// "16x64x56x56"
inline std::string shape_text(const Tensor& t) {
    std::string out;
    for (int i = 0; i < t.rank; ++i) out += (i ? "x" : "") + std::to_string(t.dims[i]);
    return out;
}

// Shape, strides and type: equal texts, interchangeable descriptors.
inline std::string signature(const Tensor& t) {
    std::string out = text(name_of(t.dtype), "[", shape_text(t), "]/");
    for (int i = 0; i < t.rank; ++i) out += (i ? "," : "") + std::to_string(t.strides[i]);
    return out;
}

}  // namespace cnngen
