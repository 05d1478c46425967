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
    kernels::fill<<<1, 32>>>(y, 1);
    const cudaError_t error = cudaDeviceSynchronize();
    cudaFree(y);
    return error;
}

}  // namespace mini
