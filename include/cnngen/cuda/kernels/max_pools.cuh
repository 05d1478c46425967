// Max pools of one window and stride 1, centred: one, or a chain of them at once, as pyramids end networks: a pool of a
// pool is a pool of a larger window.
//
// A block brings its pixels, with those around them, to shared memory, and takes maxima along rows, then along columns
// of what came out: two short windows in place of a large one, each of which shares its comparisons with its
// neighbours'. The next pool goes on from there.
#pragma once

#include <type_traits>

#include "functions.cuh"
#include "rows.cuh"
#include "tensor_core.cuh"

namespace cnngen {

struct MaxPoolsShape {
    int c, h, w;
    int kernel;            // odd
    int count = 1;         // of pools
    bool keeps_x = false;  // before what the pools make of it
    // Elements from a pixel to its neighbour, where a tensor is a slice of wider pixels; 0: as many as it has channels.
    int x_pixel = 0, y_pixel = 0;

    __host__ __device__ constexpr int x_step() const { return x_pixel > 0 ? x_pixel : c; }
    __host__ __device__ constexpr int y_step() const { return y_pixel > 0 ? y_pixel : (count + keeps_x) * c; }
};

// A block's part of an image: tw x th pixels of `groups` vectors of v channels, at most the image's. A thread takes
// `run` neighbours of a row or a column at a time, at most tw and th.
struct MaxPoolsTile {
    int v, groups;
    int tw, th;
    int run;
    int threads;
};

// The grid: blocks of tile.threads threads with shared_bytes<T>(shape, tile).
__host__ __device__ constexpr unsigned blocks(const MaxPoolsShape& shape, const MaxPoolsTile& tile, int batch) {
    return static_cast<unsigned>(batch * (shape.c / (tile.v * tile.groups)) * detail::ceil_div(shape.h, tile.th) *
                                 detail::ceil_div(shape.w, tile.tw));
}

namespace detail {

// Along an axis of which a block computes so many outputs: the first of its pixels of which a pool's maxima are needed.
// Later pools see beyond the block, but beyond an image's edge is -infinity for each of them.
__host__ __device__ constexpr int first_of(int level, int radius, int outputs, int size) {
    return outputs < size ? level * radius : radius;
}

// A block's pixels as vectors in shared memory. Rows are of an odd number of pixels.
struct MaxPoolsLayout {
    int rows, columns, pitch, groups;

    __host__ __device__ constexpr MaxPoolsLayout(const MaxPoolsShape& shape, const MaxPoolsTile& tile)
        : rows(tile.th + 2 * first_of(shape.count, shape.kernel / 2, tile.th, shape.h)),
          columns(tile.tw + 2 * first_of(shape.count, shape.kernel / 2, tile.tw, shape.w)),
          pitch(columns | 1),
          groups(tile.groups) {}

    __host__ __device__ constexpr int size() const { return rows * pitch * groups; }
    __host__ __device__ constexpr int at(int row, int column, int group) const {
        return (row * pitch + column) * groups + group;
    }
};

// The larger of two, lane by lane.
template <typename T, int V>
__device__ __forceinline__ Vec<T, V> larger(const Vec<T, V>& a, const Vec<T, V>& b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    if constexpr (V % 2 == 0 && sizeof(T) == 2) {
        using Pair = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
        struct alignas(Vec<T, V>) Pairs {
            Pair pair[V / 2];
        };
        const Pairs left = bits_as<Pairs>(a), right = bits_as<Pairs>(b);
        Pairs out;
#pragma unroll
        for (int i = 0; i < V / 2; ++i) out.pair[i] = __hmax2_nan(left.pair[i], right.pair[i]);
        return bits_as<Vec<T, V>>(out);
    }
#endif
    float left[V], right[V];
    to_float(a, left);
    to_float(b, right);
#pragma unroll
    for (int lane = 0; lane < V; ++lane) left[lane] = fn::max(left[lane], right[lane]);
    return from_float<T>(left);
}

// *to = inside ? *from : -infinity, of all calls once `brought` has returned and the block's threads have met.
template <typename T, int V>
__device__ __forceinline__ void bring(Vec<T, V>* to, const T* from, bool inside) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    if constexpr (sizeof(Vec<T, V>) == 16) {
        if (inside) {
            ptx::copy_16(to, from, true);
            return;
        }
    }
#endif
    *to = load_if<V>(inside, from, -INFINITY);
}
__device__ __forceinline__ void brought() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    ptx::end_copies();
    ptx::wait_for_copies<0>();
#endif
}

// From maxima of `width` neighbours to those of the largest power of two within a window; returns that.
template <int window, int width = 1, typename V, int reads>
__device__ __forceinline__ int widen(V (&seen)[reads]) {
    if constexpr (2 * width <= window) {
#pragma unroll
        for (int i = 0; i < reads - 2 * width + 1; ++i) seen[i] = larger(seen[i], seen[i + width]);
        return widen<window, 2 * width>(seen);
    }
    return width;
}

// put(i, largest of get(i) ... get(i + window - 1)) for each i below `run`, each read once.
template <int window, int run, typename V, typename Get, typename Put>
__device__ __forceinline__ void maxima(Get get, Put put) {
    V seen[run + window - 1];
#pragma unroll
    for (int i = 0; i < run + window - 1; ++i) seen[i] = get(i);
    const int width = widen<window>(seen);
#pragma unroll
    for (int i = 0; i < run; ++i) put(i, larger(seen[i], seen[i + window - width]));
}

}  // namespace detail

// y[n, h, w, level, c] = epilogue(largest of x[n, h - level * (kernel / 2) ... h + level * (kernel / 2), likewise w,
// c]) for levels 1 to count, and 0 where y keeps x; a NaN is larger than any number. An epilogue is for one pool alone.
//
// x: [batch, shape.h, shape.w, shape.x_step()], y: [batch, shape.h, shape.w, shape.y_step()].
// Launch: blocks(shape, tile, batch) blocks of tile.threads threads with shared_bytes<T>(shape, tile).
template <typename T, MaxPoolsTile tile, MaxPoolsShape shape, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void max_pools(int batch, const T* x, Y* y, const Epilogue& epilogue = Epilogue()) {
    constexpr int radius = shape.kernel / 2;
    constexpr detail::MaxPoolsLayout layout(shape, tile);
    constexpr int above = (layout.rows - tile.th) / 2, before = (layout.columns - tile.tw) / 2;
    static_assert(shape.kernel % 2 == 1 && shape.kernel > 1 && shape.count > 0);
    static_assert(shape.c % (tile.v * tile.groups) == 0);
    static_assert(static_cast<std::int64_t>(shape.h) * shape.w * shape.y_step() < (std::int64_t{1} << 31) &&
                      static_cast<std::int64_t>(shape.h) * shape.w * shape.x_step() < (std::int64_t{1} << 31),
                  "one image must have fewer than 2^31 elements");
    static_assert(tile.run > 0 && tile.run <= tile.tw && tile.run <= tile.th);
    static_assert(tile.tw <= shape.w && tile.th <= shape.h);
    using V = Vec<T, tile.v>;

    // Blocks that follow each other read neighbouring channels of the same pixels.
    constexpr unsigned slices = shape.c / (tile.v * tile.groups);
    constexpr unsigned across = detail::ceil_div(shape.w, tile.tw), down = detail::ceil_div(shape.h, tile.th);
    const unsigned place = blockIdx.x / slices;
    const int channel = static_cast<int>(blockIdx.x % slices) * (tile.v * tile.groups);
    const int left = static_cast<int>(place % across) * tile.tw - before;
    const int top = static_cast<int>(place / across % down) * tile.th - above;
    const int n = static_cast<int>(place / across / down);
    if (n >= batch) return;
    const T* const image = x + static_cast<std::int64_t>(n) * (shape.h * shape.w * shape.x_step()) + channel;
    Y* const result = y + static_cast<std::int64_t>(n) * (shape.h * shape.w * shape.y_step()) + channel;

    V* const pixels = reinterpret_cast<V*>(ptx::dynamic_shared());
    V* const rows = pixels + layout.size();  // maxima along rows

    const auto finish = [&](const V& value, int level, int row, int column, int group) {
        const int h = top + row, w = left + column;
        if (row < above || row >= above + tile.th || column < before || column >= before + tile.tw) return;
        if (h >= shape.h || w >= shape.w) return;
        const int number = level - (shape.keeps_x ? 0 : 1);
        const int at = (h * shape.w + w) * shape.y_step() + number * shape.c + group * tile.v;
        if constexpr (std::is_same_v<Epilogue, NoEpilogue> && std::is_same_v<T, Y>) {
            store(result + at, value);
        } else {
            float out[tile.v];
            to_float(value, out);
            epilogue(out, n, channel + group * tile.v, h, w);
            store(result + at, from_float<Y>(out));
        }
    };

    for (int item = static_cast<int>(threadIdx.x); item < layout.rows * layout.columns * tile.groups;
         item += tile.threads) {
        const int group = item % tile.groups, column = item / tile.groups % layout.columns;
        const int row = item / tile.groups / layout.columns;
        const int h = top + row, w = left + column;
        const bool is_inside = static_cast<unsigned>(h) < static_cast<unsigned>(shape.h) &&
                               static_cast<unsigned>(w) < static_cast<unsigned>(shape.w);
        detail::bring<T, tile.v>(&pixels[layout.at(row, column, group)],
                                 image + ((h * shape.w + w) * shape.x_step() + group * tile.v), is_inside);
    }
    detail::brought();
    __syncthreads();
    if constexpr (shape.keeps_x) {
        for (int item = static_cast<int>(threadIdx.x); item < tile.th * tile.tw * tile.groups; item += tile.threads) {
            const int group = item % tile.groups, column = before + item / tile.groups % tile.tw;
            const int row = above + item / tile.groups / tile.tw;
            finish(pixels[layout.at(row, column, group)], 0, row, column, group);
        }
    }

#pragma unroll
    for (int level = 1; level <= shape.count; ++level) {
        const int left_of = detail::first_of(level, radius, tile.tw, shape.w);
        const int top_of = detail::first_of(level, radius, tile.th, shape.h), seen = top_of - radius;
        const int wide = layout.columns - 2 * left_of, lines = layout.rows - 2 * seen;
        const int runs_across = detail::ceil_div(wide, tile.run);
        for (int item = static_cast<int>(threadIdx.x); item < lines * runs_across * tile.groups; item += tile.threads) {
            const int group = item % tile.groups, row = seen + item / tile.groups % lines;
            const int number = item / tile.groups / lines;
            // The last run ends with the row, over what the one before has, too.
            const int first = detail::least(left_of + number * tile.run, layout.columns - left_of - tile.run);
            detail::maxima<shape.kernel, tile.run, V>(
                [&](int i) { return pixels[layout.at(row, first - radius + i, group)]; },
                [&](int i, const V& value) { rows[layout.at(row, first + i, group)] = value; });
        }
        __syncthreads();
        const int high = layout.rows - 2 * top_of, runs_down = detail::ceil_div(high, tile.run);
        for (int item = static_cast<int>(threadIdx.x); item < wide * runs_down * tile.groups; item += tile.threads) {
            const int group = item % tile.groups, column = left_of + item / tile.groups % wide;
            const int number = item / tile.groups / wide;
            const int first = detail::least(top_of + number * tile.run, layout.rows - top_of - tile.run);
            detail::maxima<shape.kernel, tile.run, V>(
                [&](int i) { return rows[layout.at(first - radius + i, column, group)]; },
                [&](int i, const V& value) {
                    if (level < shape.count) pixels[layout.at(first + i, column, group)] = value;
                    // Once each: an epilogue may read what lies where y does.
                    if (first + i >= top_of + number * tile.run) finish(value, level, first + i, column, group);
                });
        }
        if (level < shape.count) __syncthreads();
    }
}

// Bytes of dynamic shared memory.
template <typename T>
__host__ __device__ constexpr unsigned shared_bytes(const MaxPoolsShape& shape, const MaxPoolsTile& tile) {
    return static_cast<unsigned>(2 * detail::MaxPoolsLayout(shape, tile).size() * tile.v * static_cast<int>(sizeof(T)));
}

}  // namespace cnngen
