// The steps of a pass, kept so that each can be launched again by itself.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "cnngen/cuda/modes.hpp"

namespace cnngen::inline cuda {

// A step as it was handed to a pass, kept so that it can be launched again, with its weights elsewhere.
struct CandidateStep {
    std::string layer;
    Tensor y;
    std::optional<Operation> operation;  // of a library; else a kernel:
    const void* function = nullptr;
    Grid grid = {};
    std::vector<std::vector<std::byte>> arguments = {};
};

// Collects the steps of a pass.
class Gather final : public StepVisitor {
   public:
    void visit(const Operation& op) override {
        labels_.push_back(layers_of(op).label());
        steps.push_back({labels_.back(), output_of(op), op});
    }
    void visit(const KernelCall& call) override {
        CandidateStep step{call.layers.label(), call.y, std::nullopt, call.function, call.grid};
        for (const Argument& a : call.arguments) {
            const auto* bytes = static_cast<const std::byte*>(a.value);
            step.arguments.emplace_back(bytes, bytes + a.bytes);
        }
        steps.push_back(std::move(step));
    }

    std::vector<CandidateStep> steps;

   private:
    std::deque<std::string> labels_;
};

}  // namespace cnngen::inline cuda
