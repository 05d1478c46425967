// The start of a kernel before the one before it has ended ("programmatic dependent launch"): its blocks are placed,
// and do what needs no input, while the last blocks of the one before are at work.
//
// Needs compute capability 9.0; below, and where a kernel is launched in the ordinary way, kernels follow each other.
#pragma once

// A compiler that is not nvcc brings its own, as the tests' emulation does.
#ifdef __CUDACC__
namespace cnngen::ptx {

// The kernels before this one have ended, and what they wrote is seen (griddepcontrol.wait).
__device__ __forceinline__ void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The kernel after this one may be started, and wait for its inputs (griddepcontrol.launch_dependents).
__device__ __forceinline__ void start_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Brings a line of constants near, without waiting for it.
__device__ __forceinline__ void prefetch(const void* line) { asm volatile("prefetch.global.L1 [%0];" ::"l"(line)); }

}  // namespace cnngen::ptx
#endif

namespace cnngen {

// What every thread of a kernel does before it reads anything but constants, and before it writes or returns.
__device__ inline void begin() {
    ptx::start_next();
    ptx::wait_for_inputs();
}

}  // namespace cnngen
