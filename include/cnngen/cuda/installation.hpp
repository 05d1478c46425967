// What must be there for a network to run: a driver, a GPU that its kernels are for, libraries new enough.
#pragma once

#include <dlfcn.h>

#include <cctype>
#include <filesystem>

#include "cnngen/cuda/memory.hpp"
#include "cnngen/cuda/model.hpp"
#include "cnngen/cuda/plan_folder.hpp"

namespace cnngen::inline cuda {

// 13000 is "13.0".
inline std::string cuda_version_text(int version) { return text(version / 1000, ".", version % 1000 / 10); }
inline std::string cudnn_version_text(std::size_t v) { return text(v / 10000, ".", v / 100 % 100, ".", v % 100); }

// Throws where driver, CUDA runtime or GPU cannot run what was compiled.
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

// Throws where cuDNN or cuBLASLt are older than what was compiled with. Opens the first part of cuDNN.
inline void check_libraries(const Model& model) {
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
}

// A GPU's compute capability, 90 for 9.0. Needs no context.
inline int capability_of(int device) {
    int major = 0, minor = 0;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "asking for the GPU's properties");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "asking for the GPU's properties");
    return major * 10 + minor;
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

// cuDNN opens its parts, 400 MB of code, when they are first used, which takes about as long as CUDA takes for
// a context. What is open when it asks costs it nothing. They lie beside it; what is not there, it looks for itself.
inline void open_cudnn() {
    Dl_info library{};
    void* const function = dlsym(RTLD_DEFAULT, "cudnnGetVersion");
    if (!function || !dladdr(function, &library) || !library.dli_fname) return;
    const auto folder = std::filesystem::path(library.dli_fname).parent_path();
    for (const char* part : {"graph", "engines_precompiled", "engines_runtime_compiled"}) {
        const std::string name = text("libcudnn_", part, ".so.", CUDNN_MAJOR);
        dlopen((folder / name).c_str(), RTLD_LAZY);  // for good
    }
}

}  // namespace cnngen::inline cuda
