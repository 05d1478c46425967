#include <cublasLt.h>
#include <cuda_runtime.h>
#include <cudnn.h>

#include "kernels.cuh"
#include "mini/mini.hpp"

namespace mini {

Versions versions() {
    int runtime = 0;
    cudaRuntimeGetVersion(&runtime);
    return {cudnnGetVersion(), cublasLtGetVersion(), runtime};
}

int launch() {
    float* y = nullptr;
    if (const cudaError_t error = cudaMalloc(&y, sizeof(float)); error != cudaSuccess) return error;
    int n = 1;
    void* arguments[] = {&y, &n};
    cudaLaunchKernel(reinterpret_cast<const void*>(kernels::fill), 1, 32, arguments, 0, nullptr);
    const cudaError_t error = cudaDeviceSynchronize();
    cudaFree(y);
    return error;
}

}  // namespace mini
