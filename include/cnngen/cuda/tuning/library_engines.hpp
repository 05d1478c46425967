// What cuDNN and cuBLASLt offer for an operation, each of it built.
#pragma once

#include <future>
#include <map>
#include <set>

#include "cnngen/cuda/plan.hpp"

namespace cnngen::inline cuda {

// Not for several threads.
class LibraryEngines {
   public:
    LibraryEngines(int device, std::size_t workspace_limit, cudnnHandle_t cudnn, cublasLtHandle_t cublaslt)
        : device_(device), workspace_limit_(workspace_limit), cudnn_(cudnn), cublaslt_(cublaslt) {}

    // Begins to build what `engines` is to be asked for.
    void prepare(const Operation& op) {
        if (built_.contains(signature(op))) return;
        built_[signature(op)] = std::async(std::launch::async, [this, op] { return offered(op); });
    }

    // What a library offers for an operation: cuDNN by its heuristics' order, and for products cuBLASLt and cuDNN's
    // own. Each is built, in parallel; those that cannot be, or do not keep to the limits, are left out.
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
        return known(op, built(op, some));
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
    using Built = std::vector<std::pair<std::string, std::shared_ptr<Plan>>>;

    std::vector<std::string> known(const Operation& op, const Built& built) {
        std::vector<std::string> names;
        for (const auto& [name, plan] : built) {
            plans_[text(signature(op), " by ", name)] = plan;
            names.push_back(name);
        }
        return names;
    }

    // --- what several threads do at a time

    Built offered(const Operation& op) {
        check(cudaSetDevice(device_), "selecting the GPU");
        std::vector<Engine> engines;
        {
            const Lease handle(*this);
            offer_cudnn(op, Library::cudnn, handle.get(), engines);
            if (const auto* c = std::get_if<Convolution>(&op); c && as_matmul(*c)) {
                offer_cudnn(*as_matmul(*c), Library::cudnn_matmul, handle.get(), engines);
                offer_cublaslt(*as_matmul(*c), engines);
            } else {
                offer_cublaslt(op, engines);
            }
        }
        return built(op, engines);
    }

    static void offer_cudnn(const Operation& work, Library library, cudnnHandle_t handle,
                            std::vector<Engine>& offered) {
        try {
            const cudnn::Graph graph = graph_of(work, handle);
            for (auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
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

    Built built(const Operation& op, const std::vector<Engine>& offered) {
        Built out;
        std::set<std::string> seen;
        for (const Engine& engine : offered) {
            if (seen.insert(engine_text(engine)).second) out.emplace_back(engine_text(engine), nullptr);
        }
        const auto setup = [&] {
            check(cudaSetDevice(device_), "selecting the GPU");
            return std::make_unique<Lease>(*this);
        };
        in_parallel(out.size(), threads_, setup, [&](const std::unique_ptr<Lease>& handle, std::size_t i) {
            out[i].second = plan_by(parse_engine(out[i].first), op, handle->get(), cublaslt_, workspace_limit_);
        });
        std::erase_if(out, [](const auto& entry) { return !entry.second; });
        return out;
    }

    // A handle for one thread, of which there are never more than are needed at a time: each takes long to make.
    class Lease {
       public:
        explicit Lease(LibraryEngines& engines) : engines_(engines) {
            const std::lock_guard lock(engines_.mutex_);
            if (engines_.free_.empty()) engines_.free_.push_back(make_cudnn());
            handle_ = std::move(engines_.free_.back());
            engines_.free_.pop_back();
        }
        ~Lease() {
            const std::lock_guard lock(engines_.mutex_);
            engines_.free_.push_back(std::move(handle_));
        }
        Lease(const Lease&) = delete;
        Lease& operator=(const Lease&) = delete;

        cudnnHandle_t get() const { return handle_.get(); }

       private:
        LibraryEngines& engines_;
        CudnnHandle handle_;
    };

    int device_;
    std::size_t workspace_limit_;
    cudnnHandle_t cudnn_;
    cublasLtHandle_t cublaslt_;
    std::size_t threads_ = std::max(2u, std::thread::hardware_concurrency()) - 1;  // one launches what is timed
    std::mutex mutex_;
    std::vector<CudnnHandle> free_;  // kept for good: a plan may refer to the one that it was made with
    std::map<std::string, std::shared_ptr<Plan>> plans_;
    std::map<std::string, std::shared_future<Built>> built_;  // last: what is under way ends first
};

}  // namespace cnngen::inline cuda
