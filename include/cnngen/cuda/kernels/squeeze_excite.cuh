// Squeeze and excitation in one kernel: from a map the gate of each channel, W2 hidden(W1 mean), or the map times its
// gates, in float. Sums are in a fixed order: the same input gives the same bits.
//
// The blocks of a cluster share an image. Each sums the pixels of its part, and multiplies these sums by its columns of
// W1. That is linear, so that the parts' products add up to the hidden units, and all that the blocks exchange is one
// number a unit.
#pragma once

#include <cstdint>

#include "early_start.cuh"
#include "rows.cuh"
#include "tensor_core.cuh"

namespace cnngen {

// `pixels` of c channels an image, and the units between the two products.
struct SqueezeExciteShape {
    int c, hidden, pixels;
    int width = 1;  // of an image, for an epilogue that asks for a pixel's row and column
};

// A thread reads v channels at once. A cluster cuts the channels into `slices`, and the pixels of each slice into
// cluster / slices parts, one a block.
struct SqueezeExciteTile {
    int v;
    int threads;
    int cluster = 1;  // 1, 2, 4 or 8; more than one need compute capability 9.0
    int slices = 1;   // divides cluster
    int keeps = 0;    // 1: squeeze_excite_scale keeps a block's part of the map in shared memory for its second look
};

// The grid: blocks of tile.threads threads, in clusters of tile.cluster, with shared_bytes<T>(shape, tile).
__host__ __device__ constexpr unsigned blocks(const SqueezeExciteShape&, const SqueezeExciteTile& tile, int batch) {
    return static_cast<unsigned>(batch) * static_cast<unsigned>(tile.cluster);
}

namespace detail {

// How a block works, and where in shared memory its numbers lie: each begins at 16 bytes.
struct SqueezeExciteLayout {
    int vectors;                          // of v channels, in all
    int slice, parts;                     // vectors of a slice, and blocks that share it
    int gates;                            // vectors of the slice for which a block makes the gates
    int columns, rows;                    // threads side by side over vectors, and over pixels
    int means, partial, hidden, weights;  // after the sums of each row of threads: offsets in floats

    __host__ __device__ constexpr SqueezeExciteLayout(const SqueezeExciteShape& shape, const SqueezeExciteTile& tile,
                                                      bool scales)
        : vectors(shape.c / tile.v),
          slice(ceil_div(vectors, tile.slices)),
          parts(tile.cluster / tile.slices),
          gates(scales ? slice : ceil_div(slice, parts)),  // a block that scales needs those of all its pixels
          columns(slice < tile.threads ? slice : tile.threads),
          rows(tile.threads / columns),
          means(in_fours(rows * columns * tile.v)),
          partial(means + in_fours(slice * tile.v)),
          hidden(partial + in_fours(shape.hidden)),
          weights(hidden + in_fours(shape.hidden)) {}

    static __host__ __device__ constexpr int in_fours(int count) { return ceil_div(count, 4) * 4; }
    // Bytes with a block's part of both matrices.
    __host__ __device__ constexpr int with_weights(const SqueezeExciteShape& shape, int v, int item) const {
        return weights * 4 + (slice + gates) * v * shape.hidden * item;
    }
    // Vectors that a thread reads of the map, in `turns` over the vectors: of `steps` pixels, so many loads at once.
    __host__ __device__ constexpr int turns() const { return ceil_div(slice, columns); }
    __host__ __device__ constexpr int steps(const SqueezeExciteShape& shape) const {
        return ceil_div(ceil_div(shape.pixels, parts), rows);
    }
    __host__ __device__ constexpr int at_once(const SqueezeExciteShape& shape) const {
        return ceil_div(steps(shape), ceil_div(steps(shape), 8));
    }
    __host__ __device__ constexpr int kept(const SqueezeExciteShape& shape) const {
        return turns() * ceil_div(steps(shape), at_once(shape)) * at_once(shape);
    }
    // Where the map begins, in bytes.
    __host__ __device__ constexpr int map(const SqueezeExciteShape& shape, int v, int item) const {
        const int bytes = copies_weights(shape, v, item) ? with_weights(shape, v, item) : weights * 4;
        return ceil_div(bytes, 16) * 16;
    }
    // Whether they fit what every GPU gives; else they are read where they lie.
    __host__ __device__ constexpr bool copies_weights(const SqueezeExciteShape& shape, int v, int item) const {
        return with_weights(shape, v, item) <= (48 << 10);
    }
};

}  // namespace detail

// Bytes of dynamic shared memory for maps and weights of T. `scales`: for squeeze_excite_scale.
template <typename T>
__host__ __device__ constexpr unsigned shared_bytes(const SqueezeExciteShape& shape, const SqueezeExciteTile& tile,
                                                    bool scales = false) {
    const detail::SqueezeExciteLayout layout(shape, tile, scales);
    constexpr int item = sizeof(T);
    const bool copies = layout.copies_weights(shape, tile.v, item);
    if (scales && tile.keeps) {
        return static_cast<unsigned>(layout.map(shape, tile.v, item) +
                                     layout.kept(shape) * tile.threads * tile.v * item);
    }
    return static_cast<unsigned>(copies ? layout.with_weights(shape, tile.v, item) : layout.weights * 4);
}

// The function that leaves a sum as it is.
struct SumAsItIs {
    __device__ __forceinline__ auto operator()(int, int) const {
        return [](float (&)[1]) {};
    }
};

namespace detail {

// Starts the copy of V constants into shared memory; an ordinary one where it is not of 16 bytes, or the GPU has none
// that is asynchronous.
template <int V, typename T>
__device__ __forceinline__ void start_copy(T* to_shared, const T* from) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    if constexpr (sizeof(T) * V == 16) return ptx::copy_16(to_shared, from, true);
#endif
    *reinterpret_cast<Vec<T, V>*>(to_shared) = load<V>(from);
}

__device__ __forceinline__ void end_copies() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    ptx::end_copies();
    ptx::wait_for_copies<0>();
#endif
}

// A block's part of an image.
struct SqueezeExcitePart {
    int n;
    int first, own;         // vectors of channels
    int first_gate, gates;  // those of them that get their gates here
    int first_pixel, pixels;
};

template <SqueezeExciteTile tile, SqueezeExciteShape shape, bool scales>
__device__ __forceinline__ SqueezeExcitePart part_of_image() {
    constexpr SqueezeExciteLayout layout(shape, tile, scales);
    constexpr int part_pixels = ceil_div(shape.pixels, layout.parts);
    const int block = tile.cluster > 1 ? ptx::block_in_cluster() : 0;
    const int part = block / tile.slices;
    SqueezeExcitePart at;
    at.n = static_cast<int>(blockIdx.x) / tile.cluster;
    at.first = block % tile.slices * layout.slice;
    at.own = at.first < layout.vectors ? least(layout.slice, layout.vectors - at.first) : 0;
    at.first_gate = scales ? 0 : least(part * layout.gates, at.own);
    at.gates = least(layout.gates, at.own - at.first_gate);
    at.first_pixel = part * part_pixels;
    at.pixels = least(part_pixels, shape.pixels - at.first_pixel);
    return at;
}

// What a thread reads of the map: nothing is kept of it, it is kept, or it is what was kept.
enum class Look { once, first, again };

// visit(pixel, value) for each pixel of a block's part that is this thread's, in the vector of channels that it has in
// a turn. The threads that stand side by side over the vectors take turns at the pixels.
template <typename T, SqueezeExciteTile tile, SqueezeExciteShape shape, Look look, typename Visit>
__device__ __forceinline__ void visit_pixels(const T* x, const SqueezeExcitePart& at, int turn, Vec<T, tile.v>* kept,
                                             const Visit& visit) {
    constexpr SqueezeExciteLayout layout(shape, tile, false);
    constexpr int steps = layout.steps(shape), at_once = layout.at_once(shape);
    const int thread = static_cast<int>(threadIdx.x);
    const int row = thread / layout.columns, vector = turn * layout.columns + thread % layout.columns;
    if (row >= layout.rows || vector >= at.own || at.pixels <= 0) return;
    const T* const image = x + static_cast<std::int64_t>(at.n) * (shape.pixels * shape.c);
    kept += turn * (layout.kept(shape) / layout.turns()) * tile.threads + thread;
    for (int step = 0; step < steps; step += at_once) {
        Vec<T, tile.v> input[at_once];
#pragma unroll
        for (int i = 0; i < at_once; ++i) {
            if constexpr (look == Look::again) {
                input[i] = kept[(step + i) * tile.threads];
            } else {
                // Beyond the last pixel that one again: loads without a condition go out together.
                const int pixel = at.first_pixel + least(row + (step + i) * layout.rows, at.pixels - 1);
                input[i] = load<tile.v>(image + pixel * shape.c + (at.first + vector) * tile.v);
            }
        }
#pragma unroll
        for (int i = 0; i < at_once; ++i) {
            const int pixel = row + (step + i) * layout.rows;
            if constexpr (look == Look::first) kept[(step + i) * tile.threads] = input[i];
            float value[tile.v];
            to_float(input[i], value);
            if (pixel < at.pixels) visit(at.first_pixel + pixel, value);
        }
    }
}

// means[i]: of a channel the sum over the part's pixels, divided by all pixels of the image. One thread a channel adds
// up what the threads have.
template <typename T, SqueezeExciteTile tile, SqueezeExciteShape shape, Look look>
__device__ __forceinline__ void add_pixels(const T* x, const SqueezeExcitePart& at, float* sums, float* means,
                                           Vec<T, tile.v>* kept) {
    constexpr SqueezeExciteLayout layout(shape, tile, false);
    constexpr int width = layout.columns * tile.v;
    const int thread = static_cast<int>(threadIdx.x);
    for (int turn = 0; turn < layout.slice; turn += layout.columns) {
        float acc[tile.v] = {};
        visit_pixels<T, tile, shape, look>(x, at, turn / layout.columns, kept, [&](int, const float (&value)[tile.v]) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) acc[v] += value[v];
        });
        if (turn > 0) __syncthreads();  // the sums before these have been read
        if (thread < layout.rows * layout.columns) {
#pragma unroll
            for (int v = 0; v < tile.v; ++v) sums[thread * tile.v + v] = acc[v];
        }
        __syncthreads();
        for (int c = thread; c < width && turn * tile.v + c < at.own * tile.v; c += tile.threads) {
            float sum = sums[c];
#pragma unroll 4
            for (int i = 1; i < layout.rows; ++i) sum += sums[i * width + c];
            means[turn * tile.v + c] = sum * (1.0f / static_cast<float>(shape.pixels));
        }
    }
}

// Lanes of a warp that share a row of so many vectors: a power of two.
__host__ __device__ constexpr int lanes_over(int vectors) {
    int lanes = 1;
    while (lanes < 32 && lanes < vectors) lanes *= 2;
    return lanes;
}

// finish(row)(sum of matrix[row * pitch + i] * vector[i] over i < length), by one thread a row. All threads of the
// block must call.
template <int V, int lanes, int threads, typename T, typename Finish>
__device__ __forceinline__ void multiply_rows(int rows, int length, const T* matrix, int pitch, const float* vector,
                                              const Finish& finish) {
    constexpr RowTile tile = {.v = V, .lanes = lanes, .threads = threads};
    const int lane = static_cast<int>(threadIdx.x) % lanes;
    for (int first = 0; first < rows; first += threads / lanes) {
        const int wanted = first + static_cast<int>(threadIdx.x) / lanes;
        const int row = least(wanted, rows - 1);  // idle lanes stay for the shuffles
        const auto with_sum = finish(row);
        float sum = 0.0f;
#pragma unroll 4
        for (int i = lane * V; i < length; i += lanes * V) {
            float a[V], b[V];
            to_float(load<V>(matrix + row * pitch + i), a);
            to_float(load<V>(vector + i), b);
#pragma unroll
            for (int v = 0; v < V; ++v) sum += a[v] * b[v];
        }
        sum = over_row<tile>(sum, Sum());
        if (wanted < rows && lane == 0) with_sum(sum);
    }
}

// Where a block that scales keeps its part of the map.
template <typename T, SqueezeExciteTile tile, SqueezeExciteShape shape>
__device__ __forceinline__ Vec<T, tile.v>* map_of() {
    constexpr SqueezeExciteLayout layout(shape, tile, true);
    return reinterpret_cast<Vec<T, tile.v>*>(ptx::dynamic_shared() + layout.map(shape, tile.v, sizeof(T)));
}

// finish(c)(sum) of each channel that gets its gate here, c counted from the first of them: all before `epilogue` of
// squeeze_excite. Where there are several blocks, they must wait for each other before they end.
template <typename T, SqueezeExciteTile tile, SqueezeExciteShape shape, bool scales, typename Hidden, typename Finish>
__device__ __forceinline__ void make_gates(const SqueezeExcitePart& at, const T* x, const T* w1, const T* w2,
                                           const Hidden& hidden, const Finish& finish) {
    constexpr SqueezeExciteLayout layout(shape, tile, scales);
    constexpr bool copies = layout.copies_weights(shape, tile.v, sizeof(T));
    static_assert(shape.c % tile.v == 0, "tile.v must divide the channels");
    static_assert(tile.threads % 32 == 0 && tile.threads <= 1024);
    static_assert(tile.cluster <= 8 && tile.cluster % tile.slices == 0);
    static_assert(static_cast<std::int64_t>(shape.pixels) * shape.c < (std::int64_t{1} << 31) &&
                      static_cast<std::int64_t>(shape.hidden) * shape.c < (std::int64_t{1} << 31),
                  "an image and a matrix must have fewer than 2^31 elements");
    float* const sums = reinterpret_cast<float*>(ptx::dynamic_shared());
    float* const means = sums + layout.means;
    float* const partial = sums + layout.partial;
    float* const units = sums + layout.hidden;
    T* const weights = reinterpret_cast<T*>(sums + layout.weights);
    const int thread = static_cast<int>(threadIdx.x);

    // The matrices are constants: they are on the way before the inputs are there.
    const T* rows1 = w1 + at.first * tile.v;
    const T* rows2 = w2 + (at.first + at.first_gate) * tile.v * shape.hidden;
    if constexpr (copies) {
        for (int i = thread; i < at.own * shape.hidden; i += tile.threads) {
            const int m = i / at.own, vector = i - m * at.own;
            start_copy<tile.v>(weights + (m * layout.slice + vector) * tile.v, rows1 + m * shape.c + vector * tile.v);
        }
        T* const to = weights + layout.slice * tile.v * shape.hidden;
        for (int i = thread; i < at.gates * shape.hidden; i += tile.threads) {
            start_copy<tile.v>(to + i * tile.v, rows2 + i * tile.v);
        }
        rows1 = weights;
        rows2 = to;
    }
    ptx::start_next();
    ptx::wait_for_inputs();

    constexpr Look look = scales && tile.keeps ? Look::first : Look::once;
    add_pixels<T, tile, shape, look>(x, at, sums, means, map_of<T, tile, shape>());
    if constexpr (copies) end_copies();
    __syncthreads();

    constexpr int lanes1 = lanes_over(layout.slice);
    constexpr int pitch = copies ? layout.slice * tile.v : shape.c;
    const auto to_partial = [&](int m) { return [=](float sum) { partial[m] = sum; }; };
    multiply_rows<tile.v, lanes1, tile.threads>(shape.hidden, at.own * tile.v, rows1, pitch, means, to_partial);
    if constexpr (tile.cluster > 1) {
        ptx::wait_for_cluster();
    } else {
        __syncthreads();
    }
    for (int m = thread; m < shape.hidden; m += tile.threads) {
        const auto with_sum = hidden(at.n, m);
        float acc[1] = {0.0f};
        if constexpr (tile.cluster > 1) {
#pragma unroll
            for (int block = 0; block < tile.cluster; ++block) acc[0] += ptx::float_from_block(partial + m, block);
        } else {
            acc[0] = partial[m];
        }
        with_sum(acc);
        units[m] = acc[0];
    }
    if constexpr (tile.cluster > 1) ptx::arrive_at_cluster();
    __syncthreads();

    constexpr int v2 = vector_width<T>(shape.hidden);
    constexpr int lanes2 = lanes_over(shape.hidden / v2);
    multiply_rows<v2, lanes2, tile.threads>(at.gates * tile.v, shape.hidden, rows2, shape.hidden, units, finish);
}

}  // namespace detail

// y[n, c] = epilogue(sum over m of w2[c, m] * hidden(sum over c of w1[m, c] * mean of x[n, :, c])).
//
// hidden(n, m) and epilogue(n, c) read their constants, and return what then finishes a sum in place, a float[1]: the
// constants come while the sum is still being made.
// x: [batch, shape.pixels, shape.c]; w1: [shape.hidden, shape.c]; w2: [shape.c, shape.hidden]; y: [batch, shape.c].
// Launch: blocks(shape, tile, batch) blocks of exactly tile.threads threads, clusters of tile.cluster.
template <typename T, SqueezeExciteTile tile, SqueezeExciteShape shape, typename Y, typename Hidden = SumAsItIs,
          typename Epilogue = SumAsItIs>
__device__ __forceinline__ void squeeze_excite(int batch, const T* x, const T* __restrict__ w1,
                                               const T* __restrict__ w2, Y* y, const Hidden& hidden = Hidden(),
                                               const Epilogue& epilogue = Epilogue()) {
    const detail::SqueezeExcitePart at = detail::part_of_image<tile, shape, false>();
    if (at.n >= batch) return begin();  // the whole cluster, so that no barrier waits for it
    const int first_channel = (at.first + at.first_gate) * tile.v;
    Y* const to = y + static_cast<std::int64_t>(at.n) * shape.c + first_channel;
    const auto to_gate = [&](int c) {
        const auto with_sum = epilogue(at.n, first_channel + c);
        return [=](float sum) {
            float acc[1] = {sum};
            with_sum(acc);
            to[c] = from_float<Y>(acc[0]);
        };
    };
    detail::make_gates<T, tile, shape, false>(at, x, w1, w2, hidden, to_gate);
    // A block's sums stay until the others have read them.
    if constexpr (tile.cluster > 1) ptx::wait_for_arrived();
}

// y[n, h, w, c] = epilogue(x[n, h, w, c] * gate(...)), the gate's sum as in squeeze_excite. The map is read twice, the
// second time from shared memory where the tile keeps it, or else where the first has left it. y: as x; `epilogue` as
// NoEpilogue says.
template <typename T, SqueezeExciteTile tile, SqueezeExciteShape shape, typename Y, typename Hidden, typename Gate,
          typename Epilogue = NoEpilogue>
__device__ __forceinline__ void squeeze_excite_scale(int batch, const T* x, const T* __restrict__ w1,
                                                     const T* __restrict__ w2, Y* y, const Hidden& hidden,
                                                     const Gate& gate, const Epilogue& epilogue = Epilogue()) {
    constexpr detail::SqueezeExciteLayout layout(shape, tile, true);
    const detail::SqueezeExcitePart at = detail::part_of_image<tile, shape, true>();
    if (at.n >= batch) return begin();
    float* const gates = reinterpret_cast<float*>(ptx::dynamic_shared()) + layout.means;  // which have been read
    const auto to_gate = [&](int c) {
        const auto with_sum = gate(at.n, at.first * tile.v + c);
        return [=](float sum) {
            float acc[1] = {sum};
            with_sum(acc);
            gates[c] = acc[0];
        };
    };
    detail::make_gates<T, tile, shape, true>(at, x, w1, w2, hidden, to_gate);
    __syncthreads();
    for (int turn = 0; turn < layout.slice; turn += layout.columns) {
        const int vector = turn + static_cast<int>(threadIdx.x) % layout.columns;
        if (vector >= at.own) break;
        constexpr detail::Look look = tile.keeps ? detail::Look::again : detail::Look::once;
        auto* const kept = detail::map_of<T, tile, shape>();
        const int c = (at.first + vector) * tile.v;
        float factor[tile.v];
        to_float(load<tile.v>(gates + vector * tile.v), factor);
        Y* const to = y + static_cast<std::int64_t>(at.n) * (shape.pixels * shape.c) + c;
        const auto scale = [&](int pixel, const float (&value)[tile.v]) {
            float acc[tile.v];
#pragma unroll
            for (int v = 0; v < tile.v; ++v) acc[v] = value[v] * factor[v];
            epilogue(acc, at.n, c, pixel / shape.width, pixel % shape.width);
            store(to + pixel * shape.c, from_float<Y>(acc));
        };
        detail::visit_pixels<T, tile, shape, look>(x, at, turn / layout.columns, kept, scale);
    }
    if constexpr (tile.cluster > 1) ptx::wait_for_arrived();
}

}  // namespace cnngen
