// A pipeline with the arrays of its passes.
#pragma once

#include <deque>
#include <memory>
#include <mutex>

#include "cnngen/python/ports.hpp"

#pragma GCC visibility push(hidden)  // as pybind11's own classes are
namespace cnngen::python {

// `Device`: see runner.hpp. Serves one thread at a time; those that wait do so without the GIL.
template <class Device>
class PipelineRunner {
   public:
    PipelineRunner(const typename Device::Network& network, std::size_t contexts)
        : model_(network.model()),
          ports_(model_),
          pipeline_(std::make_unique<typename Device::Pipeline>(network, contexts)),
          contexts_(pipeline_->contexts()) {}
    ~PipelineRunner() {
        const py::gil_scoped_release release;
        pipeline_.reset();
    }

    std::size_t contexts() const { return contexts_; }
    std::size_t pending() const { return passes_.size(); }

    // Holds arrays against the network: a batch or, with `is_item`, one item without the batch's axis.
    Inputs take(const py::list& arrays, bool is_item) const {
        Inputs part = ports_.take_inputs(arrays, {}, /*is_ready=*/false, is_item);
        if (part.has_device) {
            throw ArgumentError(
                "a pipeline takes arrays on the host: those on the GPU need no copies, and run in a Context");
        }
        return part;
    }

    // Starts a pass over parts of one profile. `outputs`: arrays on the host, or None to make them.
    void submit(const py::list& parts, const py::object& outputs) {
        const auto turn = wait_for_turn();
        check_open();
        std::vector<Part> batch;
        py::list held;
        std::size_t profile = 0;
        for (const py::handle& object : parts) {
            const auto& part = py::cast<const Inputs&>(object);
            if (!batch.empty() && part.profile != profile) throw ArgumentError("a batch of parts of several profiles");
            profile = part.profile;
            batch.push_back({part.addresses, part.n});
            held.append(part.held);
        }
        const std::int64_t n = count_items(batch);
        py::list results;
        std::vector<void*> targets;
        for (std::size_t i = 0; i < model_.outputs.size(); ++i) {
            const Port& port = model_.outputs[i];
            if (outputs.is_none()) {
                results.append(numpy_output(port, array_shape(port.shape_in(profile), n, model_.batched)));
            } else {
                results.append(py::cast<py::list>(outputs)[i]);
            }
            bool is_on_host = false;
            targets.push_back(ports_.take_output(results[i], port, n, profile, {}, /*is_ready=*/false, is_on_host));
        }
        {
            const py::gil_scoped_release release;
            pipeline_->submit(batch, targets, profile);
        }
        passes_.push_back({results, held});
    }

    // The outputs of the oldest pass.
    py::list next() {
        const auto turn = wait_for_turn();
        check_open();
        Pass pass;
        if (!passes_.empty()) {
            pass = std::move(passes_.front());
            passes_.pop_front();  // also where it has failed
        }
        {
            const py::gil_scoped_release release;
            pipeline_->next();
        }
        return pass.results;
    }

    // Waits for the passes under way, drops their results and frees the contexts.
    void close() {
        const auto turn = wait_for_turn();
        {
            const py::gil_scoped_release release;
            pipeline_.reset();
        }
        passes_.clear();
    }

   private:
    struct [[gnu::visibility("hidden")]] Pass {
        py::list results;
        py::list held;
    };

    // The lock is taken without the GIL, which its owner may need to go on.
    std::unique_lock<std::mutex> wait_for_turn() {
        const py::gil_scoped_release release;
        return std::unique_lock(mutex_);
    }

    void check_open() const {
        if (!pipeline_) throw Error("the pipeline is closed");
    }

    const typename Device::Model& model_;
    Ports<Device> ports_;
    std::mutex mutex_;
    std::deque<Pass> passes_;  // whose results are still to be taken; they outlive the pipeline, which writes to them
    std::unique_ptr<typename Device::Pipeline> pipeline_;
    std::size_t contexts_;
};

}  // namespace cnngen::python
#pragma GCC visibility pop
