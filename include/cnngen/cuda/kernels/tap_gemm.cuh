// Convolution on tensor cores, NHWC, 16-bit, stride 1, for very few filters: a matrix product of pixels alone, which
// has a column for each tap of each filter. An output is then a sum of its taps' columns at as many pixels, in shared
// memory; each input is read once, and not once a tap.
#pragma once

#include "gemm_parts.cuh"

namespace cnngen {

// How a block works.
struct TapGemmTile {
    int h, w;                  // pixels of a block
    int n;                     // columns, at least the filters' taps: a multiple of 8
    int warps;                 // among which the pixels are divided
    int v = 1;                 // filters that are finished and stored together; divides them
    bool interleaves = false;  // whether the shape has phases

    __host__ __device__ constexpr int threads() const { return 32 * warps; }
};

// The grid: blocks of tile.threads() threads.
__host__ __device__ constexpr unsigned blocks(const GemmShape& shape, const TapGemmTile& tile, int batch) {
    return static_cast<unsigned>(batch * detail::ceil_div(shape.oh, tile.h) * detail::ceil_div(shape.ow, tile.w));
}

namespace detail {

// Pixels that a block reads, in whole fragments of 16, and so many more that a fragment's elements lie in different
// banks.
__host__ __device__ constexpr int column_pitch(const GemmShape& shape, const TapGemmTile& tile) {
    const int rows = tile.h + (shape.r - 1) * shape.dilation_h, columns = tile.w + (shape.s - 1) * shape.dilation_w;
    return ceil_div(rows * columns, 16) * 16 + 4;
}

}  // namespace detail

// Bytes of dynamic shared memory: the products.
__host__ __device__ constexpr int shared_bytes(const GemmShape& shape, const TapGemmTile& tile) {
    return shape.k * shape.r * shape.s * detail::column_pitch(shape, tile) * 4;
}

// As implicit_gemm, with shape.stride_h and shape.stride_w 1, and shape.k * shape.r * shape.s at most tile.n.
// Launch: blocks(shape, tile, batch) blocks of exactly tile.threads() threads, with shared_bytes(shape, tile) bytes.
template <typename T, TapGemmTile tile, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void tap_gemm(int, const GemmShape& shape, const T* x, const T* weight, Y* y,
                                         const Epilogue& epilogue = Epilogue()) {
    constexpr int threads = tile.threads(), mi = 2, ni = tile.n / 8;
    static_assert(sizeof(T) == 2, "tensor cores take 16-bit elements here");
    static_assert(tile.n % 8 == 0);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    __trap();  // a network with this kernel does not start on such a GPU
#else
    float* const products = reinterpret_cast<float*>(ptx::dynamic_shared());  // [filter][tap][pixel]
    const int pitch = detail::column_pitch(shape, tile);
    const int columns = tile.w + (shape.s - 1) * shape.dilation_w;
    const int places = (tile.h + (shape.r - 1) * shape.dilation_h) * columns;
    const int taps = shape.r * shape.s, used = shape.k * taps;

    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int across = detail::ceil_div(shape.ow, tile.w), down = detail::ceil_div(shape.oh, tile.h);
    int number = static_cast<int>(blockIdx.x);
    const int first_w = number % across * tile.w;
    number /= across;
    const int first_h = number % down * tile.h, n = number / down;
    const T* const image = x + static_cast<std::int64_t>(n) * (shape.h * shape.w) * shape.x_pixel;

    ptx::start_next();
    ptx::wait_for_inputs();
    for (int first = warp * (mi * 16); first < places; first += tile.warps * (mi * 16)) {
        // Of a fragment a thread has the elements of two pixels, four of each depth of 16. Which channels they are is
        // free as long as the filters' are the same: it takes eight that lie together for two depths.
        const int channel = lane % 4 * 8;
        int pixels[2 * mi];  // their places in the image; -1: there is none
#pragma unroll
        for (int i = 0; i < 2 * mi; ++i) {
            const int place = first + i * 8 + lane / 4, row = place / columns;
            const int h = first_h + row - shape.pad_top, w = first_w + place - row * columns - shape.pad_left;
            const bool inside = place < places && static_cast<unsigned>(h) < static_cast<unsigned>(shape.h) &&
                                static_cast<unsigned>(w) < static_cast<unsigned>(shape.w);
            pixels[i] = inside ? (h * shape.w + w) * shape.x_pixel : -1;
        }
        float sums[mi][ni][4] = {};
#pragma unroll 1
        for (int depth = channel; depth < shape.c + channel; depth += 32) {
            const bool exists = depth < shape.c;
            uint4 left[2 * mi], right[ni];
#pragma unroll
            for (int i = 0; i < 2 * mi; ++i) {
                left[i] = detail::eight_or_zeros(image + pixels[i] + depth, exists && pixels[i] >= 0);
            }
#pragma unroll
            for (int j = 0; j < ni; ++j) {
                const int column = j * 8 + lane / 4;
                right[j] = detail::eight_or_zeros(weight + column * shape.c + depth, exists && column < used);
            }
            detail::multiply_eights<T>(left, right, sums);
        }
#pragma unroll
        for (int i = 0; i < mi; ++i) {
            const int place = first + i * 16 + lane / 4;
            if (first + i * 16 >= places) break;
#pragma unroll
            for (int j = 0; j < ni; ++j) {
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const int column = j * 8 + lane % 4 * 2 + k % 2;
                    if (column < used) products[column * pitch + place + k / 2 * 8] = sums[i][j][k];
                }
            }
        }
    }
    __syncthreads();

    const int vectors = shape.k / tile.v;
    for (int item = thread; item < tile.h * tile.w * vectors; item += threads) {
        const int pixel = item / vectors, k = (item - pixel * vectors) * tile.v;
        const int row = pixel / tile.w, column = pixel % tile.w, h = first_h + row, w = first_w + column;
        if (h >= shape.oh || w >= shape.ow) continue;
        float acc[tile.v] = {};
        const float* const here = products + k * taps * pitch + row * columns + column;
        for (int r = 0, tap = 0; r < shape.r; ++r) {
            for (int s = 0; s < shape.s; ++s, ++tap) {
                const int at = tap * pitch + r * shape.dilation_h * columns + s * shape.dilation_w;
#pragma unroll
                for (int v = 0; v < tile.v; ++v) acc[v] += here[v * taps * pitch + at];
            }
        }
        detail::store_filters<tile>(shape, (n * shape.oh + h) * shape.ow + w, k, acc, y, epilogue);
    }
#endif
}

}  // namespace cnngen
