// A pass as a list of calls that are ready to be made: all addresses and arguments are known, nothing is looked up.
#pragma once

#include <array>
#include <deque>

#include "cnngen/cpu/network.hpp"

namespace cnngen::inline cpu {

// One call: a kernel with its slots, or a primitive with its memories.
struct Step {
    std::string layer;   // all that it stands for
    std::string result;  // the layer whose value it makes
    Tensor y;
    const Plan* plan = nullptr;  // none for a kernel
    std::vector<dnnl::memory> memories;
    std::vector<dnnl_exec_arg_t> arguments;
    Caller caller = nullptr;
    const void* function = nullptr;
    std::size_t slots = 0;  // index of the first one
};

// The steps of one plan, on one context's memory.
class Recording final : public StepVisitor {
   public:
    // `workspace` holds the largest scratchpad of the network's plans.
    Recording(const Network& network, void* workspace) : network_(network), workspace_(workspace) {}

    void visit(const Operation& op) override {
        const Plan& plan = network_.plan(op);
        Step step{layers_of(op).label(), layers_of(op).result(), output_of(op), &plan, {}, {}, nullptr, nullptr, 0};
        std::vector<void*> addresses = addresses_of(op);
        addresses[1] = network_.weights_of(op);
        const auto add = [&](int argument, const dnnl::memory::desc& md, void* address) {
            step.memories.emplace_back(md, network_.engine(), address);
            step.arguments.push_back({argument, step.memories.back().get()});
        };
        for (const Plan::Place& place : plan.places()) add(place.argument, place.md, addresses[place.address]);
        if (plan.workspace()) add(DNNL_ARG_SCRATCHPAD, plan.scratchpad(), workspace_);
        steps_.push_back(std::move(step));
    }

    void visit(const KernelCall& call) override {
        steps_.push_back({call.layers.label(),
                          call.layers.result(),
                          call.y,
                          nullptr,
                          {},
                          {},
                          call.caller,
                          call.function,
                          slots_.size()});
        for (const Argument& a : call.arguments) {
            if (a.input >= 0) inputs_.push_back({slots_.size(), static_cast<std::size_t>(a.input)});
            if (a.output >= 0) outputs_.push_back({slots_.size(), static_cast<std::size_t>(a.output)});
            std::memcpy(&slots_.emplace_back(0), a.value, a.bytes);
        }
    }

    const std::vector<Step>& steps() const { return steps_; }

    // Points the kernels at these inputs and outputs.
    void retarget(std::span<const void* const> inputs, std::span<void* const> outputs) {
        for (const PortSlot& p : inputs_) std::memcpy(&slots_[p.slot], &inputs[p.port], sizeof(void*));
        for (const PortSlot& p : outputs_) std::memcpy(&slots_[p.slot], &outputs[p.port], sizeof(void*));
    }

    void run(const dnnl::stream& stream) const {
        for (const Step& step : steps_) run(step, stream);
    }

    void run(const Step& step, const dnnl::stream& stream) const {
        if (!step.plan) return step.caller(step.function, slots_.data() + step.slots);
        const dnnl_status_t status = dnnl_primitive_execute(
            step.plan->primitive(), stream.get(), static_cast<int>(step.arguments.size()), step.arguments.data());
        if (status != dnnl_success) {
            throw Error(text("running '", step.layer, "': oneDNN: ", dnnl_status2str(status)));
        }
    }

   private:
    struct PortSlot {
        std::size_t slot, port;
    };

    const Network& network_;
    void* workspace_;
    std::vector<Step> steps_;
    std::vector<Slot> slots_;
    std::vector<PortSlot> inputs_, outputs_;
};

// The tensor's elements in logical order.
inline TracedLayer copy_layer(const std::string& layer, const Tensor& y) {
    const std::size_t item = bytes_of(y.dtype);
    TracedLayer out{layer, {y.dims.begin(), y.dims.begin() + y.rank}, y.dtype, "", {}};
    out.data.resize(y.bytes());
    std::array<std::int64_t, 4> index = {};
    for (std::size_t at = 0; at < out.data.size(); at += item) {
        std::int64_t from = 0;
        for (int i = 0; i < y.rank; ++i) from += index[i] * y.strides[i];
        std::memcpy(out.data.data() + at,
                    static_cast<const std::byte*>(y.data) + from * static_cast<std::int64_t>(item), item);
        for (int i = y.rank; i-- > 0 && ++index[i] == y.dims[i];) index[i] = 0;
    }
    return out;
}

}  // namespace cnngen::inline cpu
