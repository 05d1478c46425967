// All plans of a network: made at the same time as far as that helps, their kernels loaded, kept as text between
// processes.
#pragma once

#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <set>

#include "cnngen/cuda/plan.hpp"
#include "cnngen/cuda/plan_folder.hpp"
#include "cnngen/parallel.hpp"

namespace cnngen::inline cuda {

// cuDNN makes a table of its precompiled engines when it is first asked for one of them, which takes it 70 ms of
// computing and no GPU, only the description of one. So it is asked while CUDA makes a context. What it does not know,
// planning finds out.
inline void ask_for_engines(const std::vector<Operation>& operations, int capability) {
    std::set<std::int64_t> asked;
    for (const Operation& op : operations) {
        if (engine_of(op).empty()) continue;
        try {
            const Engine engine = parse_engine(engine_of(op));
            if (engine.library == Library::cublaslt || !asked.insert(engine.number).second) continue;
            const cudnn::Graph graph = graph_of(work_for(op, engine.library), nullptr);
            cudnn::engine_descriptor(graph, cudnn::Target::of_capability(capability), engine.number);
        } catch (const Error&) {
        }
    }
}

// Runs plans once, on memory that holds nothing: a library loads a kernel when it first launches it. For one thread.
class Rehearsal {
   public:
    // Of plans among those of `operations`. Either handle may be null where no plan needs it.
    Rehearsal(const std::vector<Operation>& operations, cudnnHandle_t cudnn, cublasLtHandle_t cublaslt)
        : cudnn_(cudnn), cublaslt_(cublaslt) {
        for (const Operation& op : operations) largest_ = std::max(largest_, largest_tensor(op));
        if (cudnn) check(cudnnSetStream(cudnn, stream_.get()), "setting cuDNN's stream");
    }
    Rehearsal(const Rehearsal&) = delete;
    ~Rehearsal() {
        cudaStreamSynchronize(stream_.get());
        if (cudnn_) cudnnSetStream(cudnn_, nullptr);
    }

    void run(Plan& plan, const Operation& op) {
        try {
            std::vector<void*> addresses = addresses_of(op);
            std::ranges::fill(addresses, tensors_.of(largest_));
            void* const workspace = workspace_.of(plan.workspace());
            plan.execute(addresses, cudnn_, cublaslt_, workspace, stream_.get());
        } catch (const Error&) {
            // The first pass says so, and of which layer.
        }
    }

   private:
    // Memory that grows.
    struct Room {
        DeviceBuffer memory;
        std::size_t bytes = 0;

        void* of(std::size_t wanted) {
            if (wanted > bytes) {
                memory = {};
                memory = allocate_device(wanted, "rehearsal");
                bytes = wanted;
            }
            return memory.get();
        }
    };

    static std::size_t extent(const Tensor& t) {
        std::int64_t last = 0;
        for (int i = 0; i < t.rank; ++i) last += (t.dims[i] - 1) * t.strides[i];
        return static_cast<std::size_t>(last + 1) * bytes_of(t.dtype);
    }
    static std::size_t largest_tensor(const Operation& op) {
        return std::visit(
            [](const auto& o) {
                std::size_t most = std::max({extent(o.x), extent(o.w), extent(o.y)});
                for (const Pointwise& p : o.epilogue) most = std::max(most, extent(p.operand));
                return most;
            },
            op);
    }

    cudnnHandle_t cudnn_;
    cublasLtHandle_t cublaslt_;
    std::size_t largest_ = 0;  // bytes of a tensor
    Stream stream_ = make_stream();
    Room tensors_;
    Room workspace_;  // its own: kernels wait for what they find there
};

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
        // Each library takes long over its first plan and its first kernel, and little over those that it knows: both
        // begin at once, each on one thread, since several that begin with cuDNN wait for each other.
        std::vector<std::shared_ptr<Plan>> known(missing.size());
        auto products = std::async(std::launch::async, [&] {
            check(cudaSetDevice(device_), "selecting the GPU");
            if (!cublaslt_) cublaslt_ = make_cublaslt();
            Rehearsal rehearsal(missing, nullptr, cublaslt_.get());
            for (std::size_t i = 0; i < missing.size(); ++i) {
                if (!is_by_cublaslt(missing[i])) continue;
                known[i] = by_cublaslt(missing[i]);
                if (known[i]) rehearsal.run(*known[i], missing[i]);
            }
        });
        const cudnnHandle_t handle = add_handle();
        Rehearsal rehearsal(missing, handle, nullptr);
        for (std::size_t i = 0; i < missing.size(); ++i) {
            if (is_by_cublaslt(missing[i])) continue;
            known[i] = load(missing[i], handle);
            if (known[i]) rehearsal.run(*known[i], missing[i]);
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
