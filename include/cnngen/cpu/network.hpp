// A network on the CPU: its weights and its plans. Contexts, which run it, are in context.hpp.
#pragma once

#include <omp.h>

#include "cnngen/cpu/collect.hpp"
#include "cnngen/cpu/features.hpp"
#include "cnngen/cpu/prepared_weights.hpp"
#include "cnngen/results.hpp"
#include "cnngen/weight_path.hpp"

namespace cnngen::inline cpu {

struct Options {
    std::string weights =
        {};           // path; empty: Model::weight_file beside the program or library, or in the current folder
    int threads = 0;  // that a pass uses; 0: as OpenMP says (OMP_NUM_THREADS, else one a core)
};

// Lets OpenMP use `threads` threads in parallel regions of this thread, and what it used before at the end.
class ThreadsGuard {
   public:
    explicit ThreadsGuard(int threads) : before_(omp_get_max_threads()) {
        if (threads) omp_set_num_threads(threads);
    }
    ~ThreadsGuard() { omp_set_num_threads(before_); }
    ThreadsGuard(const ThreadsGuard&) = delete;

   private:
    int before_;
};

// Throws where this CPU lacks instructions that the kernels were compiled for.
inline void check_machine(const Model& model) {
    const std::uint32_t missing = model.code.features & ~machine_features();
    if (!missing) return;
    throw Error(text("'", model.name, "' was compiled for a CPU with ", features_text(missing),
                     ", which this one does not have: build it again on this machine, or with --arch x86-64-v3"));
}

// A network's weights and plans; immutable, shared by its contexts, safe to use from several threads.
class Network {
   public:
    explicit Network(const Model& model, const Options& options = {})
        : state_(std::make_shared<State>(model, options)) {}

    const Model& model() const { return state_->model; }
    int threads() const { return state_->threads; }
    void* weights() const { return state_->weights.slab(); }
    std::size_t weight_bytes() const { return state_->weights.bytes(); }
    const dnnl::engine& engine() const { return state_->engine; }
    const Timings& startup() const { return state_->startup; }
    std::size_t plan_count() const { return state_->plans.size(); }

    const Plan& plan(const Operation& op) const { return *state_->plans.at(state_->key(op)); }

    // The weights of an operation as its plan reads them.
    void* weights_of(const Operation& op) const {
        void* w = addresses_of(op)[1];
        return state_->weights.contains(w) ? state_->weights.find(w, plan(op)) : w;
    }

    // The largest need of any step in any plan.
    std::size_t workspace_bytes() const {
        std::size_t bytes = 0;
        for (const auto& [key, plan] : state_->plans) bytes = std::max(bytes, plan->workspace());
        return bytes;
    }
    std::size_t arena_bytes() const { return *std::ranges::max_element(model().arena_bytes); }

   private:
    struct State {
        State(const Model& m, const Options& options)
            : model(m), threads(options.threads), weights(model.weight_bytes) {
            check_machine(model);
            if (threads < 0) throw ArgumentError(text("threads: ", threads, " is no number of threads; 0: all"));
            const ThreadsGuard guard(threads);
            Stopwatch watch;
            engine = with_onednn([] { return dnnl::engine(dnnl::engine::kind::cpu, 0); }, "starting oneDNN");
            watch.lap(startup, "libraries");
            plan();
            watch.lap(startup, "plans");
            WeightFile file(find_weights(model, options.weights), {model.weight_bytes, model.weight_layout});
            with_onednn([&] { weights.load(file, engine); }, "bringing the weights of '", model.name, "' into layout");
            watch.lap(startup, "weights");
        }

        // Equal operations share a plan, but for whether their weights may be brought into another layout.
        std::string key(const Operation& op) const {
            const auto addresses = addresses_of(op);
            std::string out = signature(op);
            if (weights.contains(addresses[1])) out += " constant";
            for (std::size_t i = 3; i < addresses.size(); ++i) {
                if (addresses[i] == addresses[2]) out += text(" in place ", i);
            }
            return out;
        }

        void plan() {
            for (std::size_t i = 0; i < model.plan_count(); ++i) {
                const Collect steps = collect(model, i, weights.slab());
                for (const void* address : steps.kernel_arguments) weights.keep(address);
                for (const Operation& op : steps.operations) plan(op);
            }
        }

        void plan(const Operation& op) {
            const auto addresses = addresses_of(op);
            const bool constant = weights.contains(addresses[1]);
            auto& plan = plans[key(op)];
            if (!plan) plan = std::make_unique<Plan>(op, engine, constant);
            for (std::size_t i = 0; i < addresses.size(); ++i) {
                if (i != 1 || !plan->reorders_weights()) weights.keep(addresses[i]);
            }
            if (constant && plan->reorders_weights()) weights.reorder(addresses[1], *plan);
        }

        const Model& model;
        int threads;
        PreparedWeights weights;
        dnnl::engine engine;
        std::map<std::string, std::unique_ptr<Plan>> plans;
        Timings startup;
    };

    std::shared_ptr<const State> state_;
};

}  // namespace cnngen::inline cpu
