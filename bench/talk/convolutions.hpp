// One convolution in every way that cuDNN knows: the algorithms of its old interface, as the talk had them, and the
// engines of its graphs, of which cnngen chooses.
#pragma once

#include <set>

#include "cnngen/cuda/cudnn.hpp"
#include "measure.hpp"

namespace talk {

struct Problem {
    std::int64_t n = 1, c = 0, h = 0, w = 0, k = 0, r = 0, stride = 1;
    DType dtype = DType::float32;
    bool channels_last = false;

    std::int64_t padding() const { return r / 2; }
    std::int64_t oh() const { return (h + 2 * padding() - r) / stride + 1; }
    std::int64_t ow() const { return (w + 2 * padding() - r) / stride + 1; }

    Convolution convolution() const {
        const auto tensor = [&](std::int64_t channels, std::int64_t rows, std::int64_t columns) {
            return channels_last ? nhwc(nullptr, dtype, n, channels, rows, columns)
                                 : nchw(nullptr, dtype, n, channels, rows, columns);
        };
        Convolution out;
        out.x = tensor(c, h, w);
        out.w = channels_last ? filter(nullptr, dtype, k, c, r, r) : nchw(nullptr, dtype, k, c, r, r);  // K, C, R, S
        out.y = tensor(k, oh(), ow());
        out.stride = {stride, stride};
        out.padding = {padding(), padding(), padding(), padding()};
        return out;
    }
};

struct Data {
    DeviceBuffer x, w, y;

    explicit Data(const Convolution& c)
        : x(numbers(c.x)), w(numbers(c.w)), y(allocate_device(c.y.bytes(), "the result")) {}
};

// Adds the workspace to the line, and the time where there is room for it.
template <class Launch>
void time_with_workspace(Line& line, std::size_t workspace, cudaStream_t stream, Launch&& launch) {
    line.add("workspace", workspace);
    const DeviceBuffer memory = allocate_device(workspace, "workspace");
    line.add("us", time_launch(stream, [&] { launch(memory.get()); }));
}

// --- the old interface ---------------------------------------------------------------------------------------------

constexpr const char* algorithm_names[] = {
    "implicit GEMM", "implicit GEMM, precomputed", "GEMM", "direct", "FFT", "FFT, tiled",
    "Winograd",      "Winograd, not fused"};

inline void algorithms(const Problem& p, cudnnHandle_t handle, cudaStream_t stream) {
    Owned<cudnnTensorDescriptor_t, cudnnDestroyTensorDescriptor> x, y;
    Owned<cudnnFilterDescriptor_t, cudnnDestroyFilterDescriptor> w;
    Owned<cudnnConvolutionDescriptor_t, cudnnDestroyConvolutionDescriptor> how;
    constexpr const char* describing = "describing a convolution";
    check(cudnnCreateTensorDescriptor(x.out()), describing);
    check(cudnnCreateTensorDescriptor(y.out()), describing);
    check(cudnnCreateFilterDescriptor(w.out()), describing);
    check(cudnnCreateConvolutionDescriptor(how.out()), describing);
    const auto layout = p.channels_last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW;
    const cudnnDataType_t type = cudnn::data_type(p.dtype);
    const auto i = [](std::int64_t value) { return static_cast<int>(value); };
    check(cudnnSetTensor4dDescriptor(x.get(), layout, type, i(p.n), i(p.c), i(p.h), i(p.w)), describing);
    check(cudnnSetTensor4dDescriptor(y.get(), layout, type, i(p.n), i(p.k), i(p.oh()), i(p.ow())), describing);
    check(cudnnSetFilter4dDescriptor(w.get(), type, layout, i(p.k), i(p.c), i(p.r), i(p.r)), describing);
    check(cudnnSetConvolution2dDescriptor(how.get(), i(p.padding()), i(p.padding()), i(p.stride), i(p.stride), 1, 1,
                                          CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
          describing);
    // The talk's GPU had no tensor cores for float32: none here either.
    const auto math = p.dtype == DType::float32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH;
    check(cudnnSetConvolutionMathType(how.get(), math), describing);

    const Data data(p.convolution());
    for (int number = 0; number < CUDNN_CONVOLUTION_FWD_ALGO_COUNT; ++number) {
        const auto algorithm = static_cast<cudnnConvolutionFwdAlgo_t>(number);
        Line line;
        line.add("algorithm", algorithm_names[number]);
        try {
            std::size_t workspace = 0;
            check(cudnnGetConvolutionForwardWorkspaceSize(handle, x.get(), w.get(), how.get(), y.get(), algorithm,
                                                          &workspace),
                  "asking for the workspace");
            time_with_workspace(line, workspace, stream, [&](void* memory) {
                const float one = 1, zero = 0;
                check(cudnnConvolutionForward(handle, &one, x.get(), data.x.get(), w.get(), data.w.get(), how.get(),
                                              algorithm, memory, workspace, &zero, y.get(), data.y.get()),
                      "running an algorithm");
            });
        } catch (const Error& error) {
            line.add("failed", error.what());
        }
        line.print();
    }
}

// --- engines -------------------------------------------------------------------------------------------------------

inline std::vector<std::string> note_names(const cudnn::Descriptor& config) {
    constexpr const char* names[] = {"tensor cores", "inputs rounded",   "reduced precision",
                                     "FFT",          "nondeterministic", "Winograd",
                                     "Winograd 4x4", "Winograd 6x6",     "Winograd 13x13"};
    std::vector<std::string> out;
    for (const auto note : cudnn::numerical_notes(config)) {
        if (static_cast<std::size_t>(note) < std::size(names)) out.push_back(names[note]);
    }
    cudnn::Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    config.get_descriptor(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
    cudnnBackendBehaviorNote_t behaviour[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
    const auto n =
        engine.get(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, std::size(behaviour), behaviour);
    for (std::int64_t i = 0; i < n; ++i) {
        if (behaviour[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) out.push_back("compiled at run time");
    }
    return out;
}

// Each configuration once: what the heuristic modes offer, best first, and if `every`, all engines as they are.
inline std::vector<cudnn::Descriptor> configurations(const cudnn::Graph& graph, const cudnn::Target& target,
                                                     bool every) {
    std::vector<cudnn::Descriptor> out;
    std::set<std::string> seen;
    const auto keep = [&](cudnn::Descriptor config) {
        if (seen.insert(engine_text(cudnn::engine_of(config))).second) out.push_back(std::move(config));
    };
    for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
        for (cudnn::Descriptor& config : cudnn::engine_configs(graph, target, mode)) keep(std::move(config));
    }
    const std::int64_t count = every ? graph.operations.get_int64(CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT) : 0;
    for (std::int64_t i = 0; i < count; ++i) {
        try {
            keep(cudnn::engine_config(graph, target, {Library::cudnn, i}));
        } catch (const Error&) {
            // not an engine for this convolution
        }
    }
    return out;
}

// A line for each engine. Without a stream nothing is run: the plans alone are made, for `target`.
inline void engines(const Problem& p, const cudnn::Target& target, cudaStream_t stream, bool every) {
    const Convolution c = p.convolution();
    const cudnn::Graph graph = cudnn::GraphBuilder(target.handle).build(c);
    std::optional<Data> data;
    if (stream) data.emplace(c);
    for (const cudnn::Descriptor& config : configurations(graph, target, every)) {
        Line line;
        line.add("engine", engine_text(cudnn::engine_of(config)));
        try {
            line.add("notes", note_names(config));
            cudnn::Plan plan(config, target, {});
            if (stream) {
                const std::array<void*, 3> addresses = {data->x.get(), data->w.get(), data->y.get()};
                time_with_workspace(line, plan.workspace(), stream,
                                    [&](void* memory) { plan.execute(target.handle, addresses, memory); });
            } else {
                line.add("workspace", plan.workspace());
            }
        } catch (const Error& error) {
            line.add("failed", error.what());
        }
        line.print();
    }
}

}  // namespace talk
