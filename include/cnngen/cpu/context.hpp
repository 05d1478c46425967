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

// Each call is one pass over n items. Inputs and outputs are addresses in the model's order, packed as Port says. A
// context serves one caller at a time; others wait.
class Context {
   public:
    explicit Context(const Network& network)
        : network_(network),
          arena_(network_.arena_bytes(), "activations"),
          workspace_(network_.workspace_bytes(), "workspace") {
        Stopwatch watch;
        stream_ = with_onednn([&] { return dnnl::stream(network_.engine()); }, "starting a stream of oneDNN");
        for (std::size_t i = 0; i < model().batch_sizes.size(); ++i) record(i);
        inputs_.resize(model().inputs.size());
        outputs_.resize(model().outputs.size());
        watch.lap(startup_, "record");
    }
    Context(Context&&) = delete;  // the recorded passes know its address

    const Network& network() const { return network_; }
    const Model& model() const { return network_.model(); }
    const Timings& startup() const { return startup_; }
    Memory memory() const { return {network_.weight_bytes(), arena_.bytes(), workspace_.bytes(), 0}; }
    const std::vector<Step>& steps(std::size_t batch_index) const { return passes_[batch_index].recording.steps(); }

    // Runs; outputs are there on return.
    void run(std::span<const void* const> inputs, std::span<void* const> outputs, std::int64_t n) {
        const std::lock_guard lock(mutex_);
        const ThreadsGuard guard(network_.threads());
        check(inputs, outputs, n);
        for (std::int64_t first = 0; first < n;) {
            const std::size_t i = batch_index_for(n - first);
            const std::int64_t items = std::min(n - first, model().batch_sizes[i]);
            run_some(inputs, outputs, i, first, items);
            first += items;
        }
    }

    // The same: a CPU computes at once.
    void run_async(std::span<const void* const> inputs, std::span<void* const> outputs, std::int64_t n) {
        run(inputs, outputs, n);
    }
    void synchronize() {}

    // Microseconds of each step on this input: the median of several runs of it alone.
    std::vector<LayerTime> profile(std::span<const void* const> inputs, std::int64_t n) {
        std::vector<LayerTime> times;
        walk(inputs, n, [&](const Recording& recording, const Step& step) {
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
    std::vector<TracedLayer> trace(std::span<const void* const> inputs, std::int64_t n) {
        std::vector<TracedLayer> layers;
        const std::int64_t planned = walk(inputs, n, [&](const Recording& recording, const Step& step) {
            recording.run(step, stream_);
            layers.push_back(copy_layer(step.result, step.y));
        });
        for (TracedLayer& layer : layers) keep_items(layer, planned, n);
        return layers;
    }

   private:
    // The pass at one batch size, and where its inputs and outputs have their place in the arena.
    struct Planned {
        Recording recording;
        Buffers staging;
    };

    void record(std::size_t batch_index) {
        Buffers staging{arena_.data(), network_.weights(), {}, {}};
        for (const Port& port : model().inputs) staging.inputs.push_back(arena_.data() + port.staging[batch_index]);
        for (const Port& port : model().outputs) staging.outputs.push_back(arena_.data() + port.staging[batch_index]);
        Recording recording(network_, workspace_.data());
        Pass pass(recording, staging, model().batch_sizes[batch_index], batch_index);
        with_onednn([&] { model().forward(pass); }, "preparing '", model().name, "'");
        passes_.push_back({std::move(recording), std::move(staging)});
    }

    // What to run next of `rest` items: the largest planned size that they fill; what no size fits into gets the
    // smallest, and the items beyond are wasted.
    std::size_t batch_index_for(std::int64_t rest) const {
        const auto& sizes = model().batch_sizes;
        const auto larger = std::ranges::upper_bound(sizes, rest);
        return larger == sizes.begin() ? 0 : static_cast<std::size_t>(larger - sizes.begin()) - 1;
    }

    // Every mistake is found here, before anything runs.
    void check(std::span<const void* const> inputs, std::span<void* const> outputs, std::int64_t n) const {
        model().batch_index_for(n);
        model().check_counts(inputs.size(), outputs.size());
        for (std::size_t i = 0; i < inputs.size(); ++i) check_address(inputs[i], "input", model().inputs[i]);
        for (std::size_t i = 0; i < outputs.size(); ++i) check_address(outputs[i], "output", model().outputs[i]);
    }
    static void check_address(const void* address, const char* what, const Port& port) {
        if (!address) throw ArgumentError(text(what, " '", port.name, "' has no memory (null)"));
    }

    // Items first, first + 1, ... Kernels use the caller's memory itself where a whole batch lies in it.
    void run_some(std::span<const void* const> inputs, std::span<void* const> outputs, std::size_t batch_index,
                  std::int64_t first, std::int64_t items) {
        Planned& planned = passes_[batch_index];
        const bool whole = items == model().batch_sizes[batch_index];
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            const Port& port = model().inputs[i];
            const auto* from =
                static_cast<const std::byte*>(inputs[i]) + port.bytes() * static_cast<std::size_t>(first);
            inputs_[i] = from;
            if (whole && is_aligned(from, port.dtype)) continue;
            inputs_[i] = std::memcpy(planned.staging.inputs[i], from, port.bytes() * static_cast<std::size_t>(items));
        }
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            auto* to = output_at(outputs, i, first);
            const Port& port = model().outputs[i];
            const bool direct = whole && is_aligned(to, port.dtype) && !overlaps_inputs(to, port.bytes(), items);
            outputs_[i] = direct ? to : planned.staging.outputs[i];
        }
        planned.recording.retarget(inputs_, outputs_);
        planned.recording.run(stream_);
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            auto* to = output_at(outputs, i, first);
            if (outputs_[i] == to) continue;
            std::memcpy(to, outputs_[i], model().outputs[i].bytes() * static_cast<std::size_t>(items));
        }
    }

    std::byte* output_at(std::span<void* const> outputs, std::size_t i, std::int64_t first) const {
        return static_cast<std::byte*>(outputs[i]) + model().outputs[i].bytes() * static_cast<std::size_t>(first);
    }

    static bool is_aligned(const void* address, DType dtype) {
        return reinterpret_cast<std::uintptr_t>(address) % bytes_of(dtype) == 0;
    }

    // Whether an output of this many bytes an item lies where an input is still to be read.
    bool overlaps_inputs(const std::byte* to, std::size_t bytes, std::int64_t items) const {
        const auto end = [&](const void* begin, std::size_t item) {
            return static_cast<const std::byte*>(begin) + item * static_cast<std::size_t>(items);
        };
        for (std::size_t i = 0; i < inputs_.size(); ++i) {
            if (to < end(inputs_[i], model().inputs[i].bytes()) && inputs_[i] < end(to, bytes)) return true;
        }
        return false;
    }

    // One pass step by step over these inputs, in the arena; gives the batch size that it is planned for.
    template <class Use>
    std::int64_t walk(std::span<const void* const> inputs, std::int64_t n, Use use) {
        const std::lock_guard lock(mutex_);
        const ThreadsGuard guard(network_.threads());
        const std::size_t batch_index = model().batch_index_for(n);
        Planned& planned = passes_[batch_index];
        std::vector<const void*> staged(planned.staging.inputs.begin(), planned.staging.inputs.end());
        model().check_counts(inputs.size(), model().outputs.size());
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            const Port& port = model().inputs[i];
            check_address(inputs[i], "input", port);
            std::memcpy(planned.staging.inputs[i], inputs[i], port.bytes() * static_cast<std::size_t>(n));
        }
        planned.recording.retarget(staged, planned.staging.outputs);
        for (const Step& step : planned.recording.steps()) use(planned.recording, step);
        return model().batch_sizes[batch_index];
    }

    Network network_;
    Region arena_;
    Region workspace_;
    dnnl::stream stream_;
    std::mutex mutex_;
    std::vector<Planned> passes_;      // by planned batch size
    std::vector<const void*> inputs_;  // of the pass under way
    std::vector<void*> outputs_;
    Timings startup_;
};

}  // namespace cnngen::inline cpu
