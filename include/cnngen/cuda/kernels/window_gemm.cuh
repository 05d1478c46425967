// Convolution on tensor cores, NHWC, 16-bit, stride 1, for few filters: what reads each input once where a matrix
// product over windows reads it once a tap. A block brings the windows of its h x w pixels into shared memory, which
// overlap there, and multiplies them tap by tap.
#pragma once

#include "gemm_parts.cuh"

namespace cnngen {

// How a block works. A warp computes whole rows of 16 pixels.
struct WindowGemmTile {
    int h, w;                  // pixels of a block; w is a multiple of 16
    int n;                     // filters of a block: 8 or a multiple of 16
    int k;                     // channels that are brought together: 32 or 64
    int warps;                 // among which the pixels are divided
    int stages = 1;            // 2: the next channels come while these are multiplied
    int v = 8;                 // filters that are finished and stored together; divides them
    bool interleaves = false;  // whether the shape has phases

    __host__ __device__ constexpr int threads() const { return 32 * warps; }
    __host__ __device__ constexpr int sum_pitch() const { return n + 8; }
};

// The grid: blocks of tile.threads() threads.
__host__ __device__ constexpr unsigned blocks(const GemmShape& shape, const WindowGemmTile& tile, int batch) {
    return static_cast<unsigned>(batch * detail::ceil_div(shape.oh, tile.h) * detail::ceil_div(shape.ow, tile.w) *
                                 detail::ceil_div(shape.k, tile.n));
}

// Bytes of dynamic shared memory: windows and filters, later the sums.
__host__ __device__ constexpr int shared_bytes(const GemmShape& shape, const WindowGemmTile& tile) {
    const int rows = tile.h + (shape.r - 1) * shape.dilation_h, columns = tile.w + (shape.s - 1) * shape.dilation_w;
    const int copies = tile.stages * (rows * columns + shape.r * shape.s * tile.n) * tile.k * 2;
    const int sums = tile.h * tile.w * tile.sum_pitch() * 4;
    return copies > sums ? copies : sums;
}

namespace detail {

// Products of one tap: sums += pixels filters^T. `pixels`: the first of this thread's row of each fragment.
template <typename T, WindowGemmTile tile, int mi, int ni>
__device__ __forceinline__ void multiply_tap(const T* windows, const int (&pixels)[mi], int shift, const T* filters,
                                             int first_row, int lane, float (&sums)[mi][ni][4]) {
    // Of eight filters one load brings 32 channels, of sixteen 16.
    constexpr int together = ni == 1 ? 2 : 1;
#pragma unroll
    for (int depth = 0; depth < tile.k; depth += 16 * together) {
        std::uint32_t right[together][ni][2];
        if constexpr (ni == 1) {
            std::uint32_t four[4];
            ptx::load_matrices(four, filters + chunk_place<tile.k>(first_row + lane % 8, depth / 8 + lane / 8));
            right[0][0][0] = four[0], right[0][0][1] = four[1];
            right[1][0][0] = four[2], right[1][0][1] = four[3];
        } else {
#pragma unroll
            for (int j = 0; j < ni; j += 2) {
                const int row = first_row + j * 8 + lane % 8 + lane / 16 * 8;
                std::uint32_t four[4];
                ptx::load_matrices(four, filters + chunk_place<tile.k>(row, depth / 8 + lane / 8 % 2));
                right[0][j][0] = four[0], right[0][j][1] = four[1];
                right[0][j + 1][0] = four[2], right[0][j + 1][1] = four[3];
            }
        }
#pragma unroll
        for (int part = 0; part < together; ++part) {
#pragma unroll
            for (int i = 0; i < mi; ++i) {
                std::uint32_t left[4];
                const int chunk = depth / 8 + 2 * part + lane / 16;
                ptx::load_matrices(left, windows + chunk_place<tile.k>(pixels[i] + shift, chunk));
#pragma unroll
                for (int j = 0; j < ni; ++j) ptx::multiply<T>(sums[i][j], left, right[part][j]);
            }
        }
    }
}

}  // namespace detail

// As implicit_gemm, with shape.stride_h and shape.stride_w 1.
// Launch: blocks(shape, tile, batch) blocks of exactly tile.threads() threads, with shared_bytes(shape, tile) bytes.
template <typename T, WindowGemmTile tile, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void window_gemm(int batch, const GemmShape& shape, const T* x, const T* weight, Y* y,
                                            const Epilogue& epilogue = Epilogue()) {
    constexpr int threads = tile.threads(), chunks = tile.k / 8;
    constexpr int fragments = tile.h * tile.w / 16, mi = fragments / tile.warps, ni = tile.n / 8;
    static_assert(sizeof(T) == 2, "tensor cores take 16-bit elements here");
    static_assert(tile.k == 32 || tile.k == 64);
    static_assert(tile.w % 16 == 0 && mi * tile.warps == fragments && (tile.n == 8 || tile.n % 16 == 0));
    static_assert(tile.n % tile.v == 0 && (tile.stages == 1 || tile.stages == 2));
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    __trap();  // a network with this kernel does not start on such a GPU
#else
    unsigned char* const memory = ptx::dynamic_shared();
    const int rows = tile.h + (shape.r - 1) * shape.dilation_h;
    const int columns = tile.w + (shape.s - 1) * shape.dilation_w;
    const int taps = shape.r * shape.s;
    T* const windows = reinterpret_cast<T*>(memory);                     // [stage][row][column][channel]
    T* const filters = windows + tile.stages * rows * columns * tile.k;  // [stage][tap][filter][channel]

    const int thread = static_cast<int>(threadIdx.x);
    const int across = detail::ceil_div(shape.ow, tile.w), down = detail::ceil_div(shape.oh, tile.h);
    int number = static_cast<int>(blockIdx.x);
    const int first_w = number % across * tile.w;
    number /= across;
    const int first_h = number % down * tile.h;
    number /= down;
    const int n = number % batch, first_filter = number / batch * tile.n;

    const T* const image = x + static_cast<std::int64_t>(n) * (shape.h * shape.w) * shape.x_pixel;
    const int steps = detail::ceil_div(shape.c, tile.k);
    const auto copy_windows = [&](int stage, int step) {
        T* const to = windows + stage * rows * columns * tile.k;
        for (int i = thread; i < rows * columns * chunks; i += threads) {
            const int place = i / chunks, chunk = i % chunks, row = place / columns;
            const int h = first_h + row - shape.pad_top, w = first_w + place - row * columns - shape.pad_left;
            const int c = step * tile.k + chunk * 8;
            const bool inside = static_cast<unsigned>(h) < static_cast<unsigned>(shape.h) &&
                                static_cast<unsigned>(w) < static_cast<unsigned>(shape.w) && c < shape.c;
            const T* from = inside ? image + ((h * shape.w + w) * shape.x_pixel + c) : x;
            ptx::copy_16(to + detail::chunk_place<tile.k>(place, chunk), from, inside);
        }
    };
    const auto copy_filters = [&](int stage, int step) {
        T* const to = filters + stage * taps * tile.n * tile.k;
        for (int i = thread; i < taps * tile.n * chunks; i += threads) {
            const int row = i / chunks, chunk = i % chunks, tap = row / tile.n, k = first_filter + row % tile.n;
            const int c = step * tile.k + chunk * 8;
            const bool inside = k < shape.k && c < shape.c;
            const T* from = inside ? weight + (static_cast<std::int64_t>(k) * taps + tap) * shape.c + c : weight;
            ptx::copy_16(to + detail::chunk_place<tile.k>(row, chunk), from, inside);
        }
    };
    // The filters are constants: the first of them are on the way before the inputs are there.
    copy_filters(0, 0);
    ptx::start_next();
    ptx::wait_for_inputs();
    copy_windows(0, 0);

    const int warp = thread / 32, lane = thread % 32;
    int pixels[mi];
#pragma unroll
    for (int i = 0; i < mi; ++i) {
        const int first = (warp * mi + i) * 16;  // of the block's pixels, row by row
        pixels[i] = first / tile.w * columns + first % tile.w + lane % 16;
    }
    float sums[mi][ni][4] = {};
    for (int step = 0; step < steps; ++step) {
        const int stage = step % tile.stages;
        ptx::end_copies();
        if constexpr (tile.stages == 2) {
            if (step + 1 < steps) copy_filters(1 - stage, step + 1), copy_windows(1 - stage, step + 1);
            ptx::end_copies();
        }
        ptx::wait_for_copies<tile.stages - 1>();
        __syncthreads();
        const T* const from = windows + stage * rows * columns * tile.k;
        const T* const by = filters + stage * taps * tile.n * tile.k;
        for (int r = 0, tap = 0; r < shape.r; ++r) {
            for (int s = 0; s < shape.s; ++s, ++tap) {
                const int shift = r * shape.dilation_h * columns + s * shape.dilation_w;
                detail::multiply_tap<T, tile, mi, ni>(from, pixels, shift, by, tap * tile.n, lane, sums);
            }
        }
        __syncthreads();  // the buffers are read
        if constexpr (tile.stages == 1) {
            if (step + 1 < steps) copy_filters(0, step + 1), copy_windows(0, step + 1);
        }
    }

    // The sums change hands in shared memory, so that a thread finishes and stores neighbouring filters of a pixel.
    float* const tile_sums = reinterpret_cast<float*>(memory);
    detail::put_sums<tile.sum_pitch()>(tile_sums, warp * (mi * 16), 0, lane, sums);
    __syncthreads();
    constexpr int vectors = tile.n / tile.v;
    for (int item = thread; item < tile.h * tile.w * vectors; item += threads) {
        const int row = item / vectors, column = item % vectors * tile.v;
        const int h = first_h + row / tile.w, w = first_w + row % tile.w, k = first_filter + column;
        if (h >= shape.oh || w >= shape.ow || k >= shape.k) continue;
        const float* const here = tile_sums + row * tile.sum_pitch() + column;
        float acc[tile.v];
#pragma unroll
        for (int v = 0; v < tile.v; ++v) acc[v] = here[v];
        detail::store_filters<tile>(shape, (n * shape.oh + h) * shape.ow + w, k, acc, y, epilogue);
    }
#endif
}

}  // namespace cnngen
