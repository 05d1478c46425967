// What generated code asks of a library (cuDNN, cuBLASLt, oneDNN): a convolution or a matrix product, and what follows
// it element by element.
#pragma once

#include <variant>
#include <vector>

#include "cnngen/tensor.hpp"

namespace cnngen {

// The spec's layers that a step stands for, in order; what it makes is the last one's result.
struct Layers {
    std::vector<const char*> names;

    Layers() = default;
    Layers(std::initializer_list<const char*> list) : names(list) {}

    // "conv1 + bn1 + relu"
    std::string label() const {
        std::string out;
        for (const char* name : names) out += text(out.empty() ? "" : " + ", name);
        return out;
    }
    std::string result() const { return names.empty() ? "" : names.back(); }
};

enum class Function { add, mul, relu, sigmoid, tanh, elu, gelu, gelu_tanh, softplus, silu, hard_sigmoid, hard_swish };

// One elementwise step of an epilogue. `operand` is for add and mul: a vector over the channels, or a tensor that
// broadcasts to the output. a and b are the function's parameters.
struct Pointwise {
    Function function = Function::add;
    Tensor operand = {};
    float a = 0;
    float b = 0;
    float slope = 0;
};

inline constexpr float no_limit = 3.402823466e38f;

constexpr Pointwise add(const Tensor& operand) { return {Function::add, operand}; }
constexpr Pointwise mul(const Tensor& operand) { return {Function::mul, operand}; }
constexpr Pointwise bias(const Tensor& channels) { return add(channels); }
constexpr Pointwise scale(const Tensor& channels) { return mul(channels); }
constexpr Pointwise clip(float low, float high) { return {Function::relu, {}, low, high}; }
constexpr Pointwise relu() { return clip(0, no_limit); }
constexpr Pointwise leaky_relu(float slope) { return {Function::relu, {}, 0, no_limit, slope}; }
constexpr Pointwise sigmoid() { return {Function::sigmoid}; }
constexpr Pointwise tanh() { return {Function::tanh}; }
constexpr Pointwise elu(float alpha) { return {Function::elu, {}, alpha}; }
constexpr Pointwise gelu() { return {Function::gelu}; }
constexpr Pointwise gelu_tanh() { return {Function::gelu_tanh}; }
constexpr Pointwise softplus() { return {Function::softplus}; }
constexpr Pointwise silu() { return {Function::silu}; }
constexpr Pointwise hard_sigmoid(float alpha, float beta) { return {Function::hard_sigmoid, {}, alpha, beta}; }
constexpr Pointwise hard_swish() { return {Function::hard_swish, {}, 1.0f / 6, 0.5f}; }

using Epilogue = std::vector<Pointwise>;

// y = epilogue(conv(x, w)). The sum is kept in float32 whatever the storage.
struct Convolution {
    Layers layers = {};
    Tensor x = {};
    Tensor w = {};
    Tensor y = {};
    std::array<std::int64_t, 2> stride = {1, 1};
    std::array<std::int64_t, 4> padding = {0, 0, 0, 0};  // top, left, bottom, right
    std::array<std::int64_t, 2> dilation = {1, 1};
    std::int64_t groups = 1;
    Epilogue epilogue = {};
    bool tf32 = false;          // may round float32 operands to TF32
    const char* engine = "";    // as a lock names it: "cudnn 4 24=3"; "": the library's first choice
    std::int64_t channels = 0;  // of y that are real where y is padded; 0: all
};

// y = epilogue(x w^T): x is M x K, w is N x K, y is M x N.
struct Matmul {
    Layers layers = {};
    Tensor x = {};
    Tensor w = {};
    Tensor y = {};
    Epilogue epilogue = {};
    bool tf32 = false;
    const char* engine = "";
    std::int64_t channels = 0;
};

// y = epilogue(x w), matrix by matrix: x is B x M x K, w is B x K x N, y is B x M x N. Either may be an activation.
struct BatchMatmul {
    Layers layers = {};
    Tensor x = {};
    Tensor w = {};
    Tensor y = {};
    Epilogue epilogue = {};
    bool tf32 = false;
    const char* engine = "";
    std::int64_t channels = 0;
};

// Everything but addresses and names: two operations of one signature share a plan.
template <class Operation>
std::string operands_signature(const Operation& op) {
    std::string out = text("x ", signature(op.x), " w ", signature(op.w), " y ", signature(op.y));
    for (const Pointwise& p : op.epilogue) {
        out += text(" | ", static_cast<int>(p.function), " ", p.a, " ", p.b, " ", p.slope);
        if (p.operand.rank) out += text(" ", signature(p.operand));
    }
    return text(out, op.tf32 ? " tf32" : "", *op.engine ? " engine " : "", op.engine);
}

inline std::string signature(const Convolution& c) {
    const auto& [sh, sw] = c.stride;
    const auto& [top, left, bottom, right] = c.padding;
    const auto& [dh, dw] = c.dilation;
    return text("convolution s", sh, ",", sw, " p", top, ",", left, ",", bottom, ",", right, " d", dh, ",", dw, " g",
                c.groups, " ", operands_signature(c));
}

inline std::string signature(const Matmul& m) { return "matmul " + operands_signature(m); }

inline std::string signature(const BatchMatmul& m) { return "batch_matmul " + operands_signature(m); }

using Operation = std::variant<Convolution, Matmul, BatchMatmul>;

inline std::string signature(const Operation& op) {
    return std::visit([](const auto& o) { return signature(o); }, op);
}

inline const Layers& layers_of(const Operation& op) {
    return std::visit([](const auto& o) -> const Layers& { return o.layers; }, op);
}

inline const Tensor& output_of(const Operation& op) {
    return std::visit([](const auto& o) -> const Tensor& { return o.y; }, op);
}

inline std::string_view engine_of(const Operation& op) {
    return std::visit([](const auto& o) { return std::string_view(o.engine); }, op);
}

inline const char* kind_of(const Operation& op) {
    constexpr const char* kinds[] = {"convolution", "matmul", "matmul"};
    return kinds[op.index()];
}

// Addresses of x, w, y and the epilogue's operands.
inline std::vector<void*> addresses_of(const Operation& op) {
    return std::visit(
        [](const auto& o) {
            std::vector<void*> out = {o.x.data, o.w.data, o.y.data};
            for (const Pointwise& p : o.epilogue) {
                if (p.operand.rank) out.push_back(p.operand.data);
            }
            return out;
        },
        op);
}

}  // namespace cnngen
