// Status codes of CUDA and its libraries, as errors. What was being done is put together only where it failed.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include "cnngen/error.hpp"

namespace cnngen {

template <class... Parts>
void check(cudaError_t status, const Parts&... doing) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // a later, unrelated call must not report this one again
    throw Error(text(doing..., ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")"));
}

// cuDNN's own account of the last failure on this thread; empty where it has none.
inline std::string cudnn_reason() {
    char message[1024] = {};
    cudnnGetLastErrorString(message, sizeof message);
    return message;
}

template <class... Parts>
void check(cudnnStatus_t status, const Parts&... doing) {
    if (status == CUDNN_STATUS_SUCCESS) return;
    const std::string reason = cudnn_reason();
    throw Error(text(doing..., ": ", cudnnGetErrorString(status), reason.empty() ? "" : ": ", reason));
}

template <class... Parts>
void check(cublasStatus_t status, const Parts&... doing) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw Error(text(doing..., ": ", cublasLtGetStatusString(status)));
}

}  // namespace cnngen
