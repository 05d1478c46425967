// A context runs a network on the CPU: it owns the activations, the workspace and the recorded passes.
#pragma once

#include <mutex>

#include "cnngen/cpu/recording.hpp"

namespace cnngen::inline cpu {

// Bytes. Weights in another layout are counted as they lie in memory; weights are the network's, shared by contexts.
struct Memory {
    std::size_t weights;
    std::size_t arena;
    std::size_t workspace;
    std::size_t pinned = 0;  // page-locked for copies: a GPU's matter
};

// Each call is one pass over n items in one profile. Inputs and outputs are addresses in the model's order, packed as
// Port says. A context serves one caller at a time; others wait.
class Context {
   public:
    explicit Context(const Network& network)
        : network_(network),
          arena_(network_.arena_bytes(), "activations", Pages::huge),
          workspace_(network_.workspace_bytes(), "workspace", Pages::small) {
        Stopwatch watch;
        stream_ = with_onednn([&] { return dnnl::stream(network_.engine()); }, "starting a stream of oneDNN");
        for (std::size_t i = 0; i < model().plan_count(); ++i) record(i);
        inputs_.resize(model().inputs.size());
        outputs_.resize(model().outputs.size());
        watch.lap(startup_, "record");
    }
    Context(Context&&) = delete;  // the recorded passes know its address

    const Network& network() const { return network_; }
    const Model& model() const { return network_.model(); }
    const Timings& startup() const { return startup_; }
    Memory memory() const { return {network_.weight_bytes(), arena_.bytes(), workspace_.bytes(), 0}; }
    const std::vector<Step>& steps(std::size_t plan) const { return passes_[plan].recording.steps(); }

    // Runs; outputs are there on return.
    void run(std::span<const void* const> inputs, std::span<void* const> outputs, std::int64_t n,
             std::size_t profile = 0) {
        const std::lock_guard lock(mutex_);
        const ThreadsGuard guard(network_.threads());
        check(inputs, outputs, n, profile);
        for (std::int64_t first = 0; first < n;) {
            const std::size_t i = plan_for(n - first, profile);
            const std::int64_t items = std::min(n - first, model().batch_of(i));
            run_some(inputs, outputs, i, first, items);
            first += items;
        }
    }

    // The same: a CPU computes at once.
    void run_async(std::span<const void* const> inputs, std::span<void* const> outputs, std::int64_t n,
                   std::size_t profile = 0) {
        run(inputs, outputs, n, profile);
    }
    void synchronize() {}

    // Microseconds of each step on this input: the median of several runs of it alone.
    std::vector<LayerTime> profile(std::span<const void* const> inputs, std::int64_t n, std::size_t profile = 0) {
        std::vector<LayerTime> times;
        walk(inputs, n, profile, [&](const Recording& recording, const Step& step) {
            constexpr int runs = 11;
            std::array<double, runs> samples = {};
            for (double& sample : samples) {
                const auto begin = std::chrono::steady_clock::now();
                recording.run(step, stream_);
                sample = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
            }
            std::ranges::nth_element(samples, samples.begin() + runs / 2);
            times.push_back({step.layer, samples[runs / 2]});
        });
        return times;
    }

    // The result of each step on this input.
    std::vector<TracedLayer> trace(std::span<const void* const> inputs, std::int64_t n, std::size_t profile = 0) {
        std::vector<TracedLayer> layers;
        const std::int64_t planned = walk(inputs, n, profile, [&](const Recording& recording, const Step& step) {
            recording.run(step, stream_);
            layers.push_back(copy_layer(step.result, step.y));
        });
        for (TracedLayer& layer : layers) keep_items(layer, planned, n);
        return layers;
    }

   private:
    // The pass of one plan, and where its inputs and outputs have their place in the arena.
    struct Planned {
        Recording recording;
        Buffers staging;
    };

    void record(std::size_t plan) {
        Buffers staging{arena_.data(), network_.weights(), {}, {}};
        for (const Port& port : model().inputs) staging.inputs.push_back(arena_.data() + port.staging[plan]);
        for (const Port& port : model().outputs) staging.outputs.push_back(arena_.data() + port.staging[plan]);
        Recording recording(network_, workspace_.data());
        Pass pass(recording, staging, model().batch_of(plan), plan);
        with_onednn([&] { model().forward(pass); }, "preparing '", model().name, "'");
        passes_.push_back({std::move(recording), std::move(staging)});
    }

    // What to run next of `rest` items: the largest planned size that they fill; what no size fits into gets the
    // smallest, and the items beyond are wasted.
    std::size_t plan_for(std::int64_t rest, std::size_t profile) const {
        const auto& sizes = model().batch_sizes;
        const auto larger = std::ranges::upper_bound(sizes, rest);
        const std::size_t index = larger == sizes.begin() ? 0 : static_cast<std::size_t>(larger - sizes.begin()) - 1;
        return profile * sizes.size() + index;
    }

    // Every mistake is found here, before anything runs.
    void check(std::span<const void* const> inputs, std::span<void* const> outputs, std::int64_t n,
               std::size_t profile) const {
        model().plan_for(n, profile);
        model().check_counts(inputs.size(), outputs.size());
        for (std::size_t i = 0; i < inputs.size(); ++i) check_address(inputs[i], "input", model().inputs[i]);
        for (std::size_t i = 0; i < outputs.size(); ++i) check_address(outputs[i], "output", model().outputs[i]);
    }
    static void check_address(const void* address, const char* what, const Port& port) {
        if (!address) throw ArgumentError(text(what, " '", port.name, "' has no memory (null)"));
    }

    // Items first, first + 1, ... Kernels use the caller's memory itself where a whole batch lies in it.
    void run_some(std::span<const void* const> inputs, std::span<void* const> outputs, std::size_t plan,
                  std::int64_t first, std::int64_t items) {
        Planned& planned = passes_[plan];
        const std::size_t profile = model().profile_of(plan);
        const bool whole = items == model().batch_of(plan);
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            const Port& port = model().inputs[i];
            const std::size_t item = port.bytes(profile);
            const auto* from = static_cast<const std::byte*>(inputs[i]) + item * static_cast<std::size_t>(first);
            inputs_[i] = from;
            if (whole && is_aligned(from, port.dtype)) continue;
            inputs_[i] = std::memcpy(planned.staging.inputs[i], from, item * static_cast<std::size_t>(items));
        }
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            auto* to = output_at(outputs, i, first, profile);
            const bool aligned = is_aligned(to, model().outputs[i].dtype);
            const bool direct = whole && aligned && !overlaps_inputs(to, i, items, profile);
            outputs_[i] = direct ? to : planned.staging.outputs[i];
        }
        planned.recording.retarget(inputs_, outputs_);
        planned.recording.run(stream_);
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            auto* to = output_at(outputs, i, first, profile);
            if (outputs_[i] == to) continue;
            std::memcpy(to, outputs_[i], model().outputs[i].bytes(profile) * static_cast<std::size_t>(items));
        }
    }

    std::byte* output_at(std::span<void* const> outputs, std::size_t i, std::int64_t first, std::size_t profile) const {
        return static_cast<std::byte*>(outputs[i]) +
               model().outputs[i].bytes(profile) * static_cast<std::size_t>(first);
    }

    static bool is_aligned(const void* address, DType dtype) {
        return reinterpret_cast<std::uintptr_t>(address) % bytes_of(dtype) == 0;
    }

    // Whether an output lies where an input is still to be read.
    bool overlaps_inputs(const std::byte* to, std::size_t output, std::int64_t items, std::size_t profile) const {
        const auto end = [&](const void* begin, std::size_t item) {
            return static_cast<const std::byte*>(begin) + item * static_cast<std::size_t>(items);
        };
        for (std::size_t i = 0; i < inputs_.size(); ++i) {
            const bool begins_before = to < end(inputs_[i], model().inputs[i].bytes(profile));
            if (begins_before && inputs_[i] < end(to, model().outputs[output].bytes(profile))) return true;
        }
        return false;
    }

    // One pass step by step over these inputs, in the arena; gives the batch size that it is planned for.
    template <class Use>
    std::int64_t walk(std::span<const void* const> inputs, std::int64_t n, std::size_t profile, Use use) {
        const std::lock_guard lock(mutex_);
        const ThreadsGuard guard(network_.threads());
        const std::size_t plan = model().plan_for(n, profile);
        Planned& planned = passes_[plan];
        std::vector<const void*> staged(planned.staging.inputs.begin(), planned.staging.inputs.end());
        model().check_counts(inputs.size(), model().outputs.size());
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            const Port& port = model().inputs[i];
            check_address(inputs[i], "input", port);
            std::memcpy(planned.staging.inputs[i], inputs[i], port.bytes(profile) * static_cast<std::size_t>(n));
        }
        planned.recording.retarget(staged, planned.staging.outputs);
        for (const Step& step : planned.recording.steps()) use(planned.recording, step);
        return model().batch_of(plan);
    }

    Network network_;
    Region arena_;
    Region workspace_;
    dnnl::stream stream_;
    std::mutex mutex_;
    std::vector<Planned> passes_;      // by plan
    std::vector<const void*> inputs_;  // of the pass under way
    std::vector<void*> outputs_;
    Timings startup_;
};

}  // namespace cnngen::inline cpu
