// The modes of a pass: collecting what must be planned, running, timing each step, copying each step's result.
#pragma once

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#endif

#include <cstring>

#include "cnngen/cuda/executor.hpp"
#include "cnngen/results.hpp"

namespace cnngen::inline cuda {

// A range named after the layer in Nsight's timeline, where NVTX is installed.
class LayerRange {
   public:
    explicit LayerRange([[maybe_unused]] const Layers& layers) {
#if __has_include(<nvtx3/nvToolsExt.h>)
        nvtxRangePushA(layers.label().c_str());
#endif
    }
    ~LayerRange() {
#if __has_include(<nvtx3/nvToolsExt.h>)
        nvtxRangePop();
#endif
    }
    LayerRange(const LayerRange&) = delete;
};

// A step as the summary shows it.
struct Step {
    std::string layer;
    std::string kind;            // "convolution", "matmul" or "kernel"
    std::string shape;           // of its output, logical
    DType dtype;                 // likewise
    std::shared_ptr<Plan> plan;  // none for a kernel
    std::size_t stream;          // of those of a pass
};

// Lists the steps and the operations among them; runs nothing and reads no address.
class Collect final : public StepVisitor {
   public:
    void visit(const Operation& op) override {
        operations.push_back(op);
        const Tensor& y = output_of(op);
        steps.push_back({layers_of(op).label(), kind_of(op), shape_text(y), y.dtype, nullptr, stream_});
    }
    void visit(const KernelCall& call) override {
        steps.push_back({call.layers.label(), "kernel", shape_text(call.y), call.y.dtype, nullptr, stream_});
    }
    void on(std::size_t stream, std::span<const std::size_t>) override { stream_ = stream; }

    std::vector<Operation> operations;
    std::vector<Step> steps;

   private:
    std::size_t stream_ = 0;
};

// A kernel of a captured graph that reads an input or writes an output of the network, with all its arguments.
class PortKernel {
   public:
    PortKernel(PortKernel&&) = default;  // a copy would point into the original
    PortKernel& operator=(PortKernel&&) = default;
    PortKernel(cudaGraphNode_t node, const KernelCall& call) : node_(node), layer_(call.layers.label()) {
        parameters_.func = const_cast<void*>(call.function);
        parameters_.gridDim = call.grid.blocks;
        parameters_.blockDim = call.grid.threads;
        parameters_.sharedMemBytes = call.grid.shared;
        for (const auto& a : call.arguments) {
            const auto* bytes = static_cast<const std::byte*>(a.value);
            values_.emplace_back(bytes, bytes + a.bytes);
            ports_.push_back({a.input, a.output});
        }
        for (auto& value : values_) arguments_.push_back(value.data());
        parameters_.kernelParams = arguments_.data();
    }

    // Points the kernel at other memory; the graph takes it up at its next launch.
    void retarget(cudaGraphExec_t exec, const Buffers& buffers) {
        for (std::size_t i = 0; i < values_.size(); ++i) {
            const auto [input, output] = ports_[i];
            void* address = input >= 0 ? buffers.inputs[static_cast<std::size_t>(input)] : nullptr;
            if (output >= 0) address = buffers.outputs[static_cast<std::size_t>(output)];
            if (address) std::memcpy(values_[i].data(), &address, sizeof address);
        }
        check(cudaGraphExecKernelNodeSetParams(exec, node_, &parameters_), "retargeting '", layer_, "'");
    }

   private:
    struct Port {
        int input, output;
    };

    cudaGraphNode_t node_;
    std::string layer_;
    cudaKernelNodeParams parameters_{};
    std::vector<std::vector<std::byte>> values_;
    std::vector<void*> arguments_;  // the values' addresses, which moving this leaves as they are
    std::vector<Port> ports_;
};

// Runs the steps, on streams that may be capturing.
class Launch final : public StepVisitor {
   public:
    // See Route.
    Launch(std::span<const Executor> executors, const std::vector<Step>& steps) : route_(executors), steps_(steps) {}

    void on(std::size_t stream, std::span<const std::size_t> after) override { route_.on(stream, after); }

    void visit(const Operation& op) override {
        const LayerRange range(layers_of(op));
        route_.next().execute(*steps_[next_++].plan, op);
    }

    void visit(const KernelCall& call) override {
        const LayerRange range(call.layers);
        ++next_;
        const Executor executor = route_.next();
        executor.execute(call);
        const bool has_port =
            std::ranges::any_of(call.arguments, [](auto& a) { return a.input >= 0 || a.output >= 0; });
        if (!has_port) return;
        if (const CapturePoint now = capture_point(executor.stream); now.nodes.size() == 1) {
            port_kernels.emplace_back(now.nodes[0], call);
        }
    }

    std::vector<PortKernel> port_kernels;  // of the capture

   private:
    Route route_;
    const std::vector<Step>& steps_;
    std::size_t next_ = 0;
};

// Times each step alone: the median of several replays of a graph of `repeats` launches. Its data stays in the GPU's
// cache where it fits, which flatters small layers a little.
class Profile final : public StepVisitor {
   public:
    Profile(const Executor& executor, const std::vector<Step>& steps) : executor_(executor), steps_(steps) {}

    void visit(const Operation& op) override {
        Plan& plan = *steps_[next_++].plan;
        record(layers_of(op).label(), [&] { executor_.execute(plan, op); });
    }
    void visit(const KernelCall& call) override {
        ++next_;
        record(call.layers.label(), [&] { executor_.execute(call); });
    }

    std::vector<LayerTime> times;

   private:
    template <class Work>
    void record(const std::string& layer, Work&& work) {
        constexpr int repeats = 20, replays = 5;
        const cudaStream_t stream = executor_.stream;
        const Graph graph = capture(stream, [&] {
            for (int i = 0; i < repeats; ++i) work();
        });
        const GraphExec exec = instantiate(graph);
        check(cudaGraphLaunch(exec.get(), stream), "profiling: warming up");
        std::vector<float> samples;
        for (int i = 0; i < replays; ++i) {
            check(cudaEventRecord(begin_.get(), stream), "profiling: starting the clock");
            check(cudaGraphLaunch(exec.get(), stream), "profiling: launching");
            check(cudaEventRecord(end_.get(), stream), "profiling: stopping the clock");
            check(cudaEventSynchronize(end_.get()), "profiling layer '", layer, "'");
            check(cudaEventElapsedTime(&samples.emplace_back(), begin_.get(), end_.get()), "profiling: reading");
        }
        std::ranges::nth_element(samples, samples.begin() + replays / 2);
        times.push_back({layer, samples[replays / 2] * 1e3 / repeats});
    }

    const Executor& executor_;
    const std::vector<Step>& steps_;
    std::size_t next_ = 0;
    Event begin_ = make_event(cudaEventDefault);
    Event end_ = make_event(cudaEventDefault);
};

// Runs the steps and copies the result of each.
class Trace final : public StepVisitor {
   public:
    Trace(const Executor& executor, const std::vector<Step>& steps) : executor_(executor), steps_(steps) {}

    void visit(const Operation& op) override {
        executor_.execute(*steps_[next_++].plan, op);
        copy(layers_of(op).result(), output_of(op), std::visit([](const auto& o) { return o.channels; }, op));
    }
    void visit(const KernelCall& call) override {
        ++next_;
        executor_.execute(call);
        copy(call.layers.result(), call.y, 0);
    }

    std::vector<TracedLayer> layers;

   private:
    void copy(const std::string& layer, const Tensor& y, std::int64_t channels) {
        const bool is_image = y.rank == 4;
        const bool is_nchw = is_image && y.strides[3] == 1 && y.strides[1] == y.dims[2] * y.dims[3];
        TracedLayer out{layer, {y.dims.begin(), y.dims.begin() + y.rank}, y.dtype, "", {}};
        if (is_image) out.layout = is_nchw ? "NCHW" : "NHWC";
        if (channels && y.rank > 1) out.shape[1] = channels;
        // As rows of what lies packed: pixels of channels, or one row where all is packed.
        const std::int64_t width = is_image && !is_nchw ? out.shape[1] : y.rank == 2 ? out.shape[1] : y.elements();
        const std::int64_t pitch = is_image && !is_nchw ? y.strides[3] : y.rank == 2 ? y.strides[0] : width;
        const std::int64_t height = y.elements() / (y.rank > 1 && !is_nchw ? y.dims[1] : y.elements());
        const std::size_t item = bytes_of(y.dtype);
        const auto bytes = [&](std::int64_t n) { return static_cast<std::size_t>(n) * item; };
        out.data.resize(bytes(width * height));
        check(cudaStreamSynchronize(executor_.stream), "running layer '", layer, "'");
        check(cudaMemcpy2D(out.data.data(), bytes(width), y.data, bytes(pitch), bytes(width),
                           static_cast<std::size_t>(height), cudaMemcpyDeviceToHost),
              "copying the output of layer '", layer, "'");
        layers.push_back(std::move(out));
    }

    const Executor& executor_;
    const std::vector<Step>& steps_;
    std::size_t next_ = 0;
};

}  // namespace cnngen::inline cuda
