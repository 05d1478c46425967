// The pipeline of a network on the CPU: the calls of a GPU's, where there is nothing to overlap.
#pragma once

#include "cnngen/batch.hpp"
#include "cnngen/cpu/context.hpp"

namespace cnngen::inline cpu {

// Each pass runs in submit(), with all threads of the network; any number of contexts is one. A pipeline serves one
// caller at a time; others wait.
class Pipeline {
   public:
    // Nothing is allocated after it, but what oneDNN does.
    explicit Pipeline(const Network& network, std::size_t contexts = 1) : context_(network) {
        if (!contexts) throw ArgumentError("a pipeline needs at least one context");
        const auto largest = static_cast<std::size_t>(model().batch_sizes.back());
        for (const Port& port : model().inputs) {
            gathered_.emplace_back(port.most_bytes() * largest, "gathered inputs", Pages::huge);
            inputs_.push_back(gathered_.back().data());
        }
    }
    Pipeline(Pipeline&&) = delete;

    const Network& network() const { return context_.network(); }
    const Model& model() const { return context_.model(); }
    std::size_t contexts() const { return 1; }

    // Passes whose results next() has still to give.
    std::size_t pending() const {
        const std::lock_guard lock(mutex_);
        return submitted_ - taken_;
    }

    // Runs a pass over n items in one profile, and gives its number: 0, 1, ... Throws what goes wrong; it is then as if
    // the call had not been.
    std::uint64_t submit(std::span<const void* const> inputs, std::span<void* const> outputs, std::int64_t n,
                         std::size_t profile = 0) {
        const Part whole{inputs, n};
        return submit(std::span(&whole, 1), outputs, profile);
    }

    // The same on a batch in parts.
    std::uint64_t submit(std::span<const Part> parts, std::span<void* const> outputs, std::size_t profile = 0) {
        const std::lock_guard lock(mutex_);
        const std::int64_t n = count_items(parts);
        model().plan_for(n, profile);
        const bool apart = parts.size() > 1;
        if (apart) gather(parts, outputs.size(), profile);
        context_.run(apart ? std::span<const void* const>(inputs_) : parts.front().inputs, outputs, n, profile);
        return submitted_++;
    }

    // The number of the oldest pass; ArgumentError where there is none.
    std::uint64_t next() {
        const std::lock_guard lock(mutex_);
        if (taken_ == submitted_) throw ArgumentError("no pass has been submitted whose result is still to be taken");
        return taken_++;
    }

   private:
    // Brings the items of each input together.
    void gather(std::span<const Part> parts, std::size_t outputs, std::size_t profile) {
        for (const Part& part : parts) model().check_counts(part.inputs.size(), outputs);
        for (std::size_t i = 0; i < gathered_.size(); ++i) {
            std::byte* to = gathered_[i].data();
            for (const Part& part : parts) {
                const Port& port = model().inputs[i];
                if (!part.inputs[i]) throw ArgumentError(text("input '", port.name, "' has no memory (null)"));
                const std::size_t bytes = port.bytes(profile) * static_cast<std::size_t>(part.n);
                std::memcpy(to, part.inputs[i], bytes);
                to += bytes;
            }
        }
    }

    Context context_;
    mutable std::mutex mutex_;
    std::vector<Region> gathered_;     // by input
    std::vector<const void*> inputs_;  // their addresses
    std::uint64_t submitted_ = 0;
    std::uint64_t taken_ = 0;
};

}  // namespace cnngen::inline cpu
