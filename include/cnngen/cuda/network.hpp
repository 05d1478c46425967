// A network on a GPU: its weights and its plans. Contexts, which run it, are in context.hpp.
#pragma once

#include <array>
#include <atomic>
#include <future>

#include "cnngen/cuda/installation.hpp"
#include "cnngen/cuda/modes.hpp"
#include "cnngen/cuda/planner.hpp"
#include "cnngen/parallel.hpp"
#include "cnngen/results.hpp"
#include "cnngen/weight_path.hpp"
#include "cnngen/weights.hpp"

namespace cnngen::inline cuda {

struct Options {
    int device = 0;
    std::string weights =
        {};  // path; empty: Model::weight_file beside the program or library, or in the current folder
    std::size_t workspace_limit = std::size_t{256} << 20;
    std::string plan_cache = default_plan_cache();  // folder for built plans; empty: none
};

// The steps of one plan and the operations among them.
inline Collect collect(const Model& model, std::size_t plan) {
    Collect steps;
    Buffers nowhere;
    nowhere.inputs.resize(model.inputs.size());
    nowhere.outputs.resize(model.outputs.size());
    Pass pass(steps, nowhere, model.batch_of(plan), plan);
    model.forward(pass);
    return steps;
}

// The weight slab on the current GPU, from its file, some parts of which are read while others are copied. To page-lock
// all of it would take longer than either, and hold up what else the driver is asked for.
inline DeviceBuffer upload_weights(const Model& model, const std::string& path) {
    constexpr std::size_t part_bytes = std::size_t{4} << 20, readers = 4;
    WeightFile file(path, {model.weight_bytes, model.weight_layout});
    DeviceBuffer weights = allocate_device(model.weight_bytes, "weights");
    const Stream stream = make_stream();
    int device = 0;
    check(cudaGetDevice(&device), "asking for the current GPU");
    struct Part {
        PinnedBuffer memory;
        Event copied;
    };
    std::array<Part, readers> buffers;
    std::atomic<std::size_t> next = 0;
    const auto setup = [&] {
        check(cudaSetDevice(device), "selecting the GPU");
        const std::size_t bytes = std::min(part_bytes, model.weight_bytes);
        Part made{allocate_pinned(bytes, "weights on their way to the GPU"), make_event()};
        Part& part = buffers[next++];
        part = std::move(made);
        return &part;
    };
    const auto upload = [&](Part* buffer, std::size_t i) {
        Part& part = *buffer;
        const std::size_t at = i * part_bytes, bytes = std::min(part_bytes, model.weight_bytes - at);
        check(cudaEventSynchronize(part.copied.get()), "copying the weights to the GPU");
        file.read(at, {static_cast<std::byte*>(part.memory.get()), bytes});
        check(cudaMemcpyAsync(static_cast<std::byte*>(weights.get()) + at, part.memory.get(), bytes,
                              cudaMemcpyHostToDevice, stream.get()),
              "copying the weights to the GPU");
        check(cudaEventRecord(part.copied.get(), stream.get()), "copying the weights to the GPU");
    };
    const std::size_t parts = (model.weight_bytes + part_bytes - 1) / part_bytes;
    const std::vector<std::string> failures = in_parallel(parts, readers, setup, upload);
    check(cudaStreamSynchronize(stream.get()), "copying the weights to the GPU");
    for (const std::string& failure : failures) {
        if (!failure.empty()) throw Error(failure);
    }
    file.finish();
    return weights;
}

// A network's weights and plans on one GPU; immutable, shared by its contexts, safe to use from several threads.
class Network {
   public:
    explicit Network(const Model& model, const Options& options = {})
        : state_(std::make_shared<State>(model, options)) {}

    const Model& model() const { return state_->model; }
    int device() const { return state_->device; }
    const cudaDeviceProp& gpu() const { return state_->gpu; }
    void* weights() const { return state_->weights.get(); }
    const Planner& planner() const { return *state_->planner; }
    const Timings& startup() const { return state_->startup; }
    // What differs from how the network was tuned: engines that this GPU or cuDNN does not have.
    const std::vector<std::string>& notes() const { return state_->planner->notes(); }

    // The steps of a plan, with their engines.
    const std::vector<Step>& steps(std::size_t plan) const { return state_->steps[plan]; }

    // By stream of a pass what any step there in any plan needs; on the first one what any step at all, since that is
    // where all of them run one by one.
    std::vector<StreamNeeds> stream_needs() const {
        std::vector<StreamNeeds> needs(1);
        for (const auto& steps : state_->steps) {
            for (const Step& step : steps) {
                needs.resize(std::max(needs.size(), step.stream + 1));
                if (!step.plan) continue;
                for (const std::size_t stream : {std::size_t{0}, step.stream}) {
                    needs[stream].workspace = std::max(needs[stream].workspace, step.plan->workspace());
                    needs[stream].libraries = true;
                }
            }
        }
        return needs;
    }
    std::size_t arena_bytes() const { return *std::ranges::max_element(model().arena_bytes); }

   private:
    struct State {
        State(const Model& m, const Options& options) : model(m), device(options.device) {
            Stopwatch watch;
            std::vector<Collect> collected;
            for (std::size_t i = 0; i < model.plan_count(); ++i) collected.push_back(collect(model, i));
            std::vector<Operation> operations;
            for (const Collect& c : collected) {
                operations.insert(operations.end(), c.operations.begin(), c.operations.end());
            }
            std::future<void> opened, asked;
            if (!operations.empty()) opened = std::async(std::launch::async, open_cudnn);
            check_installation(model, device);
            if (!operations.empty()) {
                asked = std::async(std::launch::async, [&, capability = capability_of(device)] {
                    opened.get();
                    ask_for_engines(operations, capability);
                });
            }
            const DeviceGuard guard(device);
            check(cudaFree(nullptr), "starting CUDA on GPU ", device);
            check(cudaGetDeviceProperties(&gpu, device), "asking for the GPU's properties");
            check_architecture(model, gpu);
            watch.lap(startup, "context");
            const std::string weight_file = find_weights(model, options.weights);
            // The weights come from disk while libraries are opened and plans are made.
            auto uploaded = std::async(std::launch::async, [&] {
                const DeviceGuard here(device);
                weights = upload_weights(model, weight_file);
            });
            planner.emplace(device, options.workspace_limit);
            if (!operations.empty()) {
                asked.get();
                check_libraries(model);
                const auto beside = std::filesystem::path(weight_file).parent_path() / "plans";
                planner->keep_in(plan_folder(beside.string(), gpu), plan_folder(options.plan_cache, gpu));
            }
            watch.lap(startup, "libraries");
            plan(collected, operations);
            watch.lap(startup, "plans");
            uploaded.get();
            watch.lap(startup, "weights");
        }

        void plan(std::vector<Collect>& collected, const std::vector<Operation>& operations) {
            planner->prepare(operations);
            for (Collect& c : collected) {
                auto operation = c.operations.begin();
                for (Step& step : c.steps) {
                    if (step.kind != "kernel") step.plan = planner->find(*operation++);
                }
                steps.push_back(std::move(c.steps));
            }
        }

        const Model& model;
        int device;
        cudaDeviceProp gpu{};
        DeviceBuffer weights;
        std::optional<Planner> planner;
        std::vector<std::vector<Step>> steps;  // by plan
        Timings startup;
    };

    std::shared_ptr<const State> state_;
};

}  // namespace cnngen::inline cuda
