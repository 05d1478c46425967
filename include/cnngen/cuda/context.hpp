// A context runs a network: it owns a stream, the activations, the workspace, one captured graph a plan and the staging
// for host data.
#pragma once

#include "cnngen/cuda/network.hpp"
#include "cnngen/cuda/staging.hpp"

namespace cnngen::inline cuda {

// Bytes on the GPU, but for page-locked host memory.
struct Memory {
    std::size_t weights;
    std::size_t arena;
    std::size_t workspace;
    std::size_t pinned;
};

// Each call is one pass over n items in one profile. Inputs and outputs are addresses on the host or on the network's
// GPU, in the model's order, packed as Port says. A context serves one caller at a time; others wait.
class Context {
   public:
    // `copiers` help where host memory is copied; without them the caller's thread does it alone.
    explicit Context(const Network& network, Copiers* copiers = nullptr) : network_(network) {
        const DeviceGuard guard(network_.device());
        Stopwatch watch;
        arena_ = allocate_device(network_.arena_bytes(), "activations");
        needs_ = network_.stream_needs();
        workspace_ = allocate_device(needs_.front().workspace, "workspace");
        stream_ = make_stream();
        idle_ = make_event();
        last_stream_ = stream_.get();
        if (needs_.front().libraries) cudnn_ = make_cudnn(stream_.get());  // opens libraries for nothing, else
        staging_.emplace(model(), copiers);
        input_places_.resize(model().inputs.size());
        output_places_.resize(model().outputs.size());
        executors_.push_back(
            {cudnn_.get(), network_.planner().cublaslt(), stream_.get(), workspace_.get(), network_.gpu().major >= 9});
        for (const StreamNeeds& needs : std::span(needs_).subspan(1)) {
            side_streams_.push_back(make_side_stream(needs));
            executors_.push_back(side_streams_.back().executor(executors_.front()));
        }
        capture_all();
        watch.lap(startup_, "capture");
    }
    Context(Context&&) = delete;  // the captured graphs know its address

    ~Context() {
        if (last_stream_ == stream_.get()) {
            cudaStreamSynchronize(stream_.get());
        } else {
            cudaEventSynchronize(idle_.get());
        }
    }

    const Network& network() const { return network_; }
    const Model& model() const { return network_.model(); }
    cudaStream_t stream() const { return stream_.get(); }
    const Timings& startup() const { return startup_; }
    Memory memory() const {
        std::size_t workspace = 0;
        for (const StreamNeeds& needs : needs_) workspace += needs.workspace;
        return {model().weight_bytes, network_.arena_bytes(), workspace, staging_->bytes()};
    }

    // Runs, and waits for the outputs.
    void run(std::span<const void* const> inputs, std::span<void* const> outputs, std::int64_t n,
             std::size_t profile = 0) {
        run_async(inputs, outputs, n, stream_.get(), profile);
        synchronize();
    }

    // Enqueues a pass on `stream`. Outputs on the host are there after synchronize(); inputs in ordinary host memory
    // may be reused at once, all others when the stream has come so far. After an error nothing of the pass is under
    // way.
    void run_async(std::span<const void* const> inputs, std::span<void* const> outputs, std::int64_t n,
                   cudaStream_t stream, std::size_t profile = 0) {
        const Part whole{inputs, n};
        run_async(std::span(&whole, 1), outputs, stream, profile);
    }
    void run_async(std::span<const void* const> inputs, std::span<void* const> outputs, std::int64_t n) {
        run_async(inputs, outputs, n, stream_.get());
    }

    // The same on a batch in parts; several lie on the host.
    void run_async(std::span<const Part> parts, std::span<void* const> outputs, cudaStream_t stream,
                   std::size_t profile = 0) {
        const std::lock_guard lock(mutex_);
        const DeviceGuard guard(network_.device());
        const std::int64_t n = count_items(parts);
        const std::size_t plan = model().plan_for(n, profile);
        locate(parts, outputs);
        if (staging_->in_use()) finish();
        try {
            follow(stream);
            Captured& graph = captured_[plan];
            stage_inputs(parts, n, plan, stream);
            stage_outputs(outputs, n, plan);
            graph.retarget(buffers_);
            check(cudaGraphLaunch(graph.exec.get(), stream), "launching '", model().name, "'");
            fetch_outputs(outputs, n, profile, stream);
            if (stream != stream_.get()) check(cudaEventRecord(idle_.get(), stream), "marking the end of a pass");
        } catch (...) {
            abandon(stream);
            throw;
        }
        last_stream_ = stream;
    }

    // Waits for all passes, and delivers outputs to host memory.
    void synchronize() {
        const std::lock_guard lock(mutex_);
        const DeviceGuard guard(network_.device());
        finish();
    }

    // Microseconds of each step, timed alone on this input.
    std::vector<LayerTime> profile(std::span<const void* const> inputs, std::int64_t n, std::size_t profile = 0) {
        const std::lock_guard lock(mutex_);
        const DeviceGuard guard(network_.device());
        const std::size_t plan = model().plan_for(n, profile);
        Profile mode(executors_.front(), network_.steps(plan));
        walk_on(inputs, n, plan, mode);
        return std::move(mode.times);
    }

    // The result of each step on this input.
    std::vector<TracedLayer> trace(std::span<const void* const> inputs, std::int64_t n, std::size_t profile = 0) {
        const std::lock_guard lock(mutex_);
        const DeviceGuard guard(network_.device());
        const std::size_t plan = model().plan_for(n, profile);
        Trace mode(executors_.front(), network_.steps(plan));
        walk_on(inputs, n, plan, mode);
        for (TracedLayer& layer : mode.layers) keep_items(layer, model().batch_of(plan), n);
        return std::move(mode.layers);
    }

   private:
    struct Captured {
        Graph graph;
        GraphExec exec;
        std::vector<PortKernel> port_kernels;
        Buffers staging;  // inputs and outputs in the arena
        Buffers buffers;  // that the graph points to

        void retarget(const Buffers& wanted) {
            if (wanted.inputs == buffers.inputs && wanted.outputs == buffers.outputs) return;
            for (PortKernel& kernel : port_kernels) kernel.retarget(exec.get(), wanted);
            buffers = wanted;
        }
    };

    enum class Place { host, pinned, device };

    void capture_all() {
        // Kernels read what they never wrote in the first pass: zeros rather than whatever was there.
        if (arena_)
            check(cudaMemsetAsync(arena_.get(), 0, network_.arena_bytes(), stream_.get()), "clearing the arena");
        for (std::size_t i = 0; i < model().plan_count(); ++i) {
            Buffers buffers = staging(i);
            Launch warm_up(executors_, network_.steps(i));  // loads the kernels, which a capture may not
            walk(warm_up, buffers, i);
            Captured captured;
            Launch launch(executors_, network_.steps(i));
            captured.graph = capture(stream_.get(), [&] { walk(launch, buffers, i); });
            captured.exec = instantiate(captured.graph);
            captured.port_kernels = std::move(launch.port_kernels);
            captured.staging = buffers;
            captured.buffers = std::move(buffers);
            check(cudaGraphUpload(captured.exec.get(), stream_.get()), "uploading a CUDA graph");
            captured_.push_back(std::move(captured));
        }
        buffers_ = captured_.front().staging;
        check(cudaStreamSynchronize(stream_.get()), "the first pass of '", model().name, "'");
    }

    void walk(StepVisitor& visitor, const Buffers& buffers, std::size_t plan) const {
        Pass pass(visitor, buffers, model().batch_of(plan), plan);
        model().forward(pass);
    }

    // Inputs and outputs in the arena.
    Buffers staging(std::size_t plan) const {
        Buffers buffers{arena_.get(), network_.weights(), {}, {}};
        const auto place = [&](const Port& port) {
            return static_cast<void*>(static_cast<std::byte*>(arena_.get()) + port.staging[plan]);
        };
        for (const Port& port : model().inputs) buffers.inputs.push_back(place(port));
        for (const Port& port : model().outputs) buffers.outputs.push_back(place(port));
        return buffers;
    }

    Place place_of(const void* address, const char* what, const Port& port) const {
        if (!address) throw ArgumentError(text(what, " '", port.name, "' has no memory (null)"));
        cudaPointerAttributes attributes{};
        check(cudaPointerGetAttributes(&attributes, address), "asking where ", what, " '", port.name, "' lies");
        if (attributes.type == cudaMemoryTypeUnregistered) return Place::host;
        if (attributes.type == cudaMemoryTypeHost) return Place::pinned;
        if (attributes.type == cudaMemoryTypeDevice && attributes.device != network_.device()) {
            throw ArgumentError(text(what, " '", port.name, "' lies on GPU ", attributes.device,
                                     ", the network on GPU ", network_.device()));
        }
        return Place::device;
    }

    // Whether a kernel may use the caller's memory itself: a whole batch, aligned for 16-byte accesses.
    bool is_direct(const void* address, Place place, std::int64_t n, std::size_t plan) const {
        return place == Place::device && n == model().batch_of(plan) &&
               reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
    }

    // Finds out where the caller's memory lies. Every mistake is found here, before anything is enqueued.
    void locate(std::span<const Part> parts, std::span<void* const> outputs) {
        for (const Part& part : parts) model().check_counts(part.inputs.size(), outputs.size());
        const bool apart = parts.size() > 1;
        for (std::size_t i = 0; i < input_places_.size(); ++i) {
            const Port& port = model().inputs[i];
            for (const Part& part : parts) {
                const Place place = place_of(part.inputs[i], "input", port);
                if (apart && place == Place::device) {
                    throw ArgumentError(text("input '", port.name, "' lies on the GPU in ", parts.size(),
                                             " parts of a batch: only on the host may they lie apart"));
                }
                input_places_[i] = apart ? Place::host : place;  // parts are brought together in staging
            }
        }
        for (std::size_t i = 0; i < output_places_.size(); ++i) {
            output_places_[i] = place_of(outputs[i], "output", model().outputs[i]);
        }
    }

    // Lets the pass read inputs where they are, or copies them to where it can.
    void stage_inputs(std::span<const Part> parts, std::int64_t n, std::size_t plan, cudaStream_t stream) {
        buffers_ = captured_[plan].staging;
        for (std::size_t i = 0; i < input_places_.size(); ++i) {
            const Port& port = model().inputs[i];
            const void* from = parts.front().inputs[i];
            if (is_direct(from, input_places_[i], n, plan)) {
                buffers_.inputs[i] = const_cast<void*>(from);
                continue;
            }
            const std::size_t item = port.bytes(model().profile_of(plan));
            if (input_places_[i] == Place::host) from = staging_->gather(i, parts, item);
            check(cudaMemcpyAsync(buffers_.inputs[i], from, item * static_cast<std::size_t>(n), cudaMemcpyDefault,
                                  stream),
                  "copying input '", port.name, "'");
        }
    }

    void stage_outputs(std::span<void* const> outputs, std::int64_t n, std::size_t plan) {
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            if (is_direct(outputs[i], output_places_[i], n, plan)) buffers_.outputs[i] = outputs[i];
        }
    }

    // Copies outputs that were not written in place to where they belong.
    void fetch_outputs(std::span<void* const> outputs, std::int64_t n, std::size_t profile, cudaStream_t stream) {
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            if (buffers_.outputs[i] == outputs[i]) continue;
            const Port& port = model().outputs[i];
            const std::size_t bytes = port.bytes(profile) * static_cast<std::size_t>(n);
            void* to = outputs[i];
            if (output_places_[i] == Place::host) to = staging_->expect(i, to, bytes);
            check(cudaMemcpyAsync(to, buffers_.outputs[i], bytes, cudaMemcpyDefault, stream), "copying output '",
                  port.name, "'");
        }
    }

    // Orders `stream` after the last pass, which used the same activations.
    void follow(cudaStream_t stream) {
        if (stream == last_stream_) return;
        if (last_stream_ == stream_.get())
            check(cudaEventRecord(idle_.get(), last_stream_), "marking the end of a pass");
        check(cudaStreamWaitEvent(stream, idle_.get()), "ordering streams");
    }

    void wait() {
        if (last_stream_ == stream_.get()) {
            check(cudaStreamSynchronize(stream_.get()), "running '", model().name, "'");
        } else {
            check(cudaEventSynchronize(idle_.get()), "running '", model().name, "'");
        }
    }

    // Waits for all passes and delivers what they gave; after a failure nothing.
    void finish() {
        try {
            wait();
        } catch (...) {
            staging_->drop();
            throw;
        }
        staging_->deliver();
    }

    // After a pass that could be enqueued in part only: staging is free again, and nothing will write to outputs that
    // the caller may give up now.
    void abandon(cudaStream_t stream) {
        cudaStreamSynchronize(stream);
        cudaGetLastError();
        staging_->drop();
    }

    // One pass step by step, on these inputs.
    void walk_on(std::span<const void* const> inputs, std::int64_t n, std::size_t plan, StepVisitor& mode) {
        const Part whole{inputs, n};
        locate(std::span(&whole, 1), captured_[plan].staging.outputs);
        if (staging_->in_use()) finish();
        follow(stream_.get());
        stage_inputs(std::span(&whole, 1), n, plan, stream_.get());
        last_stream_ = stream_.get();
        walk(mode, buffers_, plan);
        check(cudaStreamSynchronize(stream_.get()), "running '", model().name, "' step by step");
    }

    Network network_;
    std::mutex mutex_;
    Stream stream_;
    Event idle_;                // the end of the last pass on a caller's stream
    cudaStream_t last_stream_;  // of the last pass
    CudnnHandle cudnn_;
    DeviceBuffer arena_;
    DeviceBuffer workspace_;
    std::optional<Staging> staging_;
    std::vector<StreamNeeds> needs_;  // by stream of a pass
    std::vector<SideStream> side_streams_;
    std::vector<Executor> executors_;  // by stream of a pass
    std::vector<Captured> captured_;   // by plan
    // Of the pass under way; members, so that a pass allocates nothing.
    Buffers buffers_;
    std::vector<Place> input_places_;
    std::vector<Place> output_places_;
    Timings startup_;
};

}  // namespace cnngen::inline cuda
