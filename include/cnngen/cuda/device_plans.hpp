// Proof without a GPU: every step of a network has a plan on a GPU that is only described.
#pragma once

#include "cnngen/cuda/network.hpp"

namespace cnngen::inline cuda {

struct DevicePlan {
    std::string layer;
    std::int64_t batch;
    std::string kind;
    std::string engine;
    std::size_t workspace;
};

// Plans every convolution and matrix product of every plan for the GPU that `device_json` (cuDNN's own
// 24 keys) describes. Needs neither driver nor GPU, but a libcuda.so.1 that cuDNN can load, if only a no-op one.
// Throws with every step that has no plan.
inline std::vector<DevicePlan> plan_for_device(const Model& model, std::string_view device_json,
                                               std::size_t workspace_limit = std::size_t{256} << 20) {
    std::vector<Operation> operations;
    std::vector<std::int64_t> batches;
    for (std::size_t i = 0; i < model.plan_count(); ++i) {
        for (const Operation& op : collect(model, i).operations) {
            operations.push_back(op);
            batches.push_back(model.batch_of(i));
        }
    }
    cudnn::Target::described(device_json);  // a bad description is one error, not one a layer

    struct Found {
        std::string engine;
        std::size_t workspace = 0;
    };
    const std::vector<Operation> once = distinct(operations);
    std::vector<Found> found(once.size());
    const auto setup = [&] { return cudnn::Target::described(device_json); };
    const auto work = [&](const cudnn::Target& target, std::size_t i) {
        const Operation& op = once[i];
        try {
            const cudnn::Plan plan = cudnn::plan(graph_of(op, nullptr), target, limits_of(op, workspace_limit));
            found[i] = {engine_text(plan.engine()), plan.workspace()};
        } catch (const Error&) {
            // cuBLASLt says nothing about absent GPUs, but takes float32 and float16 on every one.
            const bool is_universal = is_for_cublaslt(op) && output_of(op).dtype != DType::bfloat16;
            if (!is_universal) throw;
            found[i] = {"cublasLt", 0};
        }
    };
    throw_failures(once, in_parallel(once.size(), default_threads(), setup, work),
                   text("the described GPU cannot run these layers of '", model.name, "':"));

    std::map<std::string, std::size_t> index;
    for (std::size_t i = 0; i < once.size(); ++i) index[signature(once[i])] = i;
    std::vector<DevicePlan> report;
    for (std::size_t i = 0; i < operations.size(); ++i) {
        const Operation& op = operations[i];
        const auto& [engine, workspace] = found[index[signature(op)]];
        report.push_back({layers_of(op).label(), batches[i], kind_of(op), engine, workspace});
    }
    return report;
}

}  // namespace cnngen::inline cuda
