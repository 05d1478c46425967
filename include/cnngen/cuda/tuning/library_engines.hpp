// What cuDNN and cuBLASLt offer for an operation, each of it built.
#pragma once

#include <future>
#include <map>
#include <set>

#include "cnngen/cuda/plan.hpp"
#include "cnngen/parallel.hpp"

namespace cnngen::inline cuda {

// Not for several threads.
class LibraryEngines {
   public:
    LibraryEngines(int device, std::size_t workspace_limit, cudnnHandle_t cudnn, cublasLtHandle_t cublaslt)
        : device_(device), workspace_limit_(workspace_limit), cudnn_(cudnn), cublaslt_(cublaslt) {}

    // Begins to build what `engines` is to be asked for, after all that was asked for before.
    void prepare(const Operation& op) {
        if (built_.contains(signature(op))) return;
        const auto building = std::make_shared<Building>(op);
        built_[signature(op)] = building->done.get_future().share();
        offer(building, {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B});
    }

    // What a library offers for an operation: cuDNN by its heuristics' order, and for products cuBLASLt and cuDNN's
    // own. Each is built, in parallel; those that cannot be, or do not keep to the limits, are left out. What cuDNN
    // falls back to takes the longest to build and never was the fastest: it is built where there is nothing else.
    std::vector<std::string> engines(const Operation& op) {
        prepare(op);
        return known(op, built_[signature(op)].get());
    }

    // The engine with each of its knobs at other values, at most `most` in all, which are built.
    std::vector<std::string> variations(const Operation& op, const std::string& engine, std::size_t most) {
        const Engine base = parse_engine(engine);
        if (base.library == Library::cublaslt) return {};
        const DeviceGuard guard(device_);
        const cudnn::Graph graph = graph_of(work_for(op, base.library), cudnn_);
        std::vector<Engine> offered;
        for (const cudnn::Knob& knob : cudnn::knobs_of(graph, {.handle = cudnn_}, base.number)) {
            for (std::int64_t value = knob.low; value <= knob.high; value += std::max<std::int64_t>(knob.stride, 1)) {
                Engine changed = base;
                const auto found = std::ranges::find(changed.settings, std::to_string(knob.type),
                                                     &std::pair<std::string, std::int64_t>::first);
                if (found == changed.settings.end() || found->second == value) continue;
                found->second = value;
                offered.push_back(std::move(changed));
            }
        }
        // From all knobs alike, where there are too many.
        std::vector<Engine> some;
        for (std::size_t i = 0; i < std::min(most, offered.size()); ++i) {
            some.push_back(offered[i * offered.size() / std::min(most, offered.size())]);
        }
        return at_once(op, [&](const auto& building) { start(building, some); });
    }

    // What cuDNN falls back to, for where what it offers computes something else.
    std::vector<std::string> fallbacks(const Operation& op) {
        return at_once(op, [&](const auto& building) { offer(building, {CUDNN_HEUR_MODE_FALLBACK}); });
    }

    // "": the engine that the code names, or the library's first choice.
    std::shared_ptr<Plan> plan_of(const Operation& op, const std::string& engine) {
        const std::string name = engine.empty() ? std::string(engine_of(op)) : engine;
        std::shared_ptr<Plan>& plan = plans_[text(signature(op), " by ", name)];
        if (!plan) {
            plan = name.empty() ? first_plan(op, cudnn_, cublaslt_, workspace_limit_)
                                : plan_by(parse_engine(name), op, cudnn_, cublaslt_, workspace_limit_);
        }
        return plan;
    }

   private:
    using Modes = std::vector<cudnnBackendHeurMode_t>;
    using Built = std::vector<std::pair<std::string, std::shared_ptr<Plan>>>;

    std::vector<std::string> known(const Operation& op, const Built& built) {
        std::vector<std::string> names;
        for (const auto& [name, plan] : built) {
            plans_[text(signature(op), " by ", name)] = plan;
            names.push_back(name);
        }
        return names;
    }

    // What is built for an operation: by several threads, the last of which tells that it is done.
    struct Building {
        explicit Building(Operation operation) : op(std::move(operation)) {}

        Operation op;
        bool is_last = false;  // nothing else is tried, and it comes before what waits
        Built plans;           // null where one cannot be built
        std::atomic<std::size_t> left = 0;
        std::promise<Built> done;
    };

    // What `begin` has built for an operation, before what waits.
    template <class Begin>
    std::vector<std::string> at_once(const Operation& op, Begin begin) {
        const auto building = std::make_shared<Building>(op);
        building->is_last = true;
        std::future<Built> done = building->done.get_future();
        begin(building);
        return known(op, done.get());
    }

    // --- what several threads do at a time

    // The handle of a thread, kept for good: a plan may refer to the one that it was made with.
    cudnnHandle_t handle(std::size_t worker) {
        check(cudaSetDevice(device_), "selecting the GPU");
        if (!handles_[worker]) handles_[worker] = make_cudnn();
        return handles_[worker].get();
    }

    // Work for a building; a failure of its own is the building's.
    template <class Work>
    void add(const std::shared_ptr<Building>& building, Work work) {
        const auto guarded = [building, work](std::size_t worker) {
            try {
                work(worker);
            } catch (...) {
                building->done.set_exception(std::current_exception());
            }
        };
        building->is_last ? workers_.add_first(guarded) : workers_.add(guarded);
    }

    void offer(const std::shared_ptr<Building>& building, Modes modes) {
        add(building, [this, building, modes = std::move(modes)](std::size_t worker) {
            start(building, offered(building->op, modes, handle(worker)));
        });
    }

    void start(const std::shared_ptr<Building>& building, const std::vector<Engine>& engines) {
        std::set<std::string> seen;
        for (const Engine& engine : engines) {
            if (seen.insert(engine_text(engine)).second) building->plans.emplace_back(engine_text(engine), nullptr);
        }
        const std::size_t count = building->plans.size();
        if (count == 0) return finish(building);
        building->left = count;
        for (std::size_t i = 0; i < count; ++i) {
            add(building, [this, building, i](std::size_t worker) {
                build(building->op, building->plans[i], worker);
                if (--building->left == 0) finish(building);
            });
        }
    }

    void build(const Operation& op, std::pair<std::string, std::shared_ptr<Plan>>& entry, std::size_t worker) {
        try {
            entry.second = plan_by(parse_engine(entry.first), op, handle(worker), cublaslt_, workspace_limit_);
        } catch (const std::exception&) {
            // Another may be built.
        }
    }

    void finish(const std::shared_ptr<Building>& building) {
        std::erase_if(building->plans, [](const auto& entry) { return !entry.second; });
        if (!building->plans.empty() || building->is_last) return building->done.set_value(building->plans);
        building->is_last = true;
        offer(building, {CUDNN_HEUR_MODE_FALLBACK});
    }

    std::vector<Engine> offered(const Operation& op, const Modes& modes, cudnnHandle_t handle) const {
        std::vector<Engine> engines;
        offer_cudnn(op, Library::cudnn, modes, handle, engines);
        if (const auto* c = std::get_if<Convolution>(&op); c && as_matmul(*c)) {
            offer_cudnn(*as_matmul(*c), Library::cudnn_matmul, modes, handle, engines);
            offer_cublaslt(*as_matmul(*c), engines);
        } else {
            offer_cublaslt(op, engines);
        }
        return engines;
    }

    static void offer_cudnn(const Operation& work, Library library, const Modes& modes, cudnnHandle_t handle,
                            std::vector<Engine>& offered) {
        try {
            const cudnn::Graph graph = graph_of(work, handle);
            for (const cudnnBackendHeurMode_t mode : modes) {
                for (const cudnn::Descriptor& config : cudnn::engine_configs(graph, {.handle = handle}, mode)) {
                    Engine engine = cudnn::engine_of(config);
                    engine.library = library;
                    offered.push_back(std::move(engine));
                }
            }
        } catch (const Error&) {
            // cuDNN has no such graph: another library may.
        }
    }

    void offer_cublaslt(const Operation& work, std::vector<Engine>& offered) const {
        std::visit(
            [&](const auto& product) {
                if constexpr (!std::is_same_v<std::decay_t<decltype(product)>, Convolution>) {
                    if (!lt::fuse(product)) return;
                    const auto found = lt::Plan::engines(product, cublaslt_, workspace_limit_, 12);
                    offered.insert(offered.end(), found.begin(), found.end());
                }
            },
            work);
    }

    int device_;
    std::size_t workspace_limit_;
    cudnnHandle_t cudnn_;
    cublasLtHandle_t cublaslt_;
    std::size_t threads_ = std::max(2u, std::thread::hardware_concurrency()) - 1;  // one launches what is timed
    std::vector<CudnnHandle> handles_{threads_};
    std::map<std::string, std::shared_ptr<Plan>> plans_;
    std::map<std::string, std::shared_future<Built>> built_;
    Workers workers_{threads_};  // last: what is under way ends first
};

}  // namespace cnngen::inline cuda
