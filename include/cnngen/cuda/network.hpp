// A network on a GPU: its weights and its plans. Contexts, which run it, are in context.hpp.
#pragma once

#include <future>

#include "cnngen/cuda/model.hpp"
#include "cnngen/cuda/modes.hpp"
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

// 13000 is "13.0".
inline std::string cuda_version_text(int version) { return text(version / 1000, ".", version % 1000 / 10); }
inline std::string cudnn_version_text(std::size_t v) { return text(v / 10000, ".", v / 100 % 100, ".", v % 100); }

// Throws where driver, libraries or GPU cannot run what was compiled.
inline void check_installation(const Model& model, int device) {
    int driver = 0;
    cudaDriverGetVersion(&driver);
    const std::string built_with = cuda_version_text(CUDART_VERSION);
    if (!driver) {
        throw Error(text("no NVIDIA driver was found: '", model.name, "' runs on an NVIDIA GPU with a driver for CUDA ",
                         built_with, " or newer"));
    }
    if (driver / 1000 < CUDART_VERSION / 1000) {
        throw Error(text("the NVIDIA driver is for CUDA ", cuda_version_text(driver), ", older than CUDA ", built_with,
                         " that '", model.name, "' was built with: update the driver"));
    }
    int runtime = 0;
    check(cudaRuntimeGetVersion(&runtime), "asking for the CUDA runtime's version");
    if (runtime < CUDART_VERSION) {
        throw Error(text("the CUDA runtime library is ", cuda_version_text(runtime), ", older than ", built_with,
                         " that '", model.name, "' was built with"));
    }
    if (cudnnGetVersion() < CUDNN_VERSION) {
        throw Error(text("the cuDNN library is ", cudnn_version_text(cudnnGetVersion()), ", older than ",
                         cudnn_version_text(CUDNN_VERSION), " that '", model.name,
                         "' was built with: update it or build again"));
    }
    // The patch version may differ: packages pin it to each other, and the interface is the same.
    if (cublasLtGetVersion() / 100 < CUBLAS_VERSION / 100) {
        throw Error(text("the cuBLASLt library is ", cublasLtGetVersion(), ", older than ", CUBLAS_VERSION, " that '",
                         model.name, "' was built with: update it or build again"));
    }
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorNoDevice || (status == cudaSuccess && !count)) {
        cudaGetLastError();
        throw Error(text("no NVIDIA GPU was found: '", model.name, "' needs one"));
    }
    check(status, "looking for GPUs");
    if (device < 0 || device >= count) {
        throw ArgumentError(text("there is no GPU ", device, ": this machine has ", count, ", numbered from 0"));
    }
}

// Throws where the current GPU is of an architecture that the binary has no code for.
inline void check_architecture(const Model& model, const cudaDeviceProp& gpu) {
    if (gpu.major * 10 + gpu.minor < model.code.capability) {
        throw Error(text("'", model.name, "' was tuned for ", model.code.tuned_for,
                         " and has kernels for compute capability ", model.code.capability / 10, ".",
                         model.code.capability % 10, ", but ", gpu.name, " is of ", gpu.major, ".", gpu.minor,
                         ": build it with --lock none, or tune it for this GPU"));
    }
    cudaFuncAttributes attributes{};
    const cudaError_t status = cudaFuncGetAttributes(&attributes, model.code.kernel);
    if (status == cudaSuccess) return;
    if (status != cudaErrorNoKernelImageForDevice && status != cudaErrorInvalidDeviceFunction &&
        status != cudaErrorInvalidKernelImage && status != cudaErrorUnsupportedPtxVersion) {
        check(status, "loading the kernels");
    }
    cudaGetLastError();
    std::string list;
    for (int architecture : model.code.architectures) list += text(list.empty() ? "" : ", ", architecture / 10);
    throw Error(text("'", model.name, "' was built for the architectures ", list, ", but ", gpu.name, " is of ",
                     gpu.major, gpu.minor, ": build it again with --arch ", gpu.major, gpu.minor));
}

// Folder of the serialized plans of this cuDNN and GPU.
inline PlanFolder plan_folder(const std::string& base, const cudaDeviceProp& gpu) {
    if (base.empty()) return {};
    std::string name = text(cudnnGetVersion(), "-", gpu.name, "-sm", gpu.major, gpu.minor);
    std::ranges::replace_if(name, [](unsigned char c) { return !std::isalnum(c) && c != '-'; }, '_');
    return PlanFolder(std::filesystem::path(base) / name);
}

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

// The weight slab on the current GPU, from its file.
inline DeviceBuffer upload_weights(const Model& model, const std::string& path) {
    WeightFile file(path, {model.weight_bytes, model.weight_layout});
    DeviceBuffer weights = allocate_device(model.weight_bytes, "weights");
    const PinnedBuffer host = allocate_pinned(model.weight_bytes, "weights");
    file.read({static_cast<std::byte*>(host.get()), model.weight_bytes});
    file.finish();
    check(cudaMemcpy(weights.get(), host.get(), model.weight_bytes, cudaMemcpyHostToDevice),
          "copying the weights to the GPU");
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

    // The largest need of any step in any plan.
    std::size_t workspace_bytes() const {
        std::size_t bytes = 0;
        for (const auto& steps : state_->steps) {
            for (const Step& step : steps) bytes = std::max(bytes, step.plan ? step.plan->workspace() : 0);
        }
        return bytes;
    }
    std::size_t arena_bytes() const { return *std::ranges::max_element(model().arena_bytes); }

   private:
    struct State {
        State(const Model& m, const Options& options) : model(m), device(options.device) {
            Stopwatch watch;
            check_installation(model, device);
            const DeviceGuard guard(device);
            check(cudaFree(nullptr), "starting CUDA on GPU ", device);
            check(cudaGetDeviceProperties(&gpu, device), "asking for the GPU's properties");
            check_architecture(model, gpu);
            watch.lap(startup, "context");
            const std::string weight_file = find_weights(model, options.weights);
            const std::string beside = (std::filesystem::path(weight_file).parent_path() / "plans").string();
            planner.emplace(device, options.workspace_limit, plan_folder(beside, gpu),
                            plan_folder(options.plan_cache, gpu));
            watch.lap(startup, "libraries");
            // The weights come from disk while plans are made.
            auto uploaded = std::async(std::launch::async, [&] {
                const DeviceGuard here(device);
                weights = upload_weights(model, weight_file);
            });
            plan();
            watch.lap(startup, "plans");
            uploaded.get();
            watch.lap(startup, "weights");
        }

        void plan() {
            std::vector<Collect> collected;
            std::vector<Operation> operations;
            for (std::size_t i = 0; i < model.plan_count(); ++i) {
                collected.push_back(collect(model, i));
                const auto& found = collected.back().operations;
                operations.insert(operations.end(), found.begin(), found.end());
            }
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
