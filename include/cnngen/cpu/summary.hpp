// What a network is made of, for a person to read.
#pragma once

#include <fstream>

#include "cnngen/cpu/context.hpp"

namespace cnngen::inline cpu {

// As the kernel names it: "AMD EPYC 9554".
inline std::string cpu_name() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        if (line.rfind("model name", 0) == 0) return line.substr(std::min(line.find(": ") + 2, line.size()));
    }
    return "this CPU";
}

// CPU, versions, precision, memory, start-up and each step of each plan with its implementation.
inline std::string summary(const Context& context) {
    const Network& network = context.network();
    const Model& model = context.model();
    const int threads = network.threads() ? network.threads() : omp_get_max_threads();
    std::string out = text(model.name, " on ", cpu_name(), " (", threads, threads == 1 ? " thread)\n" : " threads)\n");
    out += text("libraries   oneDNN ", onednn_version_text(), ", kernels for ",
                model.code.features ? features_text(model.code.features) : "any CPU", "\n");
    out += text("precision   ", model.precision, "\n");
    for (const Port& port : model.inputs) out += text("input       ", port_text(port, model.batched), "\n");
    for (const Port& port : model.outputs) out += text("output      ", port_text(port, model.batched), "\n");
    const Memory memory = context.memory();
    out += text("memory      weights ", size_text(memory.weights), ", activations ", size_text(memory.arena),
                ", workspace ", size_text(memory.workspace), "\n");
    out += text("start-up   ", timings_text(network.startup()), timings_text(context.startup()), " (",
                network.plan_count(), " plans)\n");
    for (std::size_t i = 0; i < model.plan_count(); ++i) {
        const std::string plan = plan_text(model, i);
        if (!plan.empty()) out += plan + "\n";
        for (const Step& step : context.steps(i)) {
            out += text("  ", column(step.layer, 40), column(step.plan ? "onednn" : "kernel", 12),
                        column(shape_text(step.y), 20), name_of(step.y.dtype));
            if (step.plan) out += text("  ", step.plan->engine(), ", workspace ", size_text(step.plan->workspace()));
            out += "\n";
        }
    }
    return out;
}

}  // namespace cnngen::inline cpu
