// What a network is made of, for a person to read.
#pragma once

#include <iomanip>
#include <sstream>

#include "cnngen/context.hpp"

namespace cnngen {

inline std::string port_text(const Port& port) {
    std::string shape = "N";
    for (std::int64_t extent : port.shape) shape += text(" x ", extent);
    return text(port.name, ": ", name_of(port.dtype), " ", port.layout, *port.layout ? " " : "", shape);
}

// Device, versions, precision, memory, start-up and each step at each batch size with its engine and workspace.
inline std::string summary(const Context& context) {
    const Network& network = context.network();
    const Model& model = context.model();
    const cudaDeviceProp& gpu = network.gpu();
    int driver = 0;
    cudaDriverGetVersion(&driver);
    std::ostringstream out;
    out << model.name << " on " << gpu.name << " (GPU " << network.device() << ", compute capability " << gpu.major
        << "." << gpu.minor << ")\n"
        << "libraries   CUDA " << cuda_version_text(CUDART_VERSION) << ", driver for CUDA " << cuda_version_text(driver)
        << ", cuDNN " << cudnn_version_text(cudnnGetVersion()) << ", cuBLASLt " << cublasLtGetVersion() << "\n"
        << "precision   " << model.precision << "\n";
    for (const Port& port : model.inputs) out << "input       " << port_text(port) << "\n";
    for (const Port& port : model.outputs) out << "output      " << port_text(port) << "\n";
    const Memory memory = context.memory();
    out << "memory      weights " << size_text(memory.weights) << ", activations " << size_text(memory.arena)
        << ", workspace " << size_text(memory.workspace) << ", page-locked on the host " << size_text(memory.pinned)
        << "\n"
        << "start-up   ";
    out << std::fixed << std::setprecision(1);
    for (const Timings* timings : {&network.startup(), &context.startup()}) {
        for (const auto& [part, milliseconds] : *timings) out << " " << part << " " << milliseconds << " ms";
    }
    out << " (" << network.planner().built() << " of " << network.planner().size() << " plans built anew)\n";
    for (std::size_t i = 0; i < model.batch_sizes.size(); ++i) {
        out << "batch " << model.batch_sizes[i] << "\n";
        for (const Step& step : network.steps(i)) {
            out << "  " << std::left << std::setw(28) << step.layer << std::setw(12) << step.kind << std::setw(20)
                << step.shape << std::setw(9) << name_of(step.dtype);
            if (step.plan) out << " " << step.plan->engine() << ", workspace " << size_text(step.plan->workspace());
            out << "\n";
        }
    }
    return out.str();
}

}  // namespace cnngen
