// A pass with a branch on a stream of its own: what comes after what in its graph, and what may begin early.
#include <map>

#include "cnngen/cuda/executor.hpp"
#include "fake_cuda.hpp"

using namespace cnngen;

extern "C" long fake_count(const char* what);

namespace {
std::string order;
void k_append(char name) { order += name; }
Registered<k_append> r;
}  // namespace

int main() {
    const Stream stream = make_stream();
    const SideStream side = make_side_stream({});
    std::vector<Executor> executors = {{nullptr, nullptr, stream.get(), nullptr, true}};
    executors.push_back(side.executor(executors.front()));
    const Layers layers{"append"};
    std::map<std::string, cudaGraphNode_t> nodes;
    const Graph graph = capture(stream.get(), [&] {
        Route route(executors);
        const auto step = [&](const char* name) {
            const Executor executor = route.next();
            const Argument argument{name, 1};
            executor.execute(KernelCall{layers, {}, reinterpret_cast<const void*>(k_append), {1, 32}, {&argument, 1}});
            nodes[name] = capture_point(executor.stream).nodes.at(0);
        };
        constexpr std::size_t pass[] = {0}, branch[] = {1};
        step("a");
        step("b");
        route.on(1, pass);
        step("p");
        step("q");
        route.on(0, {});
        step("c");
        step("d");
        route.on(0, branch);
        step("e");
        step("f");
    });
    for (const auto& [from, node] : nodes) {
        std::vector<cudaGraphNode_t> after(8);
        std::vector<cudaGraphEdgeData> edges(8);
        std::size_t count = after.size();
        cudaGraphNodeGetDependentNodes(node, after.data(), edges.data(), &count);
        for (std::size_t i = 0; i < count; ++i) {
            for (const auto& [to, other] : nodes) {
                if (other == after[i]) std::printf("%s%s%s ", from.c_str(), edges[i].type ? "~" : "-", to.c_str());
            }
        }
    }
    const GraphExec exec = instantiate(graph);
    cudaGraphLaunch(exec.get(), stream.get());
    std::printf("%s", order.c_str());
    const long without = fake_count("cudnnCreate");
    const SideStream of_library = make_side_stream({.workspace = 256, .libraries = true});
    std::printf(" %ld %ld", without, fake_count("cudnnCreate"));
}
