// All plans of a network: made at the same time as far as that helps, their kernels loaded, kept as text between
// processes.
#pragma once

#include <deque>
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

// Bytes of the largest tensor of some operations.
inline std::size_t largest_tensor(const std::vector<Operation>& operations) {
    std::size_t most = 0;
    const auto meet = [&](const Tensor& t) {
        std::int64_t last = 0;
        for (int i = 0; i < t.rank; ++i) last += (t.dims[i] - 1) * t.strides[i];
        most = std::max(most, static_cast<std::size_t>(last + 1) * bytes_of(t.dtype));
    };
    const auto meet_all = [&](const auto& op) {
        for (const Tensor& t : {op.x, op.w, op.y}) meet(t);
        for (const Pointwise& p : op.epilogue) meet(p.operand);
    };
    for (const Operation& op : operations) std::visit(meet_all, op);
    return most;
}

// Runs plans once: a library loads a kernel when it first launches it. For one thread.
class Rehearsal {
   public:
    // `tensors`: memory for any tensor of the plans, whatever it holds, and whoever else writes there; none: nothing
    // runs. Either handle may be null where no plan needs it.
    Rehearsal(void* tensors, cudnnHandle_t cudnn, cublasLtHandle_t cublaslt)
        : tensors_(tensors), cudnn_(cudnn), cublaslt_(cublaslt) {
        if (cudnn) check(cudnnSetStream(cudnn, stream_.get()), "setting cuDNN's stream");
    }
    Rehearsal(const Rehearsal&) = delete;
    ~Rehearsal() {
        cudaStreamSynchronize(stream_.get());
        if (cudnn_) cudnnSetStream(cudnn_, nullptr);
    }

    void run(Plan& plan, const Operation& op) {
        if (!tensors_) return;
        try {
            if (plan.workspace() > workspace_bytes_) {
                workspace_ = {};
                workspace_ = allocate_device(plan.workspace(), "workspace");
                workspace_bytes_ = plan.workspace();
            }
            const std::vector<void*> addresses(addresses_of(op).size(), tensors_);
            plan.execute(addresses, cudnn_, cublaslt_, workspace_.get(), stream_.get());
        } catch (const Error&) {
            // The first pass says so, and of which layer.
        }
    }

   private:
    void* tensors_;
    cudnnHandle_t cudnn_;
    cublasLtHandle_t cublaslt_;
    Stream stream_ = make_stream();
    DeviceBuffer workspace_;  // its own: kernels wait for what they find there
    std::size_t workspace_bytes_ = 0;
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

    // None where no plan needs it.
    cublasLtHandle_t cublaslt() const { return cublaslt_.get(); }

    // Makes the plans of all operations, those that are kept from their text. Throws with every layer that has none.
    void prepare(const std::vector<Operation>& operations) {
        std::vector<Operation> missing;
        for (const Operation& op : distinct(operations)) {
            if (!plans_.contains(signature(op))) missing.push_back(op);
        }
        if (missing.empty()) return;
        std::vector<std::shared_ptr<Plan>> known = load_all(missing);
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

    cublasLtHandle_t start_cublaslt() {
        if (!cublaslt_) cublaslt_ = make_cublaslt();
        return cublaslt_.get();
    }

    // The plans that need no search, with their kernels loaded; none for the others.
    //
    // cuBLASLt takes 100 ms over its first kernel, and some of cuDNN's engines use it and wait for that. So what one
    // engine runs is one thread's, and others go on with the rest: few, since a handle of cuDNN takes some 10 MB.
    std::vector<std::shared_ptr<Plan>> load_all(const std::vector<Operation>& operations) {
        constexpr std::size_t threads = 3;
        std::vector<std::shared_ptr<Plan>> plans(operations.size());
        std::map<std::string_view, std::vector<std::size_t>> by_engine;
        for (std::size_t i = 0; i < operations.size(); ++i) by_engine[engine_name(operations[i])].push_back(i);
        std::vector<std::vector<std::size_t>> groups;
        for (auto& [name, group] : by_engine) groups.push_back(std::move(group));
        DeviceBuffer tensors;
        try {
            tensors = allocate_device(largest_tensor(operations), "rehearsal of the kernels");
        } catch (const Error&) {
            // The first pass loads them.
        }
        const auto setup = [&] {
            check(cudaSetDevice(device_), "selecting the GPU");
            return cudnnHandle_t{};  // made when it is needed
        };
        const auto work = [&](cudnnHandle_t& cudnn, std::size_t group) {
            const bool is_cublaslt = is_by_cublaslt(operations[groups[group].front()]);
            if (!is_cublaslt && !cudnn) cudnn = add_handle();
            Rehearsal rehearsal(tensors.get(), is_cublaslt ? nullptr : cudnn, is_cublaslt ? start_cublaslt() : nullptr);
            for (const std::size_t i : groups[group]) {
                plans[i] = is_cublaslt ? by_cublaslt(operations[i]) : load(operations[i], cudnn);
                if (plans[i]) rehearsal.run(*plans[i], operations[i]);
            }
        };
        in_parallel(groups.size(), threads, setup, work);  // what fails here is searched for
        return plans;
    }

    void keep(const Operation& op, const Plan& plan) const {
        if (const auto serialized = plan.serialized()) {
            folder_.write(plan_key(op, workspace_limit_), {engine_text(plan.engine()), *serialized});
        }
    }

    void build_all(const std::vector<Operation>& operations) {
        if (operations.empty()) return;
        start_cublaslt();
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

    // "cudnn 41" of "cudnn 41 2=0 13=1".
    static std::string_view engine_name(const Operation& op) {
        if (is_by_cublaslt(op)) return name_of(Library::cublaslt);
        const std::string_view engine = engine_of(op);
        return engine.substr(0, engine.find(' ', engine.find(' ') + 1));
    }

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
