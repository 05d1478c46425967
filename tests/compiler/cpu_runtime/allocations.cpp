// Counts what a pass allocates, in a context and in a pipeline item by item, and what its primitives allocate when they
// are executed without us.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cnngen/cpu/pipeline.hpp"

static std::atomic<long> allocations = 0;

extern "C" void* __libc_malloc(std::size_t);
extern "C" void* malloc(std::size_t bytes) {
    ++allocations;
    return __libc_malloc(bytes);
}

namespace net {
const cnngen::Model& model();
}

int main(int, char** arguments) {
    const cnngen::Network network(net::model(), {.weights = arguments[1], .threads = 1});
    cnngen::Context context(network);
    std::vector<std::vector<std::byte>> memory;
    const auto make = [&](const cnngen::Port& port) { return memory.emplace_back(4 * port.bytes()).data(); };
    std::vector<const void*> inputs;
    std::vector<void*> outputs;
    for (const cnngen::Port& port : context.model().inputs) inputs.push_back(make(port));
    for (const cnngen::Port& port : context.model().outputs) outputs.push_back(make(port));
    context.run(inputs, outputs, 4);

    const long before = allocations;
    context.run(inputs, outputs, 4);
    const long in_pass = allocations - before;

    cnngen::Pipeline pipeline(network);
    const cnngen::Part item{inputs};
    const std::vector<cnngen::Part> parts(4, item);
    pipeline.submit(parts, outputs);
    const long before_submit = allocations;
    pipeline.submit(parts, outputs);
    pipeline.next();
    const long in_pipeline = allocations - before_submit;

    const dnnl::stream stream(network.engine());
    const long between = allocations;
    for (const cnngen::Step& step : context.steps(1)) {
        if (!step.plan) continue;
        dnnl_primitive_execute(step.plan->primitive(), stream.get(), static_cast<int>(step.arguments.size()),
                               step.arguments.data());
    }
    std::printf("%ld %ld %ld\n", in_pass, in_pipeline, allocations - between);
}
