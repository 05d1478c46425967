// Convolution on tensor cores, NHWC, 16-bit: a matrix product whose left matrix, a row a pixel of y with the inputs
// that its window covers, is never stored. For what a library starts too slowly or spreads over too few
// multiprocessors: small images, few channels, batch 1.
//
// A block computes tile.m pixels x tile.n filters. Rows of both matrices run along the depth (r, s, c), copied
// asynchronously into tile.stages buffers. Where a tile's depth is shared by the blocks of a cluster, each sums its
// part, and they add the parts in a fixed order: the same input gives the same bits.
#pragma once

#include "gemm_parts.cuh"
#include "softmax.cuh"

namespace cnngen {

// How a block works. m and n are multiples of 16, k of 32 or 64; a warp computes m / warps_m x n / warps_n.
struct GemmTile {
    int m, n;  // of a block: pixels, filters
    int k;     // depth of a step: 32 or 64
    int warps_m, warps_n;
    int stages;
    int split = 1;             // blocks of a cluster that share a tile's depth: 1, 2, 4 or 8
    int v = 8;                 // filters that are finished and stored together; divides them
    bool interleaves = false;  // whether the shape has phases

    __host__ __device__ constexpr int threads() const { return 32 * warps_m * warps_n; }
    // Of the float sums in shared memory: the padding spreads a warp's rows over the banks.
    __host__ __device__ constexpr int sum_pitch() const { return n + 8; }
    // Bytes of dynamic shared memory.
    __host__ __device__ constexpr int shared() const {
        const int copies = stages * (m + n) * k * 2, sums = m * sum_pitch() * 4;
        return copies > sums ? copies : sums;
    }
};

// What becomes of a pixel's filters once each is finished.
enum class Filters { apart, softmax, log_softmax };

// The grid: blocks of tile.threads() threads, in clusters of tile.split, with tile.shared() bytes.
__host__ __device__ constexpr unsigned blocks(const GemmShape& shape, const GemmTile& tile, int batch) {
    return static_cast<unsigned>(detail::ceil_div(batch * shape.oh * shape.ow, tile.m) *
                                 detail::ceil_div(shape.k, tile.n) * tile.split);
}

namespace detail {

// Products of one buffer's rows: sums += a b^T.
template <typename T, GemmTile tile, int mi, int ni>
__device__ __forceinline__ void multiply_step(const T* a, const T* b, int warp_m, int warp_n, int lane,
                                              float (&sums)[mi][ni][4]) {
#pragma unroll
    for (int depth = 0; depth < tile.k; depth += 16) {
        std::uint32_t left[mi][4];
        std::uint32_t right[ni][2];
#pragma unroll
        for (int i = 0; i < mi; ++i) {
            const int row = warp_m * (mi * 16) + i * 16 + lane % 16;
            ptx::load_matrices(left[i], a + chunk_place<tile.k>(row, depth / 8 + lane / 16));
        }
#pragma unroll
        for (int j = 0; j < ni; j += 2) {
            const int row = warp_n * (ni * 8) + j * 8 + lane % 8 + lane / 16 * 8;
            std::uint32_t both[4];
            ptx::load_matrices(both, b + chunk_place<tile.k>(row, depth / 8 + lane / 8 % 2));
            right[j][0] = both[0], right[j][1] = both[1];
            right[j + 1][0] = both[2], right[j + 1][1] = both[3];
        }
#pragma unroll
        for (int i = 0; i < mi; ++i) {
#pragma unroll
            for (int j = 0; j < ni; ++j) ptx::multiply<T>(sums[i][j], left[i], right[j]);
        }
    }
}

// The sums of tile.v filters of a pixel, over all blocks that share the tile's depth.
template <GemmTile tile>
__device__ __forceinline__ void sum_up(const float* tile_sums, int row, int column, float (&acc)[tile.v]) {
    const float* const here = tile_sums + row * tile.sum_pitch() + column;
    if constexpr (tile.split == 1) {
#pragma unroll
        for (int v = 0; v < tile.v; ++v) acc[v] = here[v];
    } else {
#pragma unroll
        for (int v = 0; v < tile.v; ++v) acc[v] = 0.0f;
        for (int block = 0; block < tile.split; ++block) {
#pragma unroll
            for (int v = 0; v < tile.v; v += 4) {
                const float4 four = ptx::load_from_block(here + v, block);
                const float values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
                for (int lane_v = 0; lane_v < 4 && lane_v < tile.v; ++lane_v) acc[v + lane_v] += values[lane_v];
            }
        }
    }
}

// Finishes this block's pixels, of which as few lanes of a warp as have eight filters each hold one, and stores the
// softmax along all its filters.
template <GemmTile tile, bool log, typename Y, typename Epilogue>
__device__ __forceinline__ void store_softmax(const GemmShape& shape, const float* tile_sums, int part, int first_pixel,
                                              int pixels, Y* y, const Epilogue& epilogue) {
    constexpr int rows = tile.m / tile.split;
    constexpr RowTile of_pixel = {.v = tile.v, .lanes = tile.n / 8, .threads = tile.threads()};
    constexpr int steps = tile.n / (tile.v * of_pixel.lanes), at_once = of_pixel.threads / of_pixel.lanes;
    static_assert(!tile.interleaves, "the filters of a pixel are not neighbours");
    static_assert((of_pixel.lanes & (of_pixel.lanes - 1)) == 0 && of_pixel.lanes <= 32, "lanes are of one warp");
    const int thread = static_cast<int>(threadIdx.x);
    for (int first = 0; first < rows; first += at_once) {
        const int row = part * rows + first + thread / of_pixel.lanes;
        const int pixel = first_pixel + row;
        const bool active = row < (part + 1) * rows && pixel < pixels;  // idle lanes stay for the shuffles
        const auto column = [&](int step) { return (step * of_pixel.lanes + thread % of_pixel.lanes) * tile.v; };
        float value[steps][tile.v];
#pragma unroll
        for (int step = 0; step < steps; ++step) {
            if (active && column(step) < shape.k) {
                sum_up<tile>(tile_sums, row, column(step), value[step]);
                finish_filters<tile>(shape, pixel, shape.k, column(step), value[step], epilogue);
            } else {
#pragma unroll
                for (int v = 0; v < tile.v; ++v) value[step][v] = -INFINITY;
            }
        }
        to_softmax<of_pixel, log>(value);
#pragma unroll
        for (int step = 0; step < steps; ++step) {
            if (!active || column(step) >= shape.k) continue;
            store(y + static_cast<std::int64_t>(pixel) * shape.y_pixel + column(step), from_float<Y>(value[step]));
        }
    }
}

}  // namespace detail

// y[n, h, w, k] = epilogue(sum over r, s, c of x[n, h * stride - pad + r * dilation, ..., c] * weight[k, r, s, c])
//
// x: [batch, shape.h, shape.w, shape.x_pixel] of which c channels count; weight: [shape.k, shape.r, shape.s, shape.c];
// y: [batch, shape.y_h, shape.y_w, shape.y_pixel]. Sums in float. All addresses and pixels are 16-byte aligned, y's to
// tile.v elements. The epilogue is called as NoEpilogue says, or where it takes (acc, at, k), with `at` the place in a
// packed tensor of y's shape. Of phases each filter's sum is stored at its phase's pixel, if y has that pixel. A
// softmax is along all filters of a pixel, of which there are no more than tile.n, and no phases.
//
// Launch: blocks(shape, tile, batch) blocks of exactly tile.threads() threads, clusters of tile.split.
template <typename T, GemmTile tile, Filters filters_are = Filters::apart, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void implicit_gemm(int batch, const GemmShape& shape, const T* x, const T* weight, Y* y,
                                              const Epilogue& epilogue = Epilogue()) {
    constexpr int threads = tile.threads();
    constexpr int chunks = tile.k / 8;
    constexpr int rows_at_once = threads / chunks;
    constexpr int a_rows = tile.m / rows_at_once, b_rows = tile.n / rows_at_once;
    constexpr int mi = tile.m / tile.warps_m / 16, ni = tile.n / tile.warps_n / 8;
    static_assert(sizeof(T) == 2, "tensor cores take 16-bit elements here");
    static_assert(tile.k == 32 || tile.k == 64);
    static_assert(tile.m % rows_at_once == 0 && tile.n % rows_at_once == 0, "threads must divide the rows");
    static_assert(mi * tile.warps_m * 16 == tile.m && ni * tile.warps_n * 8 == tile.n && ni % 2 == 0);
    static_assert(tile.split <= 8 && tile.m % tile.split == 0 && tile.n % tile.v == 0 && tile.stages >= 2);
    static_assert(tile.split == 1 || tile.v % 4 == 0, "the blocks of a cluster read each other's sums four at a time");
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    __trap();  // a network with this kernel does not start on such a GPU
#else
    unsigned char* const memory = ptx::dynamic_shared();
    T* const a_buffers = reinterpret_cast<T*>(memory);
    T* const b_buffers = a_buffers + tile.stages * tile.m * tile.k;
    const int thread = static_cast<int>(threadIdx.x);
    const int pixels = batch * shape.oh * shape.ow;
    const int part = tile.split > 1 ? ptx::block_in_cluster() : 0;
    const int number = static_cast<int>(blockIdx.x) / tile.split;
    const int m_tiles = detail::ceil_div(pixels, tile.m);
    const int first_pixel = number % m_tiles * tile.m;
    const int first_filter = number / m_tiles * tile.n;

    // This block's part of the depth, in steps of tile.k.
    const int depth = shape.r * shape.s * shape.c;
    const int all_steps = detail::ceil_div(depth, tile.k);
    const int share = detail::ceil_div(all_steps, tile.split);
    const int first_step = part * share;
    const int left = all_steps - first_step;
    const int steps = left < 0 ? 0 : left < share ? left : share;

    // This thread copies one chunk of several rows in every step: of the pixels' windows ...
    const int chunk = thread % chunks, first_row = thread / chunks;
    int at = first_step * tile.k + chunk * 8;  // along the depth
    int c = at % shape.c, tap_s = at / shape.c % shape.s, tap_r = at / shape.c / shape.s;
    const T* images[a_rows];
    int tops[a_rows], sides[a_rows];
#pragma unroll
    for (int i = 0; i < a_rows; ++i) {
        const int pixel = first_pixel + first_row + i * rows_at_once;
        const int n = pixel / (shape.oh * shape.ow), place = pixel - n * (shape.oh * shape.ow);
        const int h = place / shape.ow, w = place - h * shape.ow;
        images[i] = x + static_cast<std::int64_t>(n) * (shape.h * shape.w) * shape.x_pixel;
        // Beyond the last pixel every window lies outside.
        tops[i] = pixel < pixels ? h * shape.stride_h - shape.pad_top : -(1 << 28);
        sides[i] = w * shape.stride_w - shape.pad_left;
    }
    const auto copy_pixels = [&](int stage) {
        T* const to = a_buffers + stage * (tile.m * tile.k);
#pragma unroll
        for (int i = 0; i < a_rows; ++i) {
            const int h = tops[i] + tap_r * shape.dilation_h, w = sides[i] + tap_s * shape.dilation_w;
            const bool inside = tap_r < shape.r && static_cast<unsigned>(h) < static_cast<unsigned>(shape.h) &&
                                static_cast<unsigned>(w) < static_cast<unsigned>(shape.w);
            const T* from = inside ? images[i] + ((h * shape.w + w) * shape.x_pixel + c) : x;
            ptx::copy_16(to + detail::chunk_place<tile.k>(first_row + i * rows_at_once, chunk), from, inside);
        }
        c += tile.k;
        while (c >= shape.c) {
            c -= shape.c;
            if (++tap_s == shape.s) tap_s = 0, ++tap_r;
        }
    };
    // ... and of the filters.
    const T* const filters = weight + static_cast<std::int64_t>(first_filter + first_row) * depth;
    const auto copy_filters = [&](int stage, int step) {
        T* const to = b_buffers + stage * (tile.n * tile.k);
        const int place = (first_step + step) * tile.k + chunk * 8;
#pragma unroll
        for (int j = 0; j < b_rows; ++j) {
            const int row = first_row + j * rows_at_once;
            const bool inside = place < depth && first_filter + row < shape.k;
            const T* from = inside ? filters + static_cast<std::int64_t>(j * rows_at_once) * depth + place : weight;
            ptx::copy_16(to + detail::chunk_place<tile.k>(row, chunk), from, inside);
        }
    };

    // The filters are constants: their first buffers are on the way before the inputs are there.
#pragma unroll
    for (int stage = 0; stage < tile.stages - 1; ++stage) {
        if (stage < steps) copy_filters(stage, stage);
    }
    ptx::start_next();
    ptx::wait_for_inputs();
#pragma unroll
    for (int stage = 0; stage < tile.stages - 1; ++stage) {
        if (stage < steps) copy_pixels(stage);
        ptx::end_copies();
    }

    const int warp = thread / 32, lane = thread % 32;
    const int warp_m = warp % tile.warps_m, warp_n = warp / tile.warps_m;
    float sums[mi][ni][4] = {};
    int stage = 0, next_stage = tile.stages - 1;
    for (int step = 0; step < steps; ++step) {
        ptx::wait_for_copies<tile.stages - 2>();
        __syncthreads();  // this step's buffers are filled, and those of the step before are read
        const int next = step + tile.stages - 1;
        if (next < steps) {
            copy_filters(next_stage, next);
            copy_pixels(next_stage);
        }
        ptx::end_copies();
        detail::multiply_step<T, tile, mi, ni>(a_buffers + stage * (tile.m * tile.k),
                                               b_buffers + stage * (tile.n * tile.k), warp_m, warp_n, lane, sums);
        stage = stage + 1 == tile.stages ? 0 : stage + 1;
        next_stage = next_stage + 1 == tile.stages ? 0 : next_stage + 1;
    }
    ptx::wait_for_copies<0>();
    __syncthreads();

    // The sums change hands in shared memory, so that a thread finishes and stores neighbouring filters of a pixel.
    float* const tile_sums = reinterpret_cast<float*>(memory);
    detail::put_sums<tile.sum_pitch()>(tile_sums, warp_m * (mi * 16), warp_n * (ni * 8), lane, sums);
    if constexpr (tile.split > 1) {
        ptx::wait_for_cluster();
    } else {
        __syncthreads();
    }
    if constexpr (filters_are == Filters::apart) {
        constexpr int rows = tile.m / tile.split, vectors = tile.n / tile.v;
        for (int item = thread; item < rows * vectors; item += threads) {
            const int row = part * rows + item / vectors, column = item % vectors * tile.v;
            const int pixel = first_pixel + row, k = first_filter + column;
            if (pixel >= pixels || k >= shape.k) continue;
            float acc[tile.v];
            detail::sum_up<tile>(tile_sums, row, column, acc);
            detail::store_filters<tile>(shape, pixel, k, acc, y, epilogue);
        }
    } else {
        constexpr bool log = filters_are == Filters::log_softmax;
        detail::store_softmax<tile, log>(shape, tile_sums, part, first_pixel, pixels, y, epilogue);
    }
    // A block's sums stay until the others have read them.
    if constexpr (tile.split > 1) ptx::wait_for_cluster();
#endif
}

}  // namespace cnngen
