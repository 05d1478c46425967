// What cuDNN and cuBLASLt offer for an operation, each of it built.
#pragma once

#include <deque>
#include <map>
#include <set>

#include "cnngen/cuda/plan.hpp"

namespace cnngen::inline cuda {

// Not for several threads.
class LibraryEngines {
   public:
    LibraryEngines(int device, std::size_t workspace_limit, cudnnHandle_t cudnn, cublasLtHandle_t cublaslt)
        : device_(device), workspace_limit_(workspace_limit), cudnn_(cudnn), cublaslt_(cublaslt) {}

    // What a library offers for an operation: cuDNN by its heuristics' order, and for products cuBLASLt and cuDNN's
    // own. Each is built, in parallel; those that cannot be, or do not keep to the limits, are left out.
    std::vector<std::string> engines(const Operation& op) {
        const DeviceGuard guard(device_);
        std::vector<Engine> offered;
        offer_cudnn(op, Library::cudnn, offered);
        if (const auto* c = std::get_if<Convolution>(&op); c && as_matmul(*c)) {
            offer_cudnn(*as_matmul(*c), Library::cudnn_matmul, offered);
            offer_cublaslt(*as_matmul(*c), offered);
        } else {
            offer_cublaslt(op, offered);
        }
        return built(op, offered);
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
        return built(op, some);
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
    void offer_cudnn(const Operation& work, Library library, std::vector<Engine>& offered) const {
        try {
            const cudnn::Graph graph = graph_of(work, cudnn_);
            for (auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
                for (const cudnn::Descriptor& config : cudnn::engine_configs(graph, {.handle = cudnn_}, mode)) {
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

    std::vector<std::string> built(const Operation& op, const std::vector<Engine>& offered) {
        std::vector<std::string> names;
        std::set<std::string> seen;
        for (const Engine& engine : offered) {
            if (seen.insert(engine_text(engine)).second) names.push_back(engine_text(engine));
        }
        std::vector<std::shared_ptr<Plan>> plans(names.size());
        std::mutex mutex;
        const auto setup = [&] {
            check(cudaSetDevice(device_), "selecting the GPU");
            CudnnHandle handle = make_cudnn();
            const std::lock_guard lock(mutex);
            return handles_.emplace_back(std::move(handle)).get();
        };
        in_parallel(names.size(), std::max(1u, std::thread::hardware_concurrency()), setup, [&](cudnnHandle_t handle, std::size_t i) {
            plans[i] = plan_by(parse_engine(names[i]), op, handle, cublaslt_, workspace_limit_);
        });
        std::vector<std::string> out;
        for (std::size_t i = 0; i < names.size(); ++i) {
            if (!plans[i]) continue;
            plans_[text(signature(op), " by ", names[i])] = plans[i];
            out.push_back(names[i]);
        }
        return out;
    }

    int device_;
    std::size_t workspace_limit_;
    cudnnHandle_t cudnn_;
    cublasLtHandle_t cublaslt_;
    std::deque<CudnnHandle> handles_;  // a plan may refer to the one that it was made with
    std::map<std::string, std::shared_ptr<Plan>> plans_;
};

}  // namespace cnngen::inline cuda
