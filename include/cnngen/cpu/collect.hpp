// The steps of a pass, listed without running any: which operations must be planned, and what reads which weight.
#pragma once

#include "cnngen/cpu/model.hpp"

namespace cnngen::inline cpu {

// Lists operations and the addresses that kernels are given. Runs nothing and reads no memory.
class Collect final : public StepVisitor {
   public:
    void visit(const Operation& op) override { operations.push_back(op); }
    void visit(const KernelCall& call) override {
        for (const Argument& a : call.arguments) {
            if (a.bytes != sizeof(void*)) continue;
            const void* address;
            std::memcpy(&address, a.value, sizeof address);
            kernel_arguments.push_back(address);
        }
    }

    std::vector<Operation> operations;
    std::vector<const void*> kernel_arguments;  // of an address's size: numbers may be among them
};

// The steps of one plan. Addresses in the arena are offsets; those of weights lie behind `weights`.
inline Collect collect(const Model& model, std::size_t plan, void* weights) {
    Collect steps;
    Buffers nowhere;
    nowhere.weights = weights;
    nowhere.inputs.resize(model.inputs.size());
    nowhere.outputs.resize(model.outputs.size());
    Pass pass(steps, nowhere, model.batch_of(plan), plan);
    model.forward(pass);
    return steps;
}

}  // namespace cnngen::inline cpu
