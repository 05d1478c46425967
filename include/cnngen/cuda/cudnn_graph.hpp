// Convolutions, matrix products and their epilogues as operation graphs of cuDNN's backend API.
#pragma once

#include <deque>
#include <span>
#include <utility>

#include "cnngen/cuda/check.hpp"
#include "cnngen/operation.hpp"

namespace cnngen::cudnn {

// A backend descriptor with typed setters. Setting and finalizing throw Error with cuDNN's reason.
class Descriptor {
   public:
    Descriptor() = default;
    explicit Descriptor(cudnnBackendDescriptorType_t type) {
        check(cudnnBackendCreateDescriptor(type, &raw_), "cuDNN: creating a descriptor");
    }
    ~Descriptor() {
        if (raw_) cudnnBackendDestroyDescriptor(raw_);
    }
    Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }

    cudnnBackendDescriptor_t get() const { return raw_; }
    explicit operator bool() const { return raw_ != nullptr; }

    Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                    const void* values) {
        check(cudnnBackendSetAttribute(raw_, name, type, count, values), "cuDNN: setting an attribute");
        return *this;
    }
    Descriptor& set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values) {
        return set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
    }
    Descriptor& set(cudnnBackendAttributeName_t name, std::int64_t value) {
        return set(name, CUDNN_TYPE_INT64, 1, &value);
    }
    Descriptor& set(cudnnBackendAttributeName_t name, double value) { return set(name, CUDNN_TYPE_DOUBLE, 1, &value); }
    Descriptor& set(cudnnBackendAttributeName_t name, float value) { return set(name, CUDNN_TYPE_FLOAT, 1, &value); }
    Descriptor& set(cudnnBackendAttributeName_t name, bool value) { return set(name, CUDNN_TYPE_BOOLEAN, 1, &value); }
    Descriptor& set(cudnnBackendAttributeName_t name, cudnnDataType_t value) {
        return set(name, CUDNN_TYPE_DATA_TYPE, 1, &value);
    }
    Descriptor& set(cudnnBackendAttributeName_t name, cudnnHandle_t value) {
        return set(name, CUDNN_TYPE_HANDLE, 1, &value);
    }
    Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value) {
        return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.raw_);
    }
    Descriptor& set(cudnnBackendAttributeName_t name, std::string_view characters) {
        return set(name, CUDNN_TYPE_CHAR, static_cast<std::int64_t>(characters.size()), characters.data());
    }
    Descriptor& finalize() {
        check(cudnnBackendFinalize(raw_), "cuDNN: finalizing a descriptor");
        return *this;
    }

    std::int64_t count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
        std::int64_t n = 0;
        check(cudnnBackendGetAttribute(raw_, name, type, 0, &n, nullptr), "cuDNN: counting an attribute");
        return n;
    }
    std::int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t room,
                     void* values) const {
        std::int64_t n = 0;
        check(cudnnBackendGetAttribute(raw_, name, type, room, &n, values), "cuDNN: reading an attribute");
        return n;
    }
    std::int64_t get_int64(cudnnBackendAttributeName_t name) const {
        std::int64_t value = 0;
        get(name, CUDNN_TYPE_INT64, 1, &value);
        return value;
    }
    // Fills `into`, an empty descriptor of the attribute's type.
    void get_descriptor(cudnnBackendAttributeName_t name, Descriptor& into) const {
        get(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &into.raw_);
    }
    std::string get_text(cudnnBackendAttributeName_t name) const {
        std::string out(static_cast<std::size_t>(count(name, CUDNN_TYPE_CHAR)), '\0');
        get(name, CUDNN_TYPE_CHAR, static_cast<std::int64_t>(out.size()), out.data());
        return out;
    }

   private:
    cudnnBackendDescriptor_t raw_ = nullptr;
};

constexpr cudnnDataType_t data_type(DType dtype) {
    switch (dtype) {
        case DType::float16:
            return CUDNN_DATA_HALF;
        case DType::bfloat16:
            return CUDNN_DATA_BFLOAT16;
        default:
            return CUDNN_DATA_FLOAT;
    }
}

struct Scalar {
    std::int64_t uid;
    float value;
};

// A finalized operation graph. Tensors are known by uid: x, w, y are 1, 2, 3, operands of the epilogue 4, 5, ... in
// order; constants and virtual tensors follow.
struct Graph {
    Descriptor operations;
    std::vector<Descriptor> parts;  // descriptors that `operations` refers to
    std::vector<Scalar> scalars;
};

inline constexpr std::int64_t uid_x = 1, uid_w = 2, uid_y = 3, uid_operand = 4;

class GraphBuilder {
   public:
    // Makes graphs for `handle`; without one (null) the device is named when plans are made.
    explicit GraphBuilder(cudnnHandle_t handle) : handle_(handle) {}

    // The convolution with its epilogue.
    Graph build(const Convolution& c) {
        Descriptor& x = tensor(uid_x, c.x);
        Descriptor& w = tensor(uid_w, c.w);
        Descriptor& sum = c.epilogue.empty() ? tensor(uid_y, c.y) : intermediate(c.y);
        convolution(c, x, w, sum);
        epilogue(c.epilogue, sum, c.y);
        return finish();
    }

    // The matrix product with its epilogue; cuDNN wants a batch dimension and w transposed.
    Graph build(const Matmul& m) {
        Tensor w = m.w;
        std::swap(w.dims[0], w.dims[1]);
        std::swap(w.strides[0], w.strides[1]);
        return product(batched(m.x), batched(w), batched(m.y), m.epilogue);
    }

    Graph build(const BatchMatmul& m) { return product(m.x, m.w, m.y, m.epilogue); }

   private:
    Graph product(const Tensor& x, const Tensor& w, const Tensor& y, const Epilogue& steps) {
        Descriptor& a = tensor(uid_x, x);
        Descriptor& b = tensor(uid_w, w);
        Descriptor& sum = steps.empty() ? tensor(uid_y, y) : intermediate(y);
        Descriptor& how = add(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
        how.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT).finalize();
        operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR)
            .set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, a)
            .set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, b)
            .set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, sum)
            .set(CUDNN_ATTR_OPERATION_MATMUL_DESC, how)
            .finalize();
        epilogue(steps, sum, y);
        return finish();
    }

    Descriptor& add(cudnnBackendDescriptorType_t type) { return parts_.emplace_back(type); }

    Descriptor& operation(cudnnBackendDescriptorType_t type) {
        Descriptor& d = add(type);
        operations_.push_back(d.get());
        return d;
    }

    Descriptor& describe(std::int64_t uid, const Tensor& t, cudnnDataType_t type, bool is_virtual) {
        const std::size_t rank = static_cast<std::size_t>(t.rank);
        return add(CUDNN_BACKEND_TENSOR_DESCRIPTOR)
            .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid)
            .set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
            .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::int64_t{16})
            .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span(t.dims.data(), rank))
            .set(CUDNN_ATTR_TENSOR_STRIDES, std::span(t.strides.data(), rank))
            .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, is_virtual)
            .finalize();
    }
    Descriptor& tensor(std::int64_t uid, const Tensor& t) { return describe(uid, t, data_type(t.dtype), false); }

    // Lives in registers, as float32.
    Descriptor& intermediate(const Tensor& like) { return describe(next_uid_++, like, CUDNN_DATA_FLOAT, true); }

    Descriptor& constant(float value, int rank) {
        const std::int64_t uid = next_uid_++;
        scalars_.push_back({uid, value});
        const Tensor one = {nullptr, DType::float32, rank, {1, 1, 1, 1}, {1, 1, 1, 1}};
        const std::size_t n = static_cast<std::size_t>(rank);
        return add(CUDNN_BACKEND_TENSOR_DESCRIPTOR)
            .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid)
            .set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT)
            .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::int64_t{16})
            .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span(one.dims.data(), n))
            .set(CUDNN_ATTR_TENSOR_STRIDES, std::span(one.strides.data(), n))
            .set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true)
            .finalize();
    }

    void convolution(const Convolution& c, Descriptor& x, Descriptor& w, Descriptor& y) {
        const auto& [top, left, bottom, right] = c.padding;
        const std::array<std::int64_t, 2> before = {top, left}, after = {bottom, right};
        Descriptor& how = add(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
        const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
        how.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
            .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode)
            .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2})
            .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, before)
            .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, after)
            .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, c.dilation)
            .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, c.stride)
            .finalize();
        operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
            .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, how)
            .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x)
            .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w)
            .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y)
            // Of the compute type: engines without a fused epilogue read a double's low half, which is 0.
            .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f)
            .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f)
            .finalize();
    }

    // The steps one after the other, from `from` to the tensor y.
    void epilogue(const Epilogue& steps, Descriptor& from, const Tensor& y) {
        Descriptor* value = &from;
        std::int64_t uid = uid_operand;
        for (std::size_t i = 0; i < steps.size(); ++i) {
            const Pointwise& step = steps[i];
            if (is_classic(step)) {
                Descriptor& same = intermediate(y);
                apply(CUDNN_POINTWISE_IDENTITY, *value, nullptr, same);
                value = &same;
            }
            Descriptor* operand = step.operand.rank ? &tensor(uid++, broadcast(step.operand, y)) : nullptr;
            Descriptor& next = i + 1 == steps.size() ? tensor(uid_y, y) : intermediate(y);
            pointwise(step, *value, operand, next, y);
            value = &next;
        }
    }

    // cuDNN knows convolution + bias + one of these from its old API and offers little but its slow reference engine
    // for it. An identity before the function makes the graph a general one, for which the fusing engines compete.
    static bool is_classic(const Pointwise& p) {
        return p.function == Function::sigmoid || p.function == Function::tanh || p.function == Function::elu ||
               (p.function == Function::relu && p.b < no_limit);
    }

    void pointwise(const Pointwise& p, Descriptor& x, Descriptor* operand, Descriptor& out, const Tensor& like) {
        switch (p.function) {
            case Function::add:
                return apply(CUDNN_POINTWISE_ADD, x, operand, out);
            case Function::mul:
                return apply(CUDNN_POINTWISE_MUL, x, operand, out);
            case Function::relu:
                return apply(CUDNN_POINTWISE_RELU_FWD, x, nullptr, out, p);
            case Function::sigmoid:
                return apply(CUDNN_POINTWISE_SIGMOID_FWD, x, nullptr, out);
            case Function::tanh:
                return apply(CUDNN_POINTWISE_TANH_FWD, x, nullptr, out);
            case Function::elu:
                return apply(CUDNN_POINTWISE_ELU_FWD, x, nullptr, out, p);
            case Function::gelu:
                return apply(CUDNN_POINTWISE_GELU_FWD, x, nullptr, out);
            case Function::gelu_tanh:
                return apply(CUDNN_POINTWISE_GELU_APPROX_TANH_FWD, x, nullptr, out);
            case Function::softplus:
                return apply(CUDNN_POINTWISE_SOFTPLUS_FWD, x, nullptr, out);
            case Function::silu:
                return apply(CUDNN_POINTWISE_SWISH_FWD, x, nullptr, out);
            case Function::hard_sigmoid:
                return hard_sigmoid(p, x, out, like);
            case Function::hard_swish: {
                Descriptor& gate = intermediate(like);
                hard_sigmoid(p, x, gate, like);
                return apply(CUDNN_POINTWISE_MUL, x, &gate, out);
            }
        }
    }

    // clip(alpha x + beta, 0, 1); cuDNN has no such function of its own.
    void hard_sigmoid(const Pointwise& p, Descriptor& x, Descriptor& out, const Tensor& like) {
        Descriptor& scaled = intermediate(like);
        Descriptor& shifted = intermediate(like);
        apply(CUDNN_POINTWISE_MUL, x, &constant(p.a, like.rank), scaled);
        apply(CUDNN_POINTWISE_ADD, scaled, &constant(p.b, like.rank), shifted);
        apply(CUDNN_POINTWISE_RELU_FWD, shifted, nullptr, out, clip(0, 1));
    }

    void apply(cudnnPointwiseMode_t mode, Descriptor& x, Descriptor* operand, Descriptor& out,
               const Pointwise& p = {}) {
        Descriptor& how = add(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
        how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode)
            .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
        if (mode == CUDNN_POINTWISE_RELU_FWD) {
            how.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, double{p.a})
                .set(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, double{p.b})
                .set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, double{p.slope});
        }
        if (mode == CUDNN_POINTWISE_ELU_FWD) how.set(CUDNN_ATTR_POINTWISE_ELU_ALPHA, double{p.a});
        how.finalize();
        Descriptor& op = operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
        op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how).set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
        if (operand) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *operand);
        op.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, out).finalize();
    }

    Graph finish() {
        Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
        graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                  static_cast<std::int64_t>(operations_.size()), operations_.data());
        if (handle_) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle_);
        graph.finalize();
        Graph out{std::move(graph), {}, std::move(scalars_)};
        for (Descriptor& part : parts_) out.parts.push_back(std::move(part));
        return out;
    }

    static Tensor batched(const Tensor& t) {
        return {t.data, t.dtype, 3, {1, t.dims[0], t.dims[1]}, {t.dims[0] * t.dims[1], t.strides[0], t.strides[1]}};
    }

    // A vector over the channels, or a matrix beside a matrix, in the rank of y.
    static Tensor broadcast(const Tensor& t, const Tensor& y) {
        if (t.rank == 1 && y.rank == 4) return nhwc(t.data, t.dtype, 1, t.dims[0], 1, 1);
        if (t.rank == 1 && y.rank == 3) return batched(rows(t.data, t.dtype, 1, t.dims[0]));
        return t.rank == 2 && y.rank == 3 ? batched(t) : t;
    }

    cudnnHandle_t handle_;
    std::int64_t next_uid_ = 100;
    std::deque<Descriptor> parts_;  // a deque: references to its elements last
    std::vector<cudnnBackendDescriptor_t> operations_;
    std::vector<Scalar> scalars_;
};

}  // namespace cnngen::cudnn
