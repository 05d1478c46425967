// Which kernels of a captured pass may begin before the one before them has ended, where a library launches its own
// like ours.
#include "cnngen/cuda/executor.hpp"
#include "fake_cuda.hpp"

using namespace cnngen;

void k_nothing() {}
Registered<k_nothing> r;

int main() {
    const Stream stream = make_stream();
    const Executor executor{nullptr, nullptr, stream.get(), nullptr, true};
    const Layers layers{"ours"};
    const KernelCall call{layers, {}, reinterpret_cast<const void*>(k_nothing), {1, 32}, {}};
    std::vector<cudaGraphNode_t> nodes;
    const auto ours = [&] {
        executor.execute(call);
        nodes.push_back(capture_point(stream.get()).nodes.at(0));
    };
    const auto of_library = [&] {
        for (int i = 0; i < 2; ++i) {
            cudaLaunchAttribute attribute{};
            attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
            attribute.val.programmaticStreamSerializationAllowed = 1;
            cudaLaunchConfig_t config{};
            config.stream = stream.get();
            config.attrs = &attribute;
            config.numAttrs = 1;
            cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(k_nothing), nullptr);
            nodes.push_back(capture_point(stream.get()).nodes.at(0));
        }
    };
    const Graph graph = capture(stream.get(), [&] {
        of_library();
        ours();
        ours();
        in_order(stream.get(), of_library);
        of_library();
        in_order(stream.get(), of_library);
        ours();
    });
    for (cudaGraphNode_t node : nodes) {
        std::vector<cudaGraphNode_t> after(8);
        std::vector<cudaGraphEdgeData> edges(8);
        std::size_t count = after.size();
        cudaGraphNodeGetDependentNodes(node, after.data(), edges.data(), &count);
        for (std::size_t i = 0; i < count; ++i) {
            std::printf("%s", edges[i].type == cudaGraphDependencyTypeProgrammatic ? "early " : "after ");
        }
    }
}
