// Reduction over the pixels of an NHWC tensor: [N, H, W, C] to [N, C], in float, in a fixed order: the same input gives
// the same bits. Global average pooling and squeeze-and-excitation start here.
#pragma once

#include <cstdint>

#include "functions.cuh"
#include "window.cuh"

namespace cnngen {

enum class Reduction { mean, sum, max, min };

// One image's geometry.
struct ReduceShape {
    int c, h, w;
};

// One block's work: all pixels of groups * v neighbouring channels of one image. `groups` (a power of two up to 32)
// threads stand side by side over the channels, `pixels` of such rows share the pixels between them.
struct ReduceTile {
    int v;
    int groups;
    int pixels;

    __host__ __device__ constexpr int threads() const { return groups * pixels; }
};

// The grid: blocks of tile.threads() threads.
__host__ __device__ constexpr unsigned blocks(const ReduceShape& shape, const ReduceTile& tile, int batch) {
    return static_cast<unsigned>(batch) * static_cast<unsigned>(detail::ceil_div(shape.c / tile.v, tile.groups));
}

// A tile for tensors of T: full 128-byte lines where there are blocks enough for every multiprocessor, else more blocks
// and more threads in each.
template <typename T>
__host__ __device__ constexpr ReduceTile reduce_tile(const ReduceShape& shape, int batch) {
    constexpr unsigned enough = 128;
    ReduceTile tile = {.v = vector_width<T>(shape.c), .groups = 1, .pixels = 1};
    const int channel_vectors = shape.c / tile.v;
    while (tile.groups < 32 && tile.groups < channel_vectors && tile.groups * tile.v * int{sizeof(T)} < 128) {
        tile.groups *= 2;
    }
    while (tile.groups > 1 && tile.groups * tile.v * int{sizeof(T)} > 32 && blocks(shape, tile, batch) < enough) {
        tile.groups /= 2;
    }
    if (blocks(shape, tile, batch) < enough / 8 && tile.groups > 1) tile.groups = 1;
    const int most = blocks(shape, tile, batch) < enough ? 1024 : 256;
    // Four pixels a thread are loads enough in flight; fewer threads would wait, more would idle.
    const int wanted = detail::ceil_div(shape.h * shape.w, 4);
    const int least = 32 / tile.groups > tile.v ? 32 / tile.groups : tile.v;
    tile.pixels = least;
    while (tile.pixels < wanted && 2 * tile.groups * tile.pixels <= most) tile.pixels *= 2;
    return tile;
}

namespace detail {

template <Reduction op>
__host__ __device__ constexpr float identity_of() {
    return op == Reduction::max ? -INFINITY : (op == Reduction::min ? INFINITY : 0.0f);
}

template <Reduction op>
__device__ __forceinline__ float combine(float a, float b) {
    if constexpr (op == Reduction::max) return fn::max(a, b);
    if constexpr (op == Reduction::min) return fn::min(a, b);
    return a + b;
}

}  // namespace detail

// y[n, c] = epilogue(op over all h, w of x[n, h, w, c]); the epilogue is called with h = w = 0.
//
// x: [batch, shape.h, shape.w, shape.c]; y: [batch, shape.c].
// Launch: blocks(shape, tile, batch) blocks of exactly tile.threads() threads.
template <typename T, ReduceTile tile, ReduceShape shape, Reduction op, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void reduce(int batch, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    constexpr int threads = tile.threads();
    constexpr int warps = threads / 32;
    constexpr int channel_vectors = shape.c / tile.v;
    constexpr int group_blocks = detail::ceil_div(channel_vectors, tile.groups);
    constexpr int image_pixels = shape.h * shape.w;
    constexpr int steps = detail::ceil_div(image_pixels, tile.pixels);
    static_assert(shape.c % tile.v == 0, "tile.v must divide the channels");
    static_assert(tile.groups > 0 && tile.groups <= 32 && (tile.groups & (tile.groups - 1)) == 0);
    static_assert(threads % 32 == 0 && threads <= 1024);
    static_assert(warps == 1 || tile.pixels >= tile.v, "too few threads for the last step");
    static_assert(static_cast<std::int64_t>(image_pixels) * shape.c < (std::int64_t{1} << 31),
                  "one image must have fewer than 2^31 elements");

    const int n = static_cast<int>(blockIdx.x / group_blocks);
    if (n >= batch) return;  // the whole block, so that no barrier waits for it
    const int thread = static_cast<int>(threadIdx.x);
    const int group = static_cast<int>(blockIdx.x % group_blocks) * tile.groups + thread % tile.groups;
    const bool owns_channels = group < channel_vectors;

    float acc[tile.v];
#pragma unroll
    for (int v = 0; v < tile.v; ++v) acc[v] = detail::identity_of<op>();
    const T* column = x + static_cast<std::int64_t>(n) * (image_pixels * shape.c) + group * tile.v;
#pragma unroll(steps <= 16 ? steps : 8)
    for (int step = 0; step < steps; ++step) {
        const int pixel = thread / tile.groups + step * tile.pixels;
        Vec<T, tile.v> input = splat<T, tile.v>(detail::identity_of<op>());
        if (owns_channels && pixel < image_pixels) input = load_readonly<tile.v>(column + pixel * shape.c);
        float value[tile.v];
        to_float(input, value);
#pragma unroll
        for (int v = 0; v < tile.v; ++v) acc[v] = detail::combine<op>(acc[v], value[v]);
    }

    // Lanes `groups` apart hold the same channels.
#pragma unroll
    for (int offset = 16; offset >= tile.groups; offset /= 2) {
#pragma unroll
        for (int v = 0; v < tile.v; ++v) {
            acc[v] = detail::combine<op>(acc[v], __shfl_xor_sync(0xffffffffu, acc[v], offset));
        }
    }
    if constexpr (warps > 1) {
        // One thread a channel adds the warps' results, in the order of the warps.
        constexpr int channels = tile.groups * tile.v;
        __shared__ float partial[warps][channels];
        __shared__ float total[channels];
        if (thread % 32 < tile.groups) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) partial[thread / 32][thread % 32 * tile.v + v] = acc[v];
        }
        __syncthreads();
        if (thread < channels) {
            float sum = partial[0][thread];
#pragma unroll
            for (int warp = 1; warp < warps; ++warp) sum = detail::combine<op>(sum, partial[warp][thread]);
            total[thread] = sum;
        }
        __syncthreads();
        if (thread < tile.groups) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) acc[v] = total[thread * tile.v + v];
        }
    }
    if (thread < tile.groups && owns_channels) {
        if constexpr (op == Reduction::mean) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) acc[v] *= 1.0f / static_cast<float>(image_pixels);
        }
        epilogue(acc, n, group * tile.v, 0, 0);
        store(y + static_cast<std::int64_t>(n) * shape.c + group * tile.v, from_float<Y>(acc));
    }
}

}  // namespace cnngen
