// What a network is made of, for a person to read.
#pragma once

#include "cnngen/cuda/context.hpp"

namespace cnngen::inline cuda {

// Device, versions, precision, memory, start-up and each step of each plan with its engine and workspace.
inline std::string summary(const Context& context) {
    const Network& network = context.network();
    const Model& model = context.model();
    const cudaDeviceProp& gpu = network.gpu();
    int driver = 0;
    cudaDriverGetVersion(&driver);
    std::string out = text(model.name, " on ", gpu.name, " (GPU ", network.device(), ", compute capability ", gpu.major,
                           ".", gpu.minor, ")\n");
    out += text("libraries   CUDA ", cuda_version_text(CUDART_VERSION), ", driver for CUDA ", cuda_version_text(driver),
                ", cuDNN ", cudnn_version_text(cudnnGetVersion()), ", cuBLASLt ", cublasLtGetVersion(), "\n");
    out += text("precision   ", model.precision, "\n");
    for (const Port& port : model.inputs) out += text("input       ", port_text(port, model.batched), "\n");
    for (const Port& port : model.outputs) out += text("output      ", port_text(port, model.batched), "\n");
    const Memory memory = context.memory();
    out +=
        text("memory      weights ", size_text(memory.weights), ", activations ", size_text(memory.arena),
             ", workspace ", size_text(memory.workspace), ", page-locked on the host ", size_text(memory.pinned), "\n");
    out += "start-up   ";
    out += timings_text(network.startup()) + timings_text(context.startup());
    out += text(" (", network.planner().built(), " of ", network.planner().size(), " plans built anew)\n");
    for (const std::string& note : network.notes()) out += text("note        ", note, "\n");
    for (std::size_t i = 0; i < model.plan_count(); ++i) {
        const std::string plan = plan_text(model, i);
        if (!plan.empty()) out += plan + "\n";
        for (const Step& step : network.steps(i)) {
            out +=
                text("  ", column(step.layer, 40), column(step.kind, 12), column(step.shape, 20), name_of(step.dtype));
            if (step.plan)
                out += text("  ", engine_text(step.plan->engine()), ", workspace ", size_text(step.plan->workspace()));
            out += "\n";
        }
    }
    return out;
}

}  // namespace cnngen::inline cuda
