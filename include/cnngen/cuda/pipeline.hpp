// A pipeline runs one batch after the other in several contexts, so that the copies of one overlap the computation of
// others.
#pragma once

#include <deque>
#include <exception>
#include <map>

#include "cnngen/cuda/context.hpp"

namespace cnngen::inline cuda {

// Passes take the contexts in turn; each context has a stream of its own. A context is idle when a pass enters it, so
// what is enqueued for an upload waits for nothing: on the GPU's copy engine no upload stands behind one that waits for
// a kernel. Downloads wait for their kernels, behind each other, in the order in which results are taken.
//
// Three contexts: one is filled by the host or uploads, one computes, one downloads or is emptied. Two suffice where
// the host is quick. Results come in the order of submission. A pipeline serves one caller at a time; others wait.
class Pipeline {
   public:
    // Nothing is allocated after it.
    explicit Pipeline(const Network& network, std::size_t contexts = 3)
        : network_(network), copiers_(Copiers::threads_for(batch_bytes(network.model()))) {
        if (!contexts) throw ArgumentError("a pipeline needs at least one context");
        const DeviceGuard guard(network_.device());
        for (std::size_t i = 0; i < contexts; ++i) lanes_.emplace_back(network_, copiers_);
    }
    Pipeline(Pipeline&&) = delete;  // the contexts know the copiers' address
    // Waits for the passes under way; outputs in ordinary host memory that were not taken are not written.
    ~Pipeline() = default;

    const Network& network() const { return network_; }
    const Model& model() const { return network_.model(); }
    std::size_t contexts() const { return lanes_.size(); }

    // Passes whose results next() has still to give.
    std::size_t pending() const {
        const std::lock_guard lock(mutex_);
        return submitted_ - taken_;
    }

    // Enqueues a pass over n items in one profile, and gives its number: 0, 1, ... Waits first while every context is
    // busy. Addresses are what Context::run_async takes: inputs in ordinary host memory may be reused on return, all
    // others and the outputs when next() has given the number. Data on the GPU has to be there already.
    //
    // Throws for what does not fit or cannot be enqueued; it is then as if the call had not been.
    std::uint64_t submit(std::span<const void* const> inputs, std::span<void* const> outputs, std::int64_t n,
                         std::size_t profile = 0) {
        const Part whole{inputs, n};
        return submit(std::span(&whole, 1), outputs, profile);
    }

    // The same on a batch in parts; several lie on the host.
    std::uint64_t submit(std::span<const Part> parts, std::span<void* const> outputs, std::size_t profile = 0) {
        const std::lock_guard lock(mutex_);
        Lane& lane = lanes_[submitted_ % lanes_.size()];
        settle(lane);
        lane.context.run_async(parts, outputs, lane.context.stream(), profile);
        // To sleep until then. Where that fails, the pass goes on: synchronize() waits for it all the same.
        cudaEventRecord(lane.over.get(), lane.context.stream());
        lane.pass = submitted_;
        return submitted_++;
    }

    // Waits for the oldest pass, whose outputs are then where submit() was told to put them, and gives its number.
    // Throws what went wrong in it, and goes on with the one behind it; ArgumentError where there is none.
    std::uint64_t next() {
        const std::lock_guard lock(mutex_);
        if (taken_ == submitted_) throw ArgumentError("no pass has been submitted whose result is still to be taken");
        const std::uint64_t pass = taken_++;
        Lane& lane = lanes_[pass % lanes_.size()];
        if (lane.pass == pass) settle(lane);
        const auto failure = failures_.extract(pass);
        if (failure) std::rethrow_exception(failure.mapped());
        return pass;
    }

   private:
    struct Lane {
        Lane(const Network& network, Copiers& copiers) : context(network, &copiers) {}

        Context context;
        // A thread that waits for it sleeps: others have work for its core, and the GPU has the next pass already.
        Event over = make_event(cudaEventDisableTiming | cudaEventBlockingSync);
        std::optional<std::uint64_t> pass = {};  // under way
    };

    static std::size_t batch_bytes(const Model& model) {
        std::size_t bytes = 0;
        for (const auto* ports : {&model.inputs, &model.outputs}) {
            for (const Port& port : *ports) bytes += port.most_bytes();
        }
        return bytes * static_cast<std::size_t>(model.batch_sizes.back());
    }

    // Waits for the lane's pass and delivers its outputs. What went wrong is kept for next().
    void settle(Lane& lane) {
        if (!lane.pass) return;
        const std::uint64_t pass = *std::exchange(lane.pass, std::nullopt);
        try {
            const cudaError_t status = cudaEventSynchronize(lane.over.get());
            lane.context.synchronize();
            check(status, "running '", model().name, "'");
        } catch (const Error&) {
            failures_.emplace(pass, std::current_exception());
        }
    }

    Network network_;
    mutable std::mutex mutex_;
    Copiers copiers_;
    std::deque<Lane> lanes_;
    std::uint64_t submitted_ = 0;
    std::uint64_t taken_ = 0;
    std::map<std::uint64_t, std::exception_ptr> failures_;  // by pass, until next() throws them
};

}  // namespace cnngen::inline cuda
