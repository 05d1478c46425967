// Convolution and matrix product on tensor cores, NHWC, 16-bit, of little depth: what waits for memory, not for
// products. A warp loads its fragments straight from global memory, without a stop in shared memory, and without
// waiting for other warps.
#pragma once

#include "gemm_parts.cuh"

namespace cnngen {

// How a block works.
struct DirectGemmTile {
    int m;                     // pixels of a warp: 16 or 32
    int n;                     // filters of a warp, 32 at a time
    int warps;                 // of a block, one beside the other along the pixels
    int v = 8;                 // filters that are finished and stored together; divides them
    bool interleaves = false;  // whether the shape has phases

    __host__ __device__ constexpr int threads() const { return 32 * warps; }
};

// The grid: blocks of tile.threads() threads.
__host__ __device__ constexpr unsigned blocks(const GemmShape& shape, const DirectGemmTile& tile, int batch) {
    return static_cast<unsigned>(detail::ceil_div(batch * shape.oh * shape.ow, tile.m * tile.warps) *
                                 detail::ceil_div(shape.k, tile.n));
}

// As implicit_gemm.
// Launch: blocks(shape, tile, batch) blocks of exactly tile.threads() threads.
template <typename T, DirectGemmTile tile, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void direct_gemm(int batch, const GemmShape& shape, const T* x, const T* weight, Y* y,
                                            const Epilogue& epilogue = Epilogue()) {
    constexpr int rows = tile.m / 8;
    static_assert(sizeof(T) == 2, "tensor cores take 16-bit elements here");
    static_assert(tile.m % 16 == 0 && tile.n % 32 == 0 && 8 % tile.v == 0);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    __trap();  // a network with this kernel does not start on such a GPU
#else
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
    const int parts = detail::ceil_div(shape.k, tile.n), number = static_cast<int>(blockIdx.x);
    const int first_filter = number % parts * tile.n;
    const int end = first_filter + tile.n < shape.k ? first_filter + tile.n : shape.k;
    const int pixels = batch * shape.oh * shape.ow;
    const int first_pixel = (number / parts * tile.warps + thread / 32) * tile.m;
    ptx::start_next();

    // Of a fragment a thread has the elements of two pixels, four of each depth of 16, and of two filters. Which
    // channels they are is free as long as both sides agree: it takes eight that lie together for two depths. Which
    // filters a fragment's eight columns are is free too: a thread's sums of four fragments are of eight that lie
    // together.
    const int channel = lane % 4 * 8;
    int images[rows], from_h[rows], from_w[rows];
#pragma unroll
    for (int i = 0; i < rows; ++i) {
        const int pixel = first_pixel + i * 8 + lane / 4, n = pixel / (shape.oh * shape.ow);
        const int place = pixel - n * (shape.oh * shape.ow), h = place / shape.ow;
        images[i] = n * (shape.h * shape.w);
        // Outside of every image where there is no such pixel.
        from_h[i] = pixel < pixels ? h * shape.stride_h - shape.pad_top : -(1 << 28);
        from_w[i] = (place - h * shape.ow) * shape.stride_w - shape.pad_left;
    }
    const int filter_size = shape.r * shape.s * shape.c;
    ptx::wait_for_inputs();
    for (int group = first_filter; group < end; group += 32) {
        const int filter = group + lane / 8 * 8 + lane / 4 % 2;
        float sums[rows / 2][4][4] = {};
        for (int r = 0; r < shape.r; ++r) {
            for (int s = 0; s < shape.s; ++s) {
                int from[rows];  // elements of x before the pixel; -1: there is none
#pragma unroll
                for (int i = 0; i < rows; ++i) {
                    const int h = from_h[i] + r * shape.dilation_h, w = from_w[i] + s * shape.dilation_w;
                    const bool inside = static_cast<unsigned>(h) < static_cast<unsigned>(shape.h) &&
                                        static_cast<unsigned>(w) < static_cast<unsigned>(shape.w);
                    from[i] = inside ? (images[i] + h * shape.w + w) * shape.x_pixel : -1;
                }
                const int tap = filter * filter_size + (r * shape.s + s) * shape.c;
#pragma unroll 1
                for (int depth = channel; depth < shape.c + channel; depth += 32) {
                    const bool exists = depth < shape.c;
                    uint4 left[rows], right[4];
#pragma unroll
                    for (int i = 0; i < rows; ++i) {
                        left[i] = detail::eight_or_zeros(x + from[i] + depth, exists && from[i] >= 0);
                    }
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        right[j] = detail::eight_or_zeros(weight + tap + j * 2 * filter_size + depth,
                                                          exists && filter + j * 2 < end);
                    }
                    detail::multiply_eights<T>(left, right, sums);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < rows; ++i) {
            const int pixel = first_pixel + i * 8 + lane / 4;
            if (pixel >= pixels) break;
#pragma unroll
            for (int part = 0; part < 8 / tile.v; ++part) {
                const int k = group + channel + part * tile.v;
                if (k >= end) break;
                float acc[tile.v];
#pragma unroll
                for (int v = 0; v < tile.v; ++v) {
                    const int at = part * tile.v + v;
                    acc[v] = sums[i / 2][at / 2][i % 2 * 2 + at % 2];
                }
                detail::store_filters<tile>(shape, pixel, k, acc, y, epilogue);
            }
        }
    }
#endif
}

}  // namespace cnngen
