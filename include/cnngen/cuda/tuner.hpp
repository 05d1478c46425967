// Measures what could run each step of a network, and whole passes: what `cnngen tune` drives. Only the project that
// it makes includes this.
#pragma once

#include <numeric>

#include "cnngen/cuda/network.hpp"
#include "cnngen/cuda/tuning/clock.hpp"
#include "cnngen/cuda/tuning/library_engines.hpp"
#include "cnngen/cuda/tuning/reference.hpp"
#include "cnngen/cuda/tuning/steps.hpp"
#include "cnngen/cuda/tuning/weight_copies.hpp"

namespace cnngen::inline cuda {

// A step of a pass: the plan that it is taken from, the engine that runs it, and where: see StepVisitor::on.
struct PassStep {
    std::size_t plan;
    std::string engine = {};
    std::size_t stream = 0;
    std::vector<std::size_t> after = {};
};

// Runs and times the steps of a model's plans. Not for several threads.
class Tuner {
   public:
    using Choices = std::vector<PassStep>;

    // tensors: where each tensor of the slab lies and how large it is. footprints: the bytes that a pass touches, by
    // plan; where they exceed the cache, weights are found in memory and not in the cache.
    Tuner(const Model& model, const ReferenceKernels& reference, const std::string& weights, int device,
          std::vector<Weight> tensors, std::vector<std::size_t> footprints, std::size_t workspace_limit)
        : model_(model), device_(device), footprints_(std::move(footprints)), workspace_limit_(workspace_limit) {
        check_installation(model, device);
        check_libraries(model);
        const DeviceGuard guard(device);
        check(cudaGetDeviceProperties(&gpu_, device), "asking for the GPU's properties");
        check_architecture(model, gpu_);
        weights_ = upload_weights(model, weights);
        arena_ = allocate_device(largest_arena(), "activations");
        workspace_ = allocate_device(workspace_limit, "workspace");
        stream_ = make_stream();
        cudnn_ = make_cudnn(stream_.get());
        cublaslt_ = make_cublaslt();
        executor_ = {cudnn_.get(), cublaslt_.get(), stream_.get(), workspace_.get(), gpu_.major >= 9};
        engines_.emplace(device, workspace_limit, cudnn_.get(), cublaslt_.get());
        reference_.emplace(reference, stream_.get());
        copies_.emplace(weights_.get(), model.weight_bytes, std::move(tensors), stream_.get());
        clock_.emplace(stream_.get(), gpu_);
        for (std::size_t i = 0; i < model.plan_count(); ++i) {
            Gather gather;
            buffers_.push_back(place(i));
            Pass pass(gather, buffers_.back(), model.batch_of(i), i);
            model.forward(pass);
            steps_.push_back(std::move(gather.steps));
        }
        reference_->fill({arena_.get(), DType::float16, 1, {static_cast<std::int64_t>(largest_arena() / 2)}, {1}});
    }

    const std::vector<CandidateStep>& steps(std::size_t plan) const { return steps_[plan]; }
    const cudaDeviceProp& gpu() const { return gpu_; }

    // Begins to build what a library offers for a step.
    void prepare(std::size_t plan, std::size_t step) { engines_->prepare(operation(plan, step)); }

    // What a library offers for a step; see LibraryEngines.
    std::vector<std::string> engines(std::size_t plan, std::size_t step) {
        return engines_->engines(operation(plan, step));
    }

    std::vector<std::string> fallbacks(std::size_t plan, std::size_t step) {
        return engines_->fallbacks(operation(plan, step));
    }

    std::vector<std::string> variations(std::size_t plan, std::size_t step, const std::string& engine,
                                        std::size_t most) {
        return engines_->variations(operation(plan, step), engine, most);
    }

    // The workspace of an engine that was built for a step.
    std::size_t workspace(std::size_t plan, std::size_t step, const std::string& engine) {
        return engines_->plan_of(operation(plan, step), engine)->workspace();
    }

    // The relative error of a library's step on random operands; infinite where an element is not written.
    double error(std::size_t plan, std::size_t step, const std::string& engine) {
        const DeviceGuard guard(device_);
        const Operation& op = operation(plan, step);
        reference_->fill_operands(op);
        reference_->poison(output_of(op));
        check(cudaStreamSynchronize(stream_.get()), "filling a step's operands");  // see Executor::execute
        executor_.execute(*engines_->plan_of(op, engine), op);
        return reference_->error(op);
    }

    // Runs a step by an engine, a kernel's by "", and keeps what it writes.
    void keep(std::size_t plan, std::size_t step, const std::string& engine) {
        const DeviceGuard guard(device_);
        reference_->poison(steps_[plan][step].y);
        run(steps_[plan][step], engine);
        reference_->keep(steps_[plan][step].y);
    }

    // How far apart what a kernel writes and what was kept are, relative to that; infinite where it does not write all.
    double difference(std::size_t plan, std::size_t step) {
        const DeviceGuard guard(device_);
        reference_->poison(steps_[plan][step].y);
        run(steps_[plan][step], "");
        return reference_->difference(steps_[plan][step].y);
    }

    // Microseconds of a single launch of a step by an engine, with what the host takes for it where that is longer.
    double glance(std::size_t plan, std::size_t step, const std::string& engine) {
        const DeviceGuard guard(device_);
        const auto once = [&] { run(steps_[plan][step], engine); };
        once();  // loads the kernel
        return clock_->median(1, HUGE_VAL, once, [] {}).microseconds;
    }

    // Microseconds of a step by an engine, a kernel's by "", one of so many launches. What turns out to take more than
    // `no_more` is timed once.
    Measurement measure(std::size_t plan, std::size_t step, const std::string& engine, int launches, double no_more) {
        const DeviceGuard guard(device_);
        const CandidateStep& s = steps_[plan][step];
        const bool is_cold = footprints_[plan] > static_cast<std::size_t>(gpu_.l2CacheSize) * 6 / 10;
        run(s, engine, is_cold ? 1 : 0);  // loads the kernel and copies weights, which a capture may not
        const auto work = [&](int launch) { run(s, engine, is_cold ? launch + 1 : 0); };
        return clock_->graph(std::min(launches, WeightCopies::most), 7, !is_cold, no_more, work);
    }

    // Microseconds of a whole pass. Each step is that of a plan whose buffers lie where this one's do, by an engine, or
    // by "" as the code says; no steps: this plan's own, on one stream.
    Measurement measure_pass(std::size_t plan, const Choices& choices, int replays) {
        const DeviceGuard guard(device_);
        const Graph graph = captured_pass(choices.empty() ? first_choices(plan) : choices);
        const GraphExec exec = instantiate(graph);
        const auto replay = [&] { check(cudaGraphLaunch(exec.get(), stream_.get()), "launching a pass"); };
        for (int i = 0; i < 3; ++i) replay();
        return clock_->median(replays, HUGE_VAL, replay, [] {});
    }

    // The outputs of a pass of such steps on inputs in host memory; both in the model's order. one_by_one: each step
    // when the one before has ended; else as a network runs it.
    void run_pass(std::size_t plan, Choices choices, std::span<const void* const> inputs,
                  std::span<void* const> outputs, bool one_by_one) {
        const DeviceGuard guard(device_);
        if (choices.empty()) choices = first_choices(plan);
        const Graph graph = captured_pass(choices);
        const GraphExec exec = instantiate(graph);
        const std::size_t profile = model_.profile_of(plan);
        const auto bytes = [&](const Port& port) {
            return port.bytes(profile) * static_cast<std::size_t>(model_.batch_of(plan));
        };
        check(cudaMemsetAsync(arena_.get(), 0xff, largest_arena(), stream_.get()), "poisoning activations");
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            check(cudaMemcpyAsync(buffers_[plan].inputs[i], inputs[i], bytes(model_.inputs[i]), cudaMemcpyHostToDevice,
                                  stream_.get()),
                  "copying an input");
        }
        if (one_by_one) {
            for (std::size_t i = 0; i < choices.size(); ++i) {
                const CandidateStep& s = steps_.at(choices[i].plan).at(i);
                run(s, choices[i].engine);
                check(cudaStreamSynchronize(stream_.get()), "running '", s.layer, "'");
            }
        } else {
            check(cudaGraphLaunch(exec.get(), stream_.get()), "launching a pass");
            check(cudaStreamSynchronize(stream_.get()), "running a pass");
        }
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            check(cudaMemcpy(outputs[i], buffers_[plan].outputs[i], bytes(model_.outputs[i]), cudaMemcpyDeviceToHost),
                  "copying an output");
        }
    }

    // Keeps the plans of a pass as text in a folder, as a network with these engines will look for them.
    void save_plans(std::size_t plan, const std::vector<std::string>& engines, const std::string& folder) {
        const DeviceGuard guard(device_);
        const PlanFolder into = plan_folder(folder, gpu_);
        for (std::size_t i = 0; i < steps_.at(plan).size(); ++i) {
            if (!steps_[plan][i].operation) continue;
            Operation op = *steps_[plan][i].operation;
            std::visit([&](auto& o) { o.engine = engines.at(i).c_str(); }, op);
            const std::shared_ptr<Plan> made = engines_->plan_of(op, "");
            if (const auto serialized = made->serialized()) {
                into.write(plan_key(op, workspace_limit_), {engine_text(made->engine()), *serialized});
            }
        }
    }

   private:
    std::size_t largest_arena() const { return *std::ranges::max_element(model_.arena_bytes); }

    Buffers place(std::size_t plan) const {
        Buffers buffers{arena_.get(), weights_.get(), {}, {}};
        const auto address = [&](const Port& port) {
            return static_cast<void*>(static_cast<std::byte*>(arena_.get()) + port.staging[plan]);
        };
        for (const Port& port : model_.inputs) buffers.inputs.push_back(address(port));
        for (const Port& port : model_.outputs) buffers.outputs.push_back(address(port));
        return buffers;
    }

    // As the code says.
    Choices first_choices(std::size_t plan) const { return Choices(steps_.at(plan).size(), {plan}); }

    Graph captured_pass(const Choices& choices) {
        std::size_t streams = 1;
        for (const PassStep& step : choices) streams = std::max(streams, step.stream + 1);
        while (side_streams_.size() + 1 < streams) side_streams_.push_back(make_side_stream({workspace_limit_, true}));
        std::vector<Executor> executors = {executor_};
        for (const SideStream& side : side_streams_) executors.push_back(side.executor(executor_));
        std::vector<std::size_t> beside(streams - 1);
        std::iota(beside.begin(), beside.end(), 1);
        const auto pass = [&] {
            Route route(executors);
            for (std::size_t i = 0; i < choices.size(); ++i) {
                route.on(choices[i].stream, choices[i].after);
                run(route.next(), steps_.at(choices[i].plan).at(i), choices[i].engine);
            }
            route.on(0, beside);
        };
        pass();  // loads the kernels, which a capture may not
        return capture(stream_.get(), pass);
    }

    const Operation& operation(std::size_t plan, std::size_t step) const {
        const CandidateStep& s = steps_.at(plan).at(step);
        if (!s.operation) throw ArgumentError(text("step '", s.layer, "' is a kernel: it has no engines"));
        return *s.operation;
    }

    // `copy`: which copy of the weights is read; 0 is the slab itself.
    void run(const CandidateStep& s, const std::string& engine, int copy = 0) { run(executor_, s, engine, copy); }

    void run(const Executor& executor, const CandidateStep& s, const std::string& engine, int copy = 0) {
        if (!s.operation) return launch(executor, s, copy);
        std::vector<void*> addresses = addresses_of(*s.operation);
        addresses[1] = copies_->find(addresses[1], copy);
        executor.execute(*engines_->plan_of(*s.operation, engine), *s.operation, addresses);
    }

    void launch(const Executor& executor, const CandidateStep& s, int copy) {
        Layers layers{s.layer.c_str()};
        std::vector<std::vector<std::byte>> values = s.arguments;
        std::byte* const largest = copy ? largest_weight(values) : nullptr;
        std::vector<Argument> arguments;
        for (auto& value : values) {
            if (largest && address_in(value) == largest) {
                void* const other = copies_->find(largest, copy);
                std::memcpy(value.data(), &other, sizeof other);
            }
            arguments.push_back({value.data(), value.size()});
        }
        executor.execute(KernelCall{layers, s.y, s.function, s.grid, arguments});
    }

    // An argument of an address' size as an address.
    static std::byte* address_in(const std::vector<std::byte>& value) {
        std::byte* address = nullptr;
        if (value.size() == sizeof address) std::memcpy(&address, value.data(), sizeof address);
        return address;
    }

    // The address of the largest tensor of the slab among a kernel's arguments; null where there is none.
    std::byte* largest_weight(const std::vector<std::vector<std::byte>>& values) const {
        std::byte* largest = nullptr;
        for (const auto& value : values) {
            const Weight* tensor = copies_->tensor_at(address_in(value));
            if (tensor && (!largest || tensor->bytes > copies_->tensor_at(largest)->bytes)) largest = address_in(value);
        }
        return largest;
    }

    const Model& model_;
    int device_;
    std::vector<std::size_t> footprints_;
    std::size_t workspace_limit_;
    cudaDeviceProp gpu_{};
    DeviceBuffer weights_, arena_, workspace_;
    Stream stream_;
    CudnnHandle cudnn_;
    CublasLtHandle cublaslt_;
    Executor executor_;
    std::vector<SideStream> side_streams_;  // made when a pass has so many
    std::optional<LibraryEngines> engines_;
    std::optional<Reference> reference_;
    std::optional<WeightCopies> copies_;
    std::optional<Clock> clock_;
    std::vector<Buffers> buffers_;                   // by plan
    std::vector<std::vector<CandidateStep>> steps_;  // likewise
};

}  // namespace cnngen::inline cuda
