// A chain of equal 3x3 convolutions in float16: what its memory and its copies cost, done the talk's way and not.
#pragma once

#include <cmath>

#include "convolutions.hpp"

namespace talk {

class Chain {
   public:
    Chain(std::int64_t channels, std::int64_t size, int layers, cudnnHandle_t handle, cudaStream_t stream)
        : layers_(layers), handle_(handle), stream_(stream) {
        Problem p{.c = channels, .h = size, .w = size, .k = channels, .r = 3};
        p.dtype = DType::float16;
        p.channels_last = true;
        const Convolution c = p.convolution();
        plan_.emplace(cudnn::plan(cudnn::GraphBuilder(handle).build(c), {.handle = handle}, {}));
        workspace_ = allocate_device(plan_->workspace(), "workspace");
        activation_ = c.x;
        weight_bytes_ = c.w.bytes();
        Tensor all = c.w;
        all.dims[0] *= layers;
        // So drawn, what a layer writes is as large as what it reads; a pass never reads what one before it wrote.
        weights_ = numbers(all, std::sqrt(3.0f / static_cast<float>(9 * channels)));
        input_ = activation();
        const DeviceBuffer y = activation();
        const std::array<void*, 3> addresses = {input_.get(), weights_.get(), y.get()};
        plan_->execute(handle_, addresses, workspace_.get());  // loads the engine's code, which a capture may not
        check(cudaStreamSynchronize(stream_), "running a convolution");
    }

    // What a pass reads and writes.
    std::size_t activation_bytes() const { return activation_.bytes(); }
    std::size_t weight_bytes() const { return weight_bytes_ * static_cast<std::size_t>(layers_); }
    void* weights() const { return weights_.get(); }
    DeviceBuffer activation() const { return numbers(activation_); }

    // A pass from `first` to `last`; `between(l)` is where layer l writes.
    template <class Between>
    GraphExec graph(void* first, void* last, Between between) {
        return instantiate(capture(stream_, [&] {
            for (int l = 0; l < layers_; ++l) {
                auto* w = static_cast<std::byte*>(weights_.get()) + static_cast<std::size_t>(l) * weight_bytes_;
                const std::array<void*, 3> addresses = {l ? between(l - 1) : first, w,
                                                        l + 1 < layers_ ? between(l) : last};
                plan_->execute(handle_, addresses, workspace_.get());
            }
        }));
    }

    void launch(const GraphExec& graph) const { check(cudaGraphLaunch(graph.get(), stream_), "launching a graph"); }

    // One buffer for each result against two in turn.
    void buffers() {
        std::vector<DeviceBuffer> each;
        for (int l = 0; l < layers_; ++l) each.push_back(activation());
        const auto own = [&](int l) { return each[static_cast<std::size_t>(l)].get(); };
        const auto in_turn = [&](int l) { return own(l % 2); };
        const GraphExec apart = graph(input_.get(), own(layers_ - 1), own);
        const GraphExec pair = graph(input_.get(), in_turn(layers_ - 1), in_turn);
        Line()
            .add("experiment", "buffers")
            .add("bytes_each", activation_bytes() * each.size())
            .add("us_each", time_graph(apart))
            .add("bytes_two", activation_bytes() * 2)
            .add("us_two", time_graph(pair))
            .print();
    }

    // The weights copied before every pass against once.
    void uploads() {
        const PinnedBuffer host = allocate_pinned(weight_bytes(), "weights");
        check(cudaMemcpy(host.get(), weights(), weight_bytes(), cudaMemcpyDeviceToHost), "copying weights");
        const DeviceBuffer a = activation(), b = activation();
        const auto in_turn = [&](int l) { return l % 2 ? a.get() : b.get(); };
        const GraphExec pass = graph(input_.get(), in_turn(layers_ - 1), in_turn);
        const auto upload = [&] {
            check(cudaMemcpyAsync(weights(), host.get(), weight_bytes(), cudaMemcpyHostToDevice, stream_),
                  "copying weights");
        };
        const double every = time_many([&] {
            upload();
            launch(pass);
        });
        Line()
            .add("experiment", "weights")
            .add("bytes", weight_bytes())
            .add("us_once", time_graph(pass))
            .add("us_every_pass", every)
            .add("us_copy", time_many(upload))
            .print();
    }

    // Input, pass and output of many images on one stream, against copies on streams of their own.
    void streams() {
        constexpr int images = 20;
        const PinnedBuffer from = allocate_pinned(activation_bytes(), "inputs");
        const PinnedBuffer to = allocate_pinned(activation_bytes(), "outputs");
        const DeviceBuffer in[2] = {activation(), activation()}, out[2] = {activation(), activation()};
        check(cudaMemcpy(from.get(), in[0].get(), activation_bytes(), cudaMemcpyDeviceToHost), "copying an input");
        const DeviceBuffer a = activation(), b = activation();
        const auto in_turn = [&](int l) { return l % 2 ? a.get() : b.get(); };
        const GraphExec pass[2] = {graph(in[0].get(), out[0].get(), in_turn),
                                   graph(in[1].get(), out[1].get(), in_turn)};
        const auto copy = [&](void* target, const void* source, cudaStream_t stream) {
            check(cudaMemcpyAsync(target, source, activation_bytes(), cudaMemcpyDefault, stream), "copying");
        };
        const double one = time_all_streams([&] {
            for (int i = 0; i < images; ++i) {
                copy(in[0].get(), from.get(), stream_);
                launch(pass[0]);
                copy(to.get(), out[0].get(), stream_);
            }
        });

        const Stream loading = make_stream(), storing = make_stream();
        const Event loaded[2] = {make_event(), make_event()}, computed[2] = {make_event(), make_event()},
                    stored[2] = {make_event(), make_event()};
        const auto wait = [](cudaStream_t stream, const Event& event) {
            check(cudaStreamWaitEvent(stream, event.get()), "ordering streams");
        };
        const auto record = [](const Event& event, cudaStream_t stream) {
            check(cudaEventRecord(event.get(), stream), "ordering streams");
        };
        const double overlapped = time_all_streams([&] {
            for (int i = 0; i < images; ++i) {
                const int k = i % 2;
                wait(loading.get(), computed[k]);  // the image before the last has been read
                copy(in[k].get(), from.get(), loading.get());
                record(loaded[k], loading.get());
                wait(stream_, loaded[k]);
                wait(stream_, stored[k]);  // its result has been fetched
                launch(pass[k]);
                record(computed[k], stream_);
                wait(storing.get(), computed[k]);
                copy(to.get(), out[k].get(), storing.get());
                record(stored[k], storing.get());
            }
        });
        Line()
            .add("experiment", "streams")
            .add("bytes", 2 * activation_bytes())
            .add("us_pass", time_graph(pass[0]))
            .add("us_one_stream", one / images)
            .add("us_overlapped", overlapped / images)
            .print();
    }

   private:
    double time_graph(const GraphExec& graph) const {
        return time_many([&] { launch(graph); });
    }

    // A captured graph is not captured again: the median of single runs.
    template <class Work>
    double time_many(Work&& work) const {
        std::vector<double> times;
        for (int i = 0; i < 60; ++i) {
            const double took = elapsed(stream_, work);
            if (i >= 10) times.push_back(took);
        }
        return median(times);
    }

    int layers_;
    cudnnHandle_t handle_;
    cudaStream_t stream_;
    std::optional<cudnn::Plan> plan_;
    DeviceBuffer workspace_, weights_, input_;
    Tensor activation_;
    std::size_t weight_bytes_ = 0;
};

}  // namespace talk
