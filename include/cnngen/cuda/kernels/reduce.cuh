// Reductions in float, in a fixed order: the same input gives the same bits. Over an axis outside of others, such as
// the pixels of an NHWC tensor (global average pooling, squeeze-and-excitation, instance norm), and over the innermost
// axis.
#pragma once

#include <cstdint>

#include "functions.cuh"
#include "rows.cuh"
#include "window.cuh"

namespace cnngen {

enum class Reduction { mean, sum, max, min, prod, sum_squares, variance };

// `count` values are reduced, each with `c` neighbours: the pixels of an NHWC image and its channels.
struct ReduceShape {
    int c, count;
};

// One block's work: all values (pixels) of groups * v neighbours (channels) of one image. `groups` (a power of two up
// to 32) threads stand side by side over the channels, `pixels` of such rows share the pixels between them.
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
    const int wanted = detail::ceil_div(shape.count, 4);
    const int least = 32 / tile.groups > tile.v ? 32 / tile.groups : tile.v;
    tile.pixels = least;
    while (tile.pixels < wanted && 2 * tile.groups * tile.pixels <= most) tile.pixels *= 2;
    return tile;
}

namespace detail {

// What a sum is multiplied with.
template <Reduction op>
__host__ __device__ constexpr float scale_of(int count) {
    return op == Reduction::mean || op == Reduction::variance ? 1.0f / static_cast<float>(count) : 1.0f;
}

template <Reduction op>
__host__ __device__ constexpr float identity_of() {
    return op == Reduction::max ? -INFINITY : op == Reduction::min ? INFINITY : op == Reduction::prod ? 1.0f : 0.0f;
}

// The operation on two partial results.
template <Reduction op>
__device__ __forceinline__ float combined(float a, float b) {
    if constexpr (op == Reduction::max) return fn::max(a, b);
    if constexpr (op == Reduction::min) return fn::min(a, b);
    if constexpr (op == Reduction::prod) return a * b;
    return a + b;
}

// What has come of some values so far, for each of V neighbours. No constructor: it may lie in shared memory.
template <Reduction op, int V>
struct Partial {
    float value[V];

    static __device__ __forceinline__ Partial none() {
        Partial p;
#pragma unroll
        for (int v = 0; v < V; ++v) p.value[v] = identity_of<op>();
        return p;
    }
    // Those of N more values that `counts` says.
    template <int N>
    __device__ __forceinline__ void add(const float (&more)[N][V], const bool (&counts)[N]) {
#pragma unroll
        for (int n = 0; n < N; ++n) {
#pragma unroll
            for (int v = 0; v < V; ++v) {
                const float term = op == Reduction::sum_squares ? more[n][v] * more[n][v] : more[n][v];
                value[v] = combined<op>(value[v], counts[n] ? term : identity_of<op>());
            }
        }
    }
    __device__ __forceinline__ void merge(const Partial& other) {
#pragma unroll
        for (int v = 0; v < V; ++v) value[v] = combined<op>(value[v], other.value[v]);
    }
    __device__ __forceinline__ Partial<op, 1> of(int v) const { return {{value[v]}}; }
    __device__ __forceinline__ float result(int v) const { return value[v]; }
};

// Of a variance: mean and squared distances from it. Two such make one as exactly as if all values were read twice
// (Chan's formula), and are read once.
template <int V>
struct Partial<Reduction::variance, V> {
    float count;
    float mean[V], squares[V];

    static __device__ __forceinline__ Partial none() {
        Partial p;
        p.count = 0.0f;
#pragma unroll
        for (int v = 0; v < V; ++v) p.mean[v] = p.squares[v] = 0.0f;
        return p;
    }
    template <int N>
    __device__ __forceinline__ void add(const float (&more)[N][V], const bool (&counts)[N]) {
        Partial p = none();
#pragma unroll
        for (int n = 0; n < N; ++n) p.count += counts[n] ? 1.0f : 0.0f;
        const float share = fn::quotient(1.0f, p.count > 0.0f ? p.count : 1.0f);
#pragma unroll
        for (int v = 0; v < V; ++v) {
#pragma unroll
            for (int n = 0; n < N; ++n) p.mean[v] += counts[n] ? more[n][v] : 0.0f;
            p.mean[v] *= share;
#pragma unroll
            for (int n = 0; n < N; ++n) {
                const float distance = more[n][v] - p.mean[v];
                p.squares[v] += counts[n] ? distance * distance : 0.0f;
            }
        }
        merge(p);
    }
    __device__ __forceinline__ void merge(const Partial& other) {
        const float total = count + other.count;
        const float weight = total > 0.0f ? fn::quotient(other.count, total) : 0.0f;
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const float distance = other.mean[v] - mean[v];
            mean[v] += distance * weight;
            squares[v] += other.squares[v] + distance * distance * (count * weight);
        }
        count = total;
    }
    __device__ __forceinline__ Partial<Reduction::variance, 1> of(int v) const {
        return {count, {mean[v]}, {squares[v]}};
    }
    __device__ __forceinline__ float result(int v) const { return squares[v]; }
};

// What the lane `offset` apart has.
template <Reduction op, int V>
__device__ __forceinline__ Partial<op, V> exchanged(const Partial<op, V>& mine, int offset) {
    static_assert(sizeof(mine) % sizeof(float) == 0);
    struct Words {
        float word[sizeof(mine) / sizeof(float)];
    };
    Words words = bits_as<Words>(mine);
#pragma unroll
    for (float& word : words.word) word = exchanged(word, offset);
    return bits_as<Partial<op, V>>(words);
}

// Loads at once: a variance needs their values twice, and a thread of a large block has few registers for them.
template <Reduction op>
__host__ __device__ constexpr int batch_of(int threads) {
    return op == Reduction::variance && threads > 256 ? 4 : 8;
}

// The values that a thread of a block has of its channels.
template <typename T, ReduceTile tile, ReduceShape shape, Reduction op>
__device__ __forceinline__ Partial<op, tile.v> reduce_column(const T* column) {
    auto partial = Partial<op, tile.v>::none();
    const int first = static_cast<int>(threadIdx.x) / tile.groups;
    constexpr int steps = ceil_div(shape.count, tile.pixels), certain = shape.count / tile.pixels;
    in_batches<steps, certain, batch_of<op>(tile.threads())>([&]<int N, bool checked>(int step) {
        Vec<T, tile.v> input[N];
        bool inside[N];
#pragma unroll
        for (int n = 0; n < N; ++n) {
            const int pixel = first + (step + n) * tile.pixels;
            inside[n] = !checked || pixel < shape.count;
            input[n] = load_if<tile.v>(inside[n], column + pixel * shape.c, 0.0f);
        }
        float value[N][tile.v];
#pragma unroll
        for (int n = 0; n < N; ++n) to_float(input[n], value[n]);
        partial.add(value, inside);
    });
    return partial;
}

// What a block has of its channels: `result` of all threads is that of theirs.
template <ReduceTile tile, Reduction op>
__device__ __forceinline__ void over_block(Partial<op, tile.v> partial, float (&result)[tile.v]) {
    constexpr int warps = tile.threads() / 32;
    const int thread = static_cast<int>(threadIdx.x);
    // Lanes `groups` apart hold the same channels.
#pragma unroll
    for (int offset = 16; offset >= tile.groups; offset /= 2) partial.merge(exchanged(partial, offset));
    if constexpr (warps > 1) {
        // One thread a channel adds the warps' results, in the order of the warps.
        constexpr int channels = tile.groups * tile.v;
        __shared__ Partial<op, 1> partials[warps][channels];
        __shared__ float total[channels];
        if (thread % 32 < tile.groups) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) partials[thread / 32][thread % 32 * tile.v + v] = partial.of(v);
        }
        __syncthreads();
        if (thread < channels) {
            Partial<op, 1> sum = partials[0][thread];
#pragma unroll
            for (int warp = 1; warp < warps; ++warp) sum.merge(partials[warp][thread]);
            total[thread] = sum.result(0);
        }
        __syncthreads();
#pragma unroll
        for (int v = 0; v < tile.v; ++v) result[v] = total[thread % tile.groups * tile.v + v];
    } else {
#pragma unroll
        for (int v = 0; v < tile.v; ++v) result[v] = partial.result(v);
    }
}

}  // namespace detail

// y[n, c] = epilogue(op over all i of x[n, i, c]); the epilogue is called with h = w = 0.
//
// x: [batch, shape.count, shape.c]; y: [batch, shape.c].
// Launch: blocks(shape, tile, batch) blocks of exactly tile.threads() threads.
template <typename T, ReduceTile tile, ReduceShape shape, Reduction op, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void reduce(int batch, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    constexpr int threads = tile.threads();
    constexpr int channel_vectors = shape.c / tile.v;
    constexpr int group_blocks = detail::ceil_div(channel_vectors, tile.groups);
    static_assert(shape.c % tile.v == 0, "tile.v must divide the channels");
    static_assert(tile.groups > 0 && tile.groups <= 32 && (tile.groups & (tile.groups - 1)) == 0);
    static_assert(threads % 32 == 0 && threads <= 1024);
    static_assert(threads == 32 || tile.pixels >= tile.v, "too few threads for the last step");
    static_assert(static_cast<std::int64_t>(shape.count) * shape.c < (std::int64_t{1} << 31),
                  "one image must have fewer than 2^31 elements");

    const int n = static_cast<int>(blockIdx.x / group_blocks);
    if (n >= batch) return;  // the whole block, so that no barrier waits for it
    const int thread = static_cast<int>(threadIdx.x);
    const int group = static_cast<int>(blockIdx.x % group_blocks) * tile.groups + thread % tile.groups;
    // A thread without channels does as the last one with some.
    const int read = group < channel_vectors ? group : channel_vectors - 1;
    const T* column = x + static_cast<std::int64_t>(n) * (shape.count * shape.c) + read * tile.v;
    float acc[tile.v];
    detail::over_block<tile, op>(detail::reduce_column<T, tile, shape, op>(column), acc);
    if (thread < tile.groups && group < channel_vectors) {
        constexpr float scale = detail::scale_of<op>(shape.count);
#pragma unroll
        for (int v = 0; v < tile.v; ++v) acc[v] *= scale;
        epilogue(acc, n, group * tile.v, 0, 0);
        store(y + static_cast<std::int64_t>(n) * shape.c + group * tile.v, from_float<Y>(acc));
    }
}

// y[row] = epilogue(op over all i of x[row, i]); the epilogue is called with n = row and c = h = w = 0.
//
// x: [rows, shape.c]; y: [rows]. Launch: blocks(shape, tile, rows) blocks of exactly tile.threads threads.
template <typename T, RowTile tile, RowShape shape, Reduction op, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void reduce_rows(int rows, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    detail::check_rows<tile, shape>();
    const int lane = static_cast<int>(threadIdx.x) % tile.lanes;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (tile.threads / tile.lanes) +
                             static_cast<int>(threadIdx.x) / tile.lanes;
    const bool active = row < rows;  // idle lanes stay for the shuffles
    const T* from = x + (active ? row : rows - 1) * shape.c;
    constexpr int vectors = shape.c / tile.v;
    auto partial = detail::Partial<op, 1>::none();
    constexpr int steps = detail::ceil_div(vectors, tile.lanes), certain = vectors / tile.lanes;
    detail::in_batches<steps, certain, detail::batch_of<op>(tile.threads)>([&]<int N, bool checked>(int step) {
        Vec<T, tile.v> input[N];
        bool inside[N * tile.v];
#pragma unroll
        for (int n = 0; n < N; ++n) {
            const int vector = (step + n) * tile.lanes + lane;
#pragma unroll
            for (int v = 0; v < tile.v; ++v) inside[n * tile.v + v] = !checked || vector < vectors;
            input[n] = load_if<tile.v>(inside[n * tile.v], from + vector * tile.v, 0.0f);
        }
        float value[N * tile.v][1];
#pragma unroll
        for (int n = 0; n < N; ++n) {
            float part[tile.v];
            to_float(input[n], part);
#pragma unroll
            for (int v = 0; v < tile.v; ++v) value[n * tile.v + v][0] = part[v];
        }
        partial.add(value, inside);
    });
    partial = detail::over_row<tile>(partial, [](auto a, const auto& b) {
        a.merge(b);
        return a;
    });
    if (active && lane == 0) {
        float acc[1] = {partial.result(0) * detail::scale_of<op>(shape.c)};
        epilogue(acc, static_cast<int>(row), 0, 0, 0);
        y[row] = from_float<Y>(acc[0]);
    }
}

}  // namespace cnngen
