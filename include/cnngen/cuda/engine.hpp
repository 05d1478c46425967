// Which engine runs a step, in the words of generated code and of locks:
//
//   ""                              the library's own first choice
//   "cudnn 4 24=3 31=0"             engine 4 of cuDNN, its knobs 24 and 31 set
//   "cudnn_matmul 7"                a 1x1 convolution as cuDNN's matrix product
//   "cublaslt 66 tile=20 stages=4"  a matrix product, or a 1x1 convolution as one, by algorithm 66 of cuBLASLt
#pragma once

#include <cstdlib>
#include <optional>
#include <utility>

#include "cnngen/operation.hpp"

namespace cnngen::inline cuda {

enum class Library { any, cudnn, cudnn_matmul, cublaslt };

// An engine's number and what is set of it: pairs of a name, or a knob's number, and a value.
struct Engine {
    Library library = Library::any;
    std::int64_t number = -1;
    std::vector<std::pair<std::string, std::int64_t>> settings = {};
};

inline const char* name_of(Library library) {
    constexpr const char* names[] = {"", "cudnn", "cudnn_matmul", "cublaslt"};
    return names[static_cast<std::size_t>(library)];
}

inline std::string engine_text(const Engine& engine) {
    if (engine.library == Library::any) return "";
    std::string out = text(name_of(engine.library), " ", engine.number);
    for (const auto& [name, value] : engine.settings) out += text(" ", name, "=", value);
    return out;
}

// Throws where the words are none of an engine.
inline Engine parse_engine(std::string_view words) {
    Engine engine;
    if (words.empty()) return engine;
    const auto wrong = [&] {
        return Error(text("engine '", words, "': expected a library, a number, then settings as 24=3"));
    };
    const auto number = [&](std::string_view word) {
        const std::string digits(word);
        char* end = nullptr;
        const std::int64_t value = std::strtoll(digits.c_str(), &end, 10);
        if (digits.empty() || *end) throw wrong();
        return value;
    };
    std::size_t position = 0;
    for (std::size_t at = 0; at <= words.size(); ++position) {
        const std::size_t end = std::min(words.find(' ', at), words.size());
        const std::string_view word = words.substr(at, end - at);
        at = end + 1;
        if (position == 0) {
            for (const Library library : {Library::cudnn, Library::cudnn_matmul, Library::cublaslt}) {
                if (word == name_of(library)) engine.library = library;
            }
            if (engine.library == Library::any) throw wrong();
        } else if (position == 1) {
            engine.number = number(word);
        } else {
            const std::size_t equals = word.find('=');
            if (equals == std::string_view::npos) throw wrong();
            engine.settings.emplace_back(word.substr(0, equals), number(word.substr(equals + 1)));
        }
    }
    if (engine.number < 0) throw wrong();
    return engine;
}

// A channels-last tensor as a matrix with a row a pixel; a vector stays one.
inline Tensor as_rows(const Tensor& t) {
    if (t.rank != 4) return t;
    return {t.data, t.dtype, 2, {t.dims[0] * t.dims[2] * t.dims[3], t.dims[1]}, {t.strides[3], t.strides[1]}};
}

// A dense 1x1 convolution of every pixel as the matrix product that it is; none for any other.
inline std::optional<Matmul> as_matmul(const Convolution& c) {
    const auto lies_in_rows = [](const Tensor& t) {
        return t.rank != 4 || (t.strides[1] == 1 && t.strides[2] == t.strides[3] * t.dims[3] &&
                               (t.dims[0] == 1 || t.strides[0] == t.strides[2] * t.dims[2]));
    };
    const bool is_plain = c.w.dims[2] == 1 && c.w.dims[3] == 1 && c.stride == std::array<std::int64_t, 2>{1, 1} &&
                          c.padding == std::array<std::int64_t, 4>{} && c.groups == 1;
    if (!is_plain || !lies_in_rows(c.x) || !lies_in_rows(c.y)) return std::nullopt;
    Matmul m{.layers = c.layers, .x = as_rows(c.x), .y = as_rows(c.y), .tf32 = c.tf32, .channels = c.channels};
    m.w = {c.w.data, c.w.dtype, 2, {c.w.dims[0], c.w.dims[1]}, {c.w.strides[0], 1}};
    for (Pointwise step : c.epilogue) {
        if (!lies_in_rows(step.operand)) return std::nullopt;
        step.operand = as_rows(step.operand);
        m.epilogue.push_back(step);
    }
    return m;
}

}  // namespace cnngen::inline cuda
