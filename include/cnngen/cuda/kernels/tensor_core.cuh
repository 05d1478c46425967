// The instructions of tensor-core kernels that CUDA C++ has no name for: asynchronous copies into shared memory, matrix
// fragments, products of 16-bit matrices, clusters of blocks.
//
// Needs compute capability 8.0, clusters 9.0. See the PTX ISA under the name in each comment.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

// A compiler that is not nvcc brings its own, as the tests' emulation does.
#ifdef __CUDACC__
namespace cnngen::ptx {

__device__ __forceinline__ std::uint32_t shared_address(const void* at) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(at));
}

// Starts a copy of 16 bytes, or where not `inside` of as many zeros (cp.async).
__device__ __forceinline__ void copy_16(void* to_shared, const void* from_global, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to_shared)), "l"(from_global),
                 "r"(inside ? 16 : 0)
                 : "memory");
}

// The same of 4 bytes.
__device__ __forceinline__ void copy_4(void* to_shared, const void* from_global, bool inside) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to_shared)), "l"(from_global),
                 "r"(inside ? 4 : 0)
                 : "memory");
}

// Ends a group of copies (cp.async.commit_group).
__device__ __forceinline__ void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for this thread's groups but the last `Pending` ones (cp.async.wait_group).
template <int Pending>
__device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8 (ldmatrix).
__device__ __forceinline__ void load_matrices(std::uint32_t (&fragment)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// sum += a b: a is 16 x 16, b is 16 x 8, the sum float (mma.m16n8k16).
template <typename T>
__device__ __forceinline__ void multiply(float (&sum)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void multiply<__half>(float (&sum)[4], const std::uint32_t (&a)[4],
                                                 const std::uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ __forceinline__ void multiply<__nv_bfloat16>(float (&sum)[4], const std::uint32_t (&a)[4],
                                                        const std::uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// As above with a depth of 8: a is 16 x 8, b is 8 x 8 (mma.m16n8k8).
template <typename T>
__device__ __forceinline__ void multiply(float (&sum)[4], const std::uint32_t (&a)[2], std::uint32_t b);
template <>
__device__ __forceinline__ void multiply<__half>(float (&sum)[4], const std::uint32_t (&a)[2], std::uint32_t b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b));
}
template <>
__device__ __forceinline__ void multiply<__nv_bfloat16>(float (&sum)[4], const std::uint32_t (&a)[2], std::uint32_t b) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(b));
}

// This block's number in its cluster.
__device__ __forceinline__ int block_in_cluster() {
    std::uint32_t rank = 0;
#if __CUDA_ARCH__ >= 900
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
    return static_cast<int>(rank);
}

// All threads of all blocks of the cluster come to here before one goes on; what each wrote is seen by all
// (barrier.cluster).
__device__ __forceinline__ void wait_for_cluster() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// All threads of all blocks of the cluster have come to `arrive_at_cluster` before one leaves `wait_for_arrived`. What
// they have written is not thereby seen: a block that has read of others tells them that they may end.
__device__ __forceinline__ void arrive_at_cluster() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_for_arrived() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
#endif
}

// Four floats at the same place of the shared memory of another block of the cluster (mapa, ld.shared::cluster).
__device__ __forceinline__ float4 load_from_block(const float* here, int block) {
    float4 value = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#if __CUDA_ARCH__ >= 900
    std::uint32_t there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(here)), "r"(block));
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
                 : "r"(there)
                 : "memory");
#endif
    return value;
}

// One float of it.
__device__ __forceinline__ float float_from_block(const float* here, int block) {
    float value = 0.0f;
#if __CUDA_ARCH__ >= 900
    std::uint32_t there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(here)), "r"(block));
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(there) : "memory");
#endif
    return value;
}

// The memory that a launch gives a block beside what the kernel declares.
__device__ __forceinline__ unsigned char* dynamic_shared() {
    extern __shared__ __align__(128) unsigned char cnngen_dynamic_shared[];
    return cnngen_dynamic_shared;
}

}  // namespace cnngen::ptx
#endif
