// Convolutions and matrix products by oneDNN, 2.6 or newer.
#pragma once

#include <oneapi/dnnl/dnnl_debug.h>

#include <oneapi/dnnl/dnnl.hpp>

#include "cnngen/operation.hpp"

namespace cnngen::inline cpu {

inline std::string onednn_version_text() {
    const dnnl_version_t* v = dnnl_version();
    return text(v->major, ".", v->minor, ".", v->patch);
}

// oneDNN's exceptions as ours. `doing` is put together only where it failed.
template <class Work, class... Parts>
auto with_onednn(Work&& work, const Parts&... doing) {
    try {
        return work();
    } catch (const dnnl::error& e) {
        throw Error(text(text(doing...), ": oneDNN: ", e.what(), " (", dnnl_status2str(e.status), ")"));
    }
}

inline dnnl::memory::data_type data_type(DType dtype) {
    switch (dtype) {
        case DType::float16:
            return dnnl::memory::data_type::f16;
        case DType::bfloat16:
            return dnnl::memory::data_type::bf16;
        case DType::int32:
            return dnnl::memory::data_type::s32;
        case DType::uint8:
            return dnnl::memory::data_type::u8;
        default:
            return dnnl::memory::data_type::f32;
    }
}

using Extents = dnnl::memory::dims;

inline Extents extents(const std::array<std::int64_t, 4>& values, int rank) {
    return {values.begin(), values.begin() + rank};
}

inline dnnl::memory::desc describe(const Tensor& t) {
    return {extents(t.dims, t.rank), data_type(t.dtype), extents(t.strides, t.rank)};
}

// A vector over the channels as a tensor beside y: 1 x C x 1 x 1, 1 x C, or 1 x 1 x C beside matrices.
inline dnnl::memory::desc describe_channels(const Tensor& vector, const Tensor& y) {
    const std::size_t rank = static_cast<std::size_t>(y.rank), axis = rank == 3 ? 2 : 1;
    const std::int64_t channels = vector.dims[0];
    Extents dims(rank, 1), strides(rank, 1);
    dims[axis] = channels;
    std::fill_n(strides.begin(), axis, channels);
    return {dims, data_type(vector.dtype), strides};
}

// A primitive with its arguments described; it holds no address and may be executed by several threads at once.
class Plan {
   public:
    // Where an argument's address comes from: addresses_of(operation)[address].
    struct Place {
        int argument;
        dnnl::memory::desc md;
        std::size_t address;
    };

    // `constant_weights`: w never changes, so that it may be brought into another layout once.
    Plan(const Operation& op, const dnnl::engine& engine, bool constant_weights) {
        const bool is_half = output_of(op).dtype == DType::bfloat16;
        with_onednn([&] { std::visit([&](const auto& o) { make(o, engine, constant_weights); }, op); }, "planning '",
                    layers_of(op).label(), is_half ? "' in bfloat16, which needs a CPU with AVX-512" : "'");
    }

    std::string engine() const { return "onednn " + name_; }
    std::size_t workspace() const { return scratchpad_.get_size(); }
    const dnnl::memory::desc& scratchpad() const { return scratchpad_; }
    const std::vector<Place>& places() const { return places_; }
    const_dnnl_primitive_t primitive() const { return primitive_.get(); }

    // As the file has w, and as the primitive wants it.
    const dnnl::memory::desc& given_weights() const { return given_; }
    const dnnl::memory::desc& wanted_weights() const { return places_[1].md; }
    bool reorders_weights() const { return given_ != wanted_weights(); }

   private:
    void make(const Convolution& c, const dnnl::engine& engine, bool constant_weights) {
        const auto& [k, channels, r, s] = c.w.dims;
        const auto& [sk, sc, sr, ss] = c.w.strides;
        Extents dims = {k, channels, r, s}, strides = {sk, sc, sr, ss};
        if (c.groups > 1) {
            dims = {c.groups, k / c.groups, channels, r, s};
            strides = {k / c.groups * sk, sk, sc, sr, ss};
        }
        given_ = {dims, data_type(c.w.dtype), strides};
        const auto x = describe(c.x), y = describe(c.y);
        const auto w = constant_weights ? dnnl::memory::desc(dims, data_type(c.w.dtype), any) : given_;
        const auto bias = take_bias(c);
        const dnnl::primitive_attr attributes = attributes_of(c);
        const Extents stride = {c.stride[0], c.stride[1]}, dilation = {c.dilation[0] - 1, c.dilation[1] - 1};
        const Extents before = {c.padding[0], c.padding[1]}, after = {c.padding[2], c.padding[3]};
        constexpr auto inference = dnnl::prop_kind::forward_inference;
        constexpr auto direct = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
        const dnnl::convolution_forward::primitive_desc pd(engine, inference, direct, x, w, bias, y, stride, dilation,
                                                           before, after, attributes);
#else
        const dnnl::convolution_forward::primitive_desc pd(
            {inference, direct, x, w, bias, y, stride, dilation, before, after}, attributes, engine);
#endif
        finish<dnnl::convolution_forward>(pd, x, y);
    }

    void make(const Matmul& m, const dnnl::engine& engine, bool constant_weights) {
        product(m, {m.w.dims[1], m.w.dims[0]}, {m.w.strides[1], m.w.strides[0]}, engine, constant_weights);
    }

    void make(const BatchMatmul& m, const dnnl::engine& engine, bool constant_weights) {
        product(m, extents(m.w.dims, 3), extents(m.w.strides, 3), engine, constant_weights);
    }

    template <class Product>
    void product(const Product& m, const Extents& dims, const Extents& strides, const dnnl::engine& engine,
                 bool constant_weights) {
        given_ = {dims, data_type(m.w.dtype), strides};
        const auto x = describe(m.x), y = describe(m.y);
        const auto w = constant_weights ? dnnl::memory::desc(dims, data_type(m.w.dtype), any) : given_;
        const auto bias = take_bias(m);
        const dnnl::primitive_attr attributes = attributes_of(m);
#if DNNL_VERSION_MAJOR >= 3
        const dnnl::matmul::primitive_desc pd(engine, x, w, bias, y, attributes);
#else
        const dnnl::matmul::primitive_desc pd({x, w, bias, y}, attributes, engine);
#endif
        finish<dnnl::matmul>(pd, x, y);
    }

    // The first step as the primitive's bias, where it is one.
    template <class Op>
    dnnl::memory::desc take_bias(const Op& op) {
        has_bias_ =
            !op.epilogue.empty() && op.epilogue[0].function == Function::add && op.epilogue[0].operand.rank == 1;
        if (!has_bias_) return {};
        const Tensor& bias = op.epilogue[0].operand;
        bias_ = op.y.rank == 4 ? describe(bias) : describe_channels(bias, op.y);
        return bias_;
    }

    // The other steps, after the sum.
    template <class Op>
    dnnl::primitive_attr attributes_of(const Op& op) {
        dnnl::post_ops steps;
        std::size_t address = has_bias_ ? 4 : 3;
        for (std::size_t i = has_bias_; i < op.epilogue.size(); ++i) {
            const Pointwise& p = op.epilogue[i];
            if (!p.operand.rank) {
                append_function(steps, p);
            } else if (p.function == Function::add && p.operand.data == op.y.data && p.operand.rank == op.y.rank) {
                steps.append_sum(1.0f);  // it lies where y is to lie
                ++address;
            } else {
                const bool is_vector = p.operand.rank == 1;
                const dnnl::memory::desc md = is_vector ? describe_channels(p.operand, op.y) : describe(p.operand);
                const auto how =
                    p.function == Function::add ? dnnl::algorithm::binary_add : dnnl::algorithm::binary_mul;
                operands_.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(steps.len()) | DNNL_ARG_SRC_1, md, address++});
                steps.append_binary(how, md);
            }
        }
        dnnl::primitive_attr out;
        out.set_post_ops(steps);
        out.set_scratchpad_mode(dnnl::scratchpad_mode::user);
        return out;
    }

    static void append_function(dnnl::post_ops& steps, const Pointwise& p) {
        using dnnl::algorithm;
        const auto append = [&](algorithm how, float a = 0, float b = 0) {
#if DNNL_VERSION_MAJOR >= 3
            steps.append_eltwise(how, a, b);
#else
            steps.append_eltwise(1.0f, how, a, b);
#endif
        };
        switch (p.function) {
            case Function::relu:
                if (p.a == 0 && p.b == no_limit) return append(algorithm::eltwise_relu, p.slope);
                return append(algorithm::eltwise_clip, p.a, p.b);
            case Function::sigmoid:
                return append(algorithm::eltwise_logistic);
            case Function::tanh:
                return append(algorithm::eltwise_tanh);
            case Function::elu:
                return append(algorithm::eltwise_elu, p.a);
            case Function::gelu:
                return append(algorithm::eltwise_gelu_erf);
            case Function::gelu_tanh:
                return append(algorithm::eltwise_gelu_tanh);
            case Function::softplus:
                return append(algorithm::eltwise_soft_relu, 1);
            case Function::silu:
                return append(algorithm::eltwise_swish, 1);
            case Function::hard_sigmoid:
                append(algorithm::eltwise_linear, p.a, p.b);
                return append(algorithm::eltwise_clip, 0, 1);
            case Function::hard_swish:
#if DNNL_VERSION_MAJOR >= 3
                return append(algorithm::eltwise_hardswish, p.a, p.b);
#else
                return append(algorithm::eltwise_hardswish);  // with 1/6 and 1/2
#endif
            case Function::add:
            case Function::mul:
                break;
        }
        throw Error("an epilogue step without its operand");
    }

    template <class Primitive, class Descriptor>
    void finish(const Descriptor& pd, const dnnl::memory::desc& x, const dnnl::memory::desc& y) {
        primitive_ = Primitive(pd);
        name_ = pd.impl_info_str();
        scratchpad_ = pd.scratchpad_desc();
        places_ = {{DNNL_ARG_SRC, x, 0}, {DNNL_ARG_WEIGHTS, pd.weights_desc(), 1}, {DNNL_ARG_DST, y, 2}};
        if (has_bias_) places_.push_back({DNNL_ARG_BIAS, bias_, 3});
        places_.insert(places_.end(), operands_.begin(), operands_.end());
    }

    static constexpr auto any = dnnl::memory::format_tag::any;

    dnnl::primitive primitive_;
    std::string name_;
    dnnl::memory::desc given_, scratchpad_, bias_;
    bool has_bias_ = false;
    std::vector<Place> operands_;
    std::vector<Place> places_;  // x, w, y, then bias and operands
};

}  // namespace cnngen::inline cpu
