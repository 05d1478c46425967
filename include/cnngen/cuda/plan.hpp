// The plan of an operation, whichever library it is for.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "cnngen/cuda/cublaslt.hpp"
#include "cnngen/cuda/cudnn.hpp"

namespace cnngen::inline cuda {

inline cudnn::Limits limits_of(const Operation& op, std::size_t workspace) {
    return std::visit(
        [&](const auto& o) {
            return cudnn::Limits{.workspace = workspace, .exact_float32 = o.x.dtype == DType::float32 && !o.tf32};
        },
        op);
}

inline cudnn::Graph graph_of(const Operation& op, cudnnHandle_t handle) {
    return std::visit([&](const auto& o) { return cudnn::GraphBuilder(handle).build(o); }, op);
}

inline bool is_for_cublaslt(const Operation& op) {
    if (const auto* m = std::get_if<Matmul>(&op)) return lt::fuse(*m).has_value();
    const auto* m = std::get_if<BatchMatmul>(&op);
    return m && lt::fuse(*m);
}

// What the library of an engine is asked for: the operation, or a 1x1 convolution as a matrix product. Throws where it
// is none.
inline Operation work_for(const Operation& op, Library library) {
    const auto* c = std::get_if<Convolution>(&op);
    if (!c || library == Library::cudnn || library == Library::any) return op;
    if (auto product = as_matmul(*c)) return *product;
    throw Error("only a dense 1x1 convolution of every pixel is a matrix product");
}

// What a step executes; shared by contexts, which may capture at the same time.
class Plan {
   public:
    explicit Plan(cudnn::Plan plan) : plan_(std::move(plan)) {}
    explicit Plan(lt::Plan plan) : plan_(std::move(plan)) {}

    std::size_t workspace() const {
        return std::visit([](const auto& p) { return p.workspace(); }, plan_);
    }
    Engine engine() const {
        return std::visit([](const auto& p) { return p.engine(); }, plan_);
    }

    // Its text, from which it is made again on the same GPU and cuDNN in a millisecond; cuBLASLt needs none.
    std::optional<std::string> serialized() const {
        const auto* p = std::get_if<cudnn::Plan>(&plan_);
        return p ? std::optional(p->serialized()) : std::nullopt;
    }

    void execute(const std::vector<void*>& addresses, cudnnHandle_t cudnn, cublasLtHandle_t cublaslt, void* workspace,
                 cudaStream_t stream) {
        const std::lock_guard lock(mutex_);
        if (auto* p = std::get_if<cudnn::Plan>(&plan_)) {
            p->execute(cudnn, addresses, workspace);
        } else {
            std::get<lt::Plan>(plan_).execute(cublaslt, addresses, workspace, stream);
        }
    }

   private:
    std::variant<cudnn::Plan, lt::Plan> plan_;
    std::mutex mutex_;
};

// "layer 'conv1': no cuDNN plan: ..." for each failure, at once.
inline void throw_failures(const std::vector<Operation>& operations, const std::vector<std::string>& failures,
                           std::string_view heading) {
    std::string message;
    for (std::size_t i = 0; i < failures.size(); ++i) {
        if (failures[i].empty()) continue;
        const Tensor& y = output_of(operations[i]);
        message += text("\n  layer '", layers_of(operations[i]).label(), "' (", kind_of(operations[i]), " to ",
                        shape_text(y), " ", name_of(y.dtype), "): ", failures[i]);
    }
    if (!message.empty()) throw Error(text(heading, message));
}

// Each operation once: the first of each signature.
inline std::vector<Operation> distinct(const std::vector<Operation>& operations) {
    std::vector<Operation> out;
    std::map<std::string, bool> seen;
    for (const Operation& op : operations) {
        if (seen.emplace(signature(op), true).second) out.push_back(op);
    }
    return out;
}

// The plan of an operation by what its library offers first. Throws where there is none.
inline std::shared_ptr<Plan> first_plan(const Operation& op, cudnnHandle_t cudnn, cublasLtHandle_t cublaslt,
                                        std::size_t workspace_limit) {
    if (is_for_cublaslt(op)) {
        try {
            if (const auto* m = std::get_if<Matmul>(&op)) {
                return std::make_shared<Plan>(lt::Plan(*m, cublaslt, workspace_limit));
            }
            return std::make_shared<Plan>(lt::Plan(std::get<BatchMatmul>(op), cublaslt, workspace_limit));
        } catch (const Error&) {
            // cuDNN may know how.
        }
    }
    return std::make_shared<Plan>(cudnn::plan(graph_of(op, cudnn), {.handle = cudnn}, limits_of(op, workspace_limit)));
}

// The plan of an operation by an engine. Throws where that cannot be.
inline std::shared_ptr<Plan> plan_by(const Engine& engine, const Operation& op, cudnnHandle_t cudnn,
                                     cublasLtHandle_t cublaslt, std::size_t workspace_limit) {
    const Operation work = work_for(op, engine.library);
    if (engine.library != Library::cublaslt) {
        return std::make_shared<Plan>(
            cudnn::plan(graph_of(work, cudnn), {.handle = cudnn}, limits_of(work, workspace_limit), engine));
    }
    return std::visit(
        [&](const auto& product) -> std::shared_ptr<Plan> {
            if constexpr (!std::is_same_v<std::decay_t<decltype(product)>, Convolution>) {
                if (lt::fuse(product)) {
                    return std::make_shared<Plan>(lt::Plan(product, cublaslt, workspace_limit, engine));
                }
                throw Error("cuBLASLt cannot fuse its epilogue");
            } else {
                throw Error("cuBLASLt has no convolutions");
            }
        },
        work);
}

// Under which its plan is kept.
inline std::string plan_key(const Operation& op, std::size_t workspace_limit) {
    return text(signature(op), " workspace ", workspace_limit);
}

}  // namespace cnngen::inline cuda
