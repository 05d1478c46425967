// Matrix products by cuBLASLt: y = epilogue(x w^T + residual + bias), or of a batch x w, all row-major.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <type_traits>

#include "cnngen/cuda/engine.hpp"
#include "cnngen/cuda/memory.hpp"

namespace cnngen::lt {

constexpr cudaDataType_t data_type(DType dtype) {
    switch (dtype) {
        case DType::float16:
            return CUDA_R_16F;
        case DType::bfloat16:
            return CUDA_R_16BF;
        default:
            return CUDA_R_32F;
    }
}

// The epilogue in cuBLASLt's terms.
struct Fused {
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    int bias = -1;      // index among the epilogue's operands
    int residual = -1;  // likewise
};

// What cuBLASLt can fuse: residual and bias in any order, then ReLU or tanh-GELU; nothing for any other epilogue.
template <class Product>
std::optional<Fused> fuse(const Product& m) {
    Fused out;
    int operand = 0;
    bool has_relu = false, has_gelu = false;
    for (const Pointwise& step : m.epilogue) {
        const bool is_bias = step.function == Function::add && step.operand.rank == 1;
        const bool is_residual = step.function == Function::add && step.operand.rank == m.y.rank;
        const bool is_relu = step.function == Function::relu && step.a == 0 && step.b == no_limit && step.slope == 0;
        if (has_relu || has_gelu || (step.operand.rank && step.operand.dtype != m.y.dtype)) return std::nullopt;
        if (is_bias && out.bias < 0) {
            out.bias = operand;
        } else if (is_residual && out.residual < 0 && step.operand.dims == m.y.dims) {
            out.residual = operand;
        } else if (is_relu) {
            has_relu = true;
        } else if (step.function == Function::gelu_tanh) {
            has_gelu = true;
        } else {
            return std::nullopt;
        }
        operand += step.operand.rank != 0;
    }
    const bool has_bias = out.bias >= 0;
    if (has_relu) {
        out.epilogue = has_bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    } else if (has_gelu) {
        out.epilogue = has_bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    } else if (has_bias) {
        out.epilogue = CUBLASLT_EPILOGUE_BIAS;
    }
    return out;
}

// What is set of an algorithm, as engines name it.
struct Setting {
    const char* name;
    cublasLtMatmulAlgoConfigAttributes_t attribute;
    std::size_t bytes;
};
inline constexpr Setting settings[] = {
    {"tile", CUBLASLT_ALGO_CONFIG_TILE_ID, 4},          {"stages", CUBLASLT_ALGO_CONFIG_STAGES_ID, 4},
    {"split", CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 4},      {"reduction", CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 4},
    {"swizzle", CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 4}, {"custom", CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 4},
    {"inner", CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, 2},  {"cluster", CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2},
};

// The algorithm and its settings; one that is not named is 0.
inline Engine engine_of(const cublasLtMatmulAlgo_t& algorithm) {
    const auto read = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, std::size_t bytes) {
        std::uint64_t value = 0;  // the machine is little-endian, as every one with these GPUs
        std::size_t written = 0;
        cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, bytes, &written);
        return static_cast<std::int64_t>(value);
    };
    Engine out{Library::cublaslt, read(CUBLASLT_ALGO_CONFIG_ID, 4)};
    for (const Setting& setting : settings) {
        const std::int64_t value = read(setting.attribute, setting.bytes);
        if (value) out.settings.emplace_back(setting.name, value);
    }
    return out;
}

// A matrix product, or a batch of them, with its algorithm. Column-major cuBLAS sees y^T = w x^T: A is w, which a
// single product has transposed, B is x.
class Plan {
   public:
    // By cuBLASLt's first choice; throws where it has none within the workspace.
    template <class Product>
    Plan(const Product& m, cublasLtHandle_t handle, std::size_t workspace_limit) : Plan(m) {
        const std::vector<cublasLtMatmulHeuristicResult_t> found = offered(m, handle, workspace_limit, 1);
        if (found.empty()) throw Error("cuBLASLt has no algorithm within the workspace limit");
        take(found.front());
    }

    // By the engine; throws where this cuBLASLt has none such for the product, or it needs more workspace.
    template <class Product>
    Plan(const Product& m, cublasLtHandle_t handle, std::size_t workspace_limit, const Engine& engine) : Plan(m) {
        cublasLtMatmulHeuristicResult_t result{};
        const cudaDataType_t type = data_type(m.x.dtype);
        check(cublasLtMatmulAlgoInit(handle, compute_type(m), CUDA_R_32F, type, type, type, type,
                                     static_cast<int>(engine.number), &result.algo),
              "cuBLASLt: making algorithm ", engine.number);
        for (const Setting& setting : settings) {
            std::uint64_t value = 0;
            for (const auto& [name, given] : engine.settings) {
                if (name == setting.name) value = static_cast<std::uint64_t>(given);
            }
            check(cublasLtMatmulAlgoConfigSetAttribute(&result.algo, setting.attribute, &value, setting.bytes),
                  "cuBLASLt: setting '", setting.name, "' of algorithm ", engine.number);
        }
        const cublasLtMatmulAlgo_t algorithm = result.algo;
        check(cublasLtMatmulAlgoCheck(handle, operation_.get(), a_.get(), b_.get(), c_.get(), d_.get(), &algorithm,
                                      &result),
              "cuBLASLt: checking algorithm ", engine.number);
        result.algo = algorithm;
        if (result.workspaceSize > workspace_limit) throw Error("it needs more workspace than is allowed");
        take(result);
    }

    // The engines that cuBLASLt offers for a product, best first by its own reckoning.
    template <class Product>
    static std::vector<Engine> engines(const Product& m, cublasLtHandle_t handle, std::size_t workspace_limit,
                                       int most) {
        std::vector<Engine> out;
        for (const auto& result : Plan(m).offered(m, handle, workspace_limit, most)) {
            out.push_back(engine_of(result.algo));
        }
        return out;
    }

    std::size_t workspace() const { return workspace_; }
    Engine engine() const { return engine_of(algorithm_); }

    // Addresses of x, w, y and the epilogue's operands, in the order of the epilogue.
    void execute(cublasLtHandle_t handle, std::span<void* const> addresses, void* workspace, cudaStream_t stream) {
        if (fused_.bias >= 0) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, addresses[3 + fused_.bias]);
        void* const y = addresses[2];
        void* const c = fused_.residual < 0 ? y : addresses[3 + fused_.residual];
        const float alpha = 1, beta = fused_.residual < 0 ? 0 : 1;
        check(cublasLtMatmul(handle, operation_.get(), &alpha, addresses[1], a_.get(), addresses[0], b_.get(), &beta, c,
                             c_.get(), y, d_.get(), &algorithm_, workspace, workspace_, stream),
              "cuBLASLt: running a product");
    }

   private:
    using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
    using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
    using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

    // Without an algorithm yet.
    template <class Product>
    explicit Plan(const Product& m) : fused_(*fuse(m)) {
        check(cublasLtMatmulDescCreate(operation_.out(), compute_type(m), CUDA_R_32F),
              "cuBLASLt: describing a product");
        set(CUBLASLT_MATMUL_DESC_TRANSA, std::is_same_v<Product, Matmul> ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, fused_.epilogue);
        layout(a_, m.w);
        layout(b_, m.x);
        layout(d_, m.y);
        layout(c_, fused_.residual < 0 ? m.y : residual_of(m));
    }

    template <class Product>
    static cublasComputeType_t compute_type(const Product& m) {
        return m.x.dtype == DType::float32 && m.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    }

    template <class Product>
    std::vector<cublasLtMatmulHeuristicResult_t> offered(const Product& m, cublasLtHandle_t handle,
                                                         std::size_t workspace_limit, int most) const {
        Preference preference;
        check(cublasLtMatmulPreferenceCreate(preference.out()), "cuBLASLt: creating a preference");
        check(cublasLtMatmulPreferenceSetAttribute(preference.get(), CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                   &workspace_limit, sizeof workspace_limit),
              "cuBLASLt: limiting the workspace");
        int found = 0;
        std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<std::size_t>(most));
        check(cublasLtMatmulAlgoGetHeuristic(handle, operation_.get(), a_.get(), b_.get(), c_.get(), d_.get(),
                                             preference.get(), most, results.data(), &found),
              "cuBLASLt: looking for an algorithm for ", shape_text(m.x), " times ", shape_text(m.w));
        results.resize(static_cast<std::size_t>(found));
        return results;
    }

    void take(const cublasLtMatmulHeuristicResult_t& result) {
        algorithm_ = result.algo;
        workspace_ = result.workspaceSize;
    }

    template <class Value>
    void set(cublasLtMatmulDescAttributes_t name, const Value& value) {
        check(cublasLtMatmulDescSetAttribute(operation_.get(), name, &value, sizeof value),
              "cuBLASLt: setting an attribute");
    }

    // A row-major M x N matrix is a column-major N x M one; three dimensions are a batch of them.
    static void layout(Layout& into, const Tensor& t) {
        const std::size_t rows = static_cast<std::size_t>(t.rank) - 2;
        check(cublasLtMatrixLayoutCreate(into.out(), data_type(t.dtype), static_cast<std::uint64_t>(t.dims[rows + 1]),
                                         static_cast<std::uint64_t>(t.dims[rows]), t.strides[rows]),
              "cuBLASLt: describing a matrix");
        if (t.rank < 3) return;
        const auto count = static_cast<std::int32_t>(t.dims[0]);
        set(into, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count);
        set(into, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, t.strides[0]);
    }

    template <class Value>
    static void set(Layout& layout, cublasLtMatrixLayoutAttribute_t name, const Value& value) {
        check(cublasLtMatrixLayoutSetAttribute(layout.get(), name, &value, sizeof value),
              "cuBLASLt: describing a batch of matrices");
    }

    template <class Product>
    static const Tensor& residual_of(const Product& m) {
        return std::ranges::find_if(m.epilogue, [&](const Pointwise& p) { return p.operand.rank == m.y.rank; })
            ->operand;
    }

    Fused fused_;
    Operation operation_;
    Layout a_, b_, c_, d_;
    cublasLtMatmulAlgo_t algorithm_{};
    std::size_t workspace_ = 0;
};

}  // namespace cnngen::lt
