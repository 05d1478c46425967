// Status codes of CUDA and its libraries, as errors. What was being done is put together only where it failed.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include "cnngen/error.hpp"

namespace cnngen::inline cuda {

[[noreturn]] inline void fail(cudaError_t status, const std::string& doing) {
    cudaGetLastError();  // a later, unrelated call must not report this one again
    throw Error(text(doing, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")"));
}

[[noreturn]] inline void fail(cudnnStatus_t status, const std::string& doing) {
    char reason[1024] = {};  // cuDNN's own account of the last failure on this thread
    cudnnGetLastErrorString(reason, sizeof reason);
    throw Error(text(doing, ": ", cudnnGetErrorString(status), *reason ? ": " : "", reason));
}

[[noreturn]] inline void fail(cublasStatus_t status, const std::string& doing) {
    throw Error(text(doing, ": ", cublasLtGetStatusString(status)));
}

// check(cudaMalloc(...), "allocating ", name)
template <class Status, class... Parts>
void check(Status status, const Parts&... doing) {
    if (status != Status{}) [[unlikely]]
        fail(status, join({Piece(doing)...}));
}

}  // namespace cnngen::inline cuda
