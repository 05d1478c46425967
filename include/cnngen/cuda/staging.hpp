// Page-locked memory between ordinary host memory and the GPU, without which a copy would wait for the GPU.
#pragma once

#include "cnngen/batch.hpp"
#include "cnngen/cuda/copiers.hpp"
#include "cnngen/cuda/memory.hpp"
#include "cnngen/cuda/model.hpp"

namespace cnngen::inline cuda {

// Holds the largest batch of every input and output, for one pass at a time.
class Staging {
   public:
    // Without copiers the caller's thread copies alone.
    Staging(const Model& model, Copiers* copiers) : copiers_(copiers) {
        const auto largest = static_cast<std::size_t>(model.batch_sizes.back());
        const auto pin = [&](const Port& port) {
            bytes_ += port.most_bytes() * largest;
            return allocate_pinned(port.most_bytes() * largest, "staging of inputs and outputs");
        };
        for (const Port& port : model.inputs) inputs_.push_back(pin(port));
        for (const Port& port : model.outputs) outputs_.push_back(pin(port));
        gathered_.reserve(largest);
        deliveries_.reserve(outputs_.size());
    }

    std::size_t bytes() const { return bytes_; }
    bool in_use() const { return in_use_; }

    // Brings an input's items together; the address from which the GPU may read them.
    const void* gather(std::size_t input, std::span<const Part> parts, std::size_t item_bytes) {
        auto* to = static_cast<std::byte*>(inputs_[input].get());
        gathered_.clear();
        for (const Part& part : parts) {
            const std::size_t bytes = item_bytes * static_cast<std::size_t>(part.n);
            gathered_.push_back({to, part.inputs[input], bytes});
            to += bytes;
        }
        in_use_ = true;
        copy(gathered_);
        return inputs_[input].get();
    }

    // Where the GPU may write what deliver() is to bring to `to`.
    void* expect(std::size_t output, void* to, std::size_t bytes) {
        in_use_ = true;
        deliveries_.push_back({to, outputs_[output].get(), bytes});
        return outputs_[output].get();
    }

    // After the pass: outputs to where they are expected.
    void deliver() {
        copy(deliveries_);
        drop();
    }

    // The same without them.
    void drop() {
        deliveries_.clear();
        in_use_ = false;
    }

   private:
    void copy(std::span<const Copy> copies) const {
        if (copiers_) return copiers_->copy(copies);
        for (const Copy& c : copies) std::memcpy(c.to, c.from, c.bytes);
    }

    Copiers* copiers_;
    std::vector<PinnedBuffer> inputs_;
    std::vector<PinnedBuffer> outputs_;
    std::size_t bytes_ = 0;
    std::vector<Copy> gathered_;    // of one input; a member, so that a pass allocates nothing
    std::vector<Copy> deliveries_;  // of the pass under way
    bool in_use_ = false;
};

}  // namespace cnngen::inline cuda
