// Plans for operations: built once for equal ones, in parallel for different ones, and kept as text between processes.
#pragma once

#include <future>
#include <map>
#include <memory>
#include <mutex>

#include "cnngen/cuda/cublaslt.hpp"
#include "cnngen/cuda/cudnn.hpp"
#include "cnngen/cuda/plan_folder.hpp"
#include "cnngen/parallel.hpp"

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

// All plans of a network on one GPU.
class Planner {
   public:
    Planner(int device, std::size_t workspace_limit) : device_(device), workspace_limit_(workspace_limit) {}

    // Plans are looked for in `shipped` and then in `kept`, into which those that are built go.
    void keep_in(PlanFolder shipped, PlanFolder kept) {
        shipped_ = std::move(shipped);
        folder_ = std::move(kept);
    }

    // None where no operation was to be planned.
    cublasLtHandle_t cublaslt() const { return cublaslt_.get(); }

    // Makes the plans of all operations, those that are kept from their text. Throws with every layer that has none.
    void prepare(const std::vector<Operation>& operations) {
        std::vector<Operation> missing;
        for (const Operation& op : distinct(operations)) {
            if (!plans_.contains(signature(op))) missing.push_back(op);
        }
        if (missing.empty()) return;
        // Each library takes long over its first plan, and little over those that it knows: both begin at once, each on
        // one thread, since several that begin with cuDNN wait for each other.
        std::vector<std::shared_ptr<Plan>> known(missing.size());
        auto products = std::async(std::launch::async, [&] {
            check(cudaSetDevice(device_), "selecting the GPU");
            if (!cublaslt_) cublaslt_ = make_cublaslt();
            for (std::size_t i = 0; i < missing.size(); ++i) {
                if (is_by_cublaslt(missing[i])) known[i] = by_cublaslt(missing[i]);
            }
        });
        const cudnnHandle_t handle = add_handle();
        for (std::size_t i = 0; i < missing.size(); ++i) {
            if (!is_by_cublaslt(missing[i])) known[i] = load(missing[i], handle);
        }
        products.get();
        std::vector<Operation> unknown;
        for (std::size_t i = 0; i < missing.size(); ++i) {
            if (known[i]) {
                plans_[signature(missing[i])] = std::move(known[i]);
            } else {
                unknown.push_back(missing[i]);
            }
        }
        build_all(unknown);
    }

    std::shared_ptr<Plan> find(const Operation& op) const { return plans_.at(signature(op)); }
    // Engines that are named but not to be had here, and what runs in their place; empty: all is as it was tuned.
    const std::vector<std::string>& notes() const { return notes_; }
    std::size_t built() const { return built_; }
    std::size_t size() const { return plans_.size(); }

   private:
    // Kept for good: a plan may refer to the handle that it was made with.
    cudnnHandle_t add_handle() {
        CudnnHandle handle = make_cudnn();
        const std::lock_guard lock(mutex_);
        return handles_.emplace_back(std::move(handle)).get();
    }

    void keep(const Operation& op, const Plan& plan) const {
        if (const auto serialized = plan.serialized()) {
            folder_.write(plan_key(op, workspace_limit_), {engine_text(plan.engine()), *serialized});
        }
    }

    void build_all(const std::vector<Operation>& operations) {
        const auto setup = [this] {
            check(cudaSetDevice(device_), "selecting the GPU");
            return add_handle();
        };
        const auto work = [&](cudnnHandle_t handle, std::size_t i) {
            std::shared_ptr<Plan> plan = build(operations[i], handle);
            keep(operations[i], *plan);
            const std::lock_guard lock(mutex_);
            plans_[signature(operations[i])] = std::move(plan);
            ++built_;
        };
        throw_failures(operations, in_parallel(operations.size(), default_threads(), setup, work),
                       "this GPU cannot run these layers:");
    }

    static bool is_by_cublaslt(const Operation& op) { return engine_of(op).starts_with(name_of(Library::cublaslt)); }

    // None where the engine is not to be had, which `build` says.
    std::shared_ptr<Plan> by_cublaslt(const Operation& op) const {
        try {
            return plan_by(parse_engine(engine_of(op)), op, nullptr, cublaslt_.get(), workspace_limit_);
        } catch (const Error&) {
            return nullptr;
        }
    }

    // A kept plan; none where there is none, it is of another cuDNN, or damaged.
    std::shared_ptr<Plan> load(const Operation& op, cudnnHandle_t handle) const {
        auto entry = shipped_.read(plan_key(op, workspace_limit_));
        if (!entry) entry = folder_.read(plan_key(op, workspace_limit_));
        if (!entry) return nullptr;
        try {
            const Engine engine = parse_engine(entry->engine);
            const cudnn::Graph graph = graph_of(work_for(op, engine.library), handle);
            return std::make_shared<Plan>(cudnn::Plan(entry->plan, handle, graph.scalars, engine));
        } catch (const Error&) {
            return nullptr;
        }
    }

    std::shared_ptr<Plan> build(const Operation& op, cudnnHandle_t handle) {
        if (!engine_of(op).empty()) {
            try {
                return plan_by(parse_engine(engine_of(op)), op, handle, cublaslt_.get(), workspace_limit_);
            } catch (const Error& e) {
                const std::lock_guard lock(mutex_);
                notes_.push_back(text("layer '", layers_of(op).label(), "': engine '", engine_of(op),
                                      "' is not to be had here (", e.what(), "); the library's first choice runs"));
            }
        }
        return first_plan(op, handle, cublaslt_.get(), workspace_limit_);
    }

    int device_;
    std::size_t workspace_limit_;
    PlanFolder shipped_;
    PlanFolder folder_;
    CublasLtHandle cublaslt_;
    std::deque<CudnnHandle> handles_;
    std::map<std::string, std::shared_ptr<Plan>> plans_;  // by signature
    std::vector<std::string> notes_;
    std::mutex mutex_;
    std::size_t built_ = 0;
};

}  // namespace cnngen::inline cuda
