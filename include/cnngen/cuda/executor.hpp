// Runs the steps of a pass on a stream, which may be captured.
#pragma once

#include "cnngen/cuda/pass.hpp"
#include "cnngen/cuda/plan.hpp"

namespace cnngen::inline cuda {

// The graph that a stream is captured into, and the nodes that come before what is next; neither outside a capture.
struct CapturePoint {
    cudaGraph_t graph = nullptr;
    std::vector<cudaGraphNode_t> nodes = {};
};

inline CapturePoint capture_point(cudaStream_t stream) {
    cudaStreamCaptureStatus status{};
    cudaGraph_t graph = nullptr;
    const cudaGraphNode_t* nodes = nullptr;
    const cudaGraphEdgeData* edges = nullptr;
    std::size_t count = 0;
    check(cudaStreamGetCaptureInfo(stream, &status, nullptr, &graph, &nodes, &edges, &count),
          "asking for the captured kernel");
    if (status != cudaStreamCaptureStatusActive) return {};
    return {graph, {nodes, nodes + count}};
}

// What follows the node begins when it has ended, and not when it lets it begin.
inline void wait_for_end_of(cudaGraph_t graph, cudaGraphNode_t node) {
    std::size_t count = 0;
    check(cudaGraphNodeGetDependentNodes(node, nullptr, nullptr, &count), "asking for what follows a kernel");
    std::vector<cudaGraphNode_t> after(count);
    std::vector<cudaGraphEdgeData> edges(count);
    check(cudaGraphNodeGetDependentNodes(node, after.data(), edges.data(), &count), "asking for what follows a kernel");
    for (std::size_t i = 0; i < count; ++i) {
        if (edges[i].type != cudaGraphDependencyTypeProgrammatic) continue;
        check(cudaGraphRemoveDependencies(graph, &node, &after[i], &edges[i], 1), "ordering two kernels");
        check(cudaGraphAddDependencies(graph, &node, &after[i], nullptr, 1), "ordering two kernels");
    }
}

// Puts on the stream what may not begin before all that came before has ended, even where it asks to.
template <class Work>
void in_order(cudaStream_t stream, Work&& work) {
    const CapturePoint before = capture_point(stream);
    work();
    for (cudaGraphNode_t node : before.nodes) wait_for_end_of(before.graph, node);
}

// Whether an operation reads an activation behind its sum.
inline bool reads_behind_sum(const Operation& op) {
    return std::visit(
        [](const auto& o) {
            return std::ranges::any_of(o.epilogue, [](const Pointwise& p) { return p.operand.rank > 1; });
        },
        op);
}

// What executing a step needs.
struct Executor {
    cudnnHandle_t cudnn = nullptr;  // set to `stream`
    cublasLtHandle_t cublaslt = nullptr;
    cudaStream_t stream = nullptr;
    void* workspace = nullptr;
    bool starts_early = false;  // a kernel may start before the one before it has ended

    void execute(Plan& plan, const Operation& op) const { execute(plan, op, addresses_of(op)); }

    // With other addresses, in the order of `addresses_of`.
    //
    // cuDNN launches kernels that begin early, too. In those that it compiles at run time for capability 9.0, the warp
    // that brings x and w waits for the kernel before; the warps that read the epilogue's operands do not (cuDNN 9.24,
    // its machine code). Where nothing may start early, a library is not told: it is put in order, too.
    void execute(Plan& plan, const Operation& op, const std::vector<void*>& addresses) const {
        const auto work = [&] { plan.execute(addresses, cudnn, cublaslt, workspace, stream); };
        reads_behind_sum(op) || !starts_early ? in_order(stream, work) : work();
    }

    void execute(const KernelCall& call) const {
        cudaLaunchConfig_t config{};
        config.gridDim = call.grid.blocks;
        config.blockDim = call.grid.threads;
        config.dynamicSmemBytes = call.grid.shared;
        config.stream = stream;
        cudaLaunchAttribute attributes[2];
        config.attrs = attributes;
        if (call.grid.cluster > 1) {
            cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
            attribute.id = cudaLaunchAttributeClusterDimension;
            attribute.val.clusterDim = {call.grid.cluster, 1, 1};
        }
        if (starts_early) {
            cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
            attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
            attribute.val.programmaticStreamSerializationAllowed = 1;
        }
        constexpr unsigned granted = 48 << 10;  // more has to be asked for
        if (call.grid.shared > granted) {
            check(cudaFuncSetAttribute(call.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(call.grid.shared)),
                  "shared memory for '", call.layers.label(), "'");
        }
        std::vector<void*> arguments;
        for (const auto& a : call.arguments) arguments.push_back(const_cast<void*>(a.value));
        check(cudaLaunchKernelExC(&config, call.function, arguments.data()), "launching '", call.layers.label(), "'");
    }
};

// Where in a pass the next step goes: which of its streams, and what it waits for.
class Route {
   public:
    // What executes on each stream, that of the pass first. It has to live as long.
    explicit Route(std::span<const Executor> executors) : executors_(executors) {}

    void on(std::size_t stream, std::span<const std::size_t> after) {
        current_ = stream;
        for (const std::size_t other : after) {
            const Event done = make_event();
            check(cudaEventRecord(done.get(), executors_[other].stream), "ordering a pass's streams");
            check(cudaStreamWaitEvent(executors_[stream].stream, done.get()), "ordering a pass's streams");
            has_waited_ = true;
        }
    }

    // For the next step. What waits for several streams cannot start before the last kernel of one of them has ended.
    Executor next() {
        Executor executor = executors_[current_];
        if (std::exchange(has_waited_, false)) executor.starts_early = false;
        return executor;
    }

   private:
    std::span<const Executor> executors_;
    std::size_t current_ = 0;
    bool has_waited_ = false;
};

// What the steps on a stream need for themselves: bytes, and whether some are a library's.
struct StreamNeeds {
    std::size_t workspace = 0;
    bool libraries = false;
};

// A stream beside that of a pass, with what the steps on it need.
struct SideStream {
    Stream stream = make_stream();
    DeviceBuffer workspace = {};
    CudnnHandle cudnn = {};

    Executor executor(const Executor& main) const {
        return {cudnn.get(), main.cublaslt, stream.get(), workspace.get(), main.starts_early};
    }
};

inline SideStream make_side_stream(const StreamNeeds& needs) {
    SideStream side;
    side.workspace = allocate_device(needs.workspace, "workspace");
    if (needs.libraries) side.cudnn = make_cudnn(side.stream.get());  // some 10 MB
    return side;
}

}  // namespace cnngen::inline cuda
