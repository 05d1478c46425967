// Depthwise convolution on tensor cores, NHWC, 16-bit, stride 1: eight channels times eight filters of one tap are a
// product with a diagonal matrix. It does seven useless multiplications for each that counts, takes 16-bit operands as
// they are and adds in float: half of the instructions of depthwise.cuh, which is held up by those where windows are
// large.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "early_start.cuh"
#include "tensor_core.cuh"
#include "window.cuh"

namespace cnngen {

// A block has a warp for each half of 32 channels, and goes down the map in `steps`. In each a warp computes th rows of
// 16 pixels.
struct DiagonalTile {
    int th;
    int steps = 1;

    static constexpr int columns = 16, threads = 64;
};

// The grid: blocks of tile.threads threads with shared_bytes(shape, tile).
__host__ __device__ constexpr unsigned blocks(const WindowShape& shape, const DiagonalTile& tile, int batch) {
    return static_cast<unsigned>(batch * detail::ceil_div(shape.c, 32) * detail::ceil_div(shape.ow, tile.columns) *
                                 detail::ceil_div(shape.oh, tile.th * tile.steps));
}

namespace detail {

// The rows of the input that a step reads, and those that the next one reads beside them, in turns in shared memory;
// behind them the filters. Of 32 channels there are four planes, each of eight, 16 bytes a pixel; of a row of a plane
// the even columns stand before the odd ones.
struct DiagonalLayout {
    static constexpr int planes = 4;
    int span;  // rows that a step reads
    int rows, columns;
    int half;  // pixels of even columns: an odd number, so that neighbours and planes begin in different banks
    int taps;  // of a column of the window, in fours

    __host__ __device__ constexpr DiagonalLayout(const WindowShape& shape, const DiagonalTile& tile)
        : span(tile.th + shape.r - 1),
          rows(span + (tile.steps > 1 ? tile.th : 0)),
          columns(tile.columns + shape.s - 1),
          half(ceil_div(columns, 2) | 1),
          taps(ceil_div(shape.r, 4) * 4) {}

    __host__ __device__ constexpr int row_bytes() const { return planes * 2 * half * 16; }
    __host__ __device__ constexpr int pixel(int plane, int column) const {
        return ((plane * 2 + column % 2) * half + column / 2) * 16;
    }
    // Two channels' filters of a column of the window, one tap after the other; there are 16 such pairs.
    __host__ __device__ constexpr int filters(int s, int pair) const { return (s * 16 + pair) * taps * 4; }
};

// Of two channels each of two planes, which a lane and the one beside it have: four channels of one plane, of the first
// for the even lane.
template <typename T>
__device__ __forceinline__ Vec<T, 4> of_one_plane(const Vec<T, 2> (&planes)[2], bool is_odd) {
    constexpr int words = static_cast<int>(sizeof(Vec<T, 2>)) / 4;
    struct alignas(Vec<T, 2>) Two {
        std::uint32_t word[words];
    };
    struct alignas(Vec<T, 4>) Four {
        std::uint32_t word[2 * words];
    };
    const Two first = bits_as<Two>(planes[0]), second = bits_as<Two>(planes[1]);
    Four four;
    for (int i = 0; i < words; ++i) {
        const std::uint32_t other = __shfl_xor_sync(0xffffffffu, is_odd ? first.word[i] : second.word[i], 1);
        four.word[i] = is_odd ? other : first.word[i];
        four.word[words + i] = is_odd ? second.word[i] : other;
    }
    return bits_as<Vec<T, 4>>(four);
}

}  // namespace detail

// Bytes of dynamic shared memory.
__host__ __device__ constexpr int shared_bytes(const WindowShape& shape, const DiagonalTile& tile) {
    const detail::DiagonalLayout layout(shape, tile);
    return layout.rows * layout.row_bytes() + layout.filters(shape.s, 0);
}

// As depthwise, with filters rounded to T, stride 1 and no dilation. Needs channels, and pixels, of a multiple of 8
// elements. An infinity or a NaN makes NaNs of seven other channels, too. Launch: blocks(shape, tile, batch) blocks of
// tile.threads threads with shared_bytes(shape, tile).
template <typename T, DiagonalTile tile, WindowShape shape, typename W, typename Bias, typename Y,
          typename Epilogue = NoEpilogue>
__device__ __forceinline__ void diagonal_depthwise(int, const T* x, const W* weight, Bias bias, Y* y,
                                                   const Epilogue& epilogue = Epilogue()) {
    detail::check_window<Tile{.v = 2, .tw = 1, .th = tile.th, .threads = tile.threads}, shape>();
    static_assert(sizeof(T) == 2, "tensor cores take 16-bit elements here");
    static_assert(shape.stride_h == 1 && shape.stride_w == 1 && shape.dilation_h == 1 && shape.dilation_w == 1);
    static_assert(shape.c % 8 == 0 && shape.x_step() % 8 == 0 && shape.y_step() % 8 == 0);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    __trap();  // a network with this kernel does not start on such a GPU
#else
    constexpr detail::DiagonalLayout layout(shape, tile);
    unsigned char* const pixels = ptx::dynamic_shared();
    unsigned char* const filters = pixels + layout.rows * layout.row_bytes();

    // Blocks that follow each other read neighbouring channels of the same pixels.
    constexpr unsigned slices = detail::ceil_div(shape.c, 32), across = detail::ceil_div(shape.ow, tile.columns);
    constexpr unsigned down = detail::ceil_div(shape.oh, tile.th * tile.steps);
    const unsigned place = blockIdx.x / slices;
    const int channel = static_cast<int>(blockIdx.x % slices) * 32;
    const int first_w = static_cast<int>(place % across) * tile.columns;
    const int first_h = static_cast<int>(place / across % down) * (tile.th * tile.steps);
    const int n = static_cast<int>(place / across / down);
    const auto has_channels = [&](int c) { return shape.c % 32 == 0 || c < shape.c; };
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;

    for (int item = thread; item < shape.r * shape.s * 16; item += tile.threads) {
        const int tap = item / 16, pair = item % 16, c = channel + 2 * pair;
        float values[2];
        to_float(load_if<2>(has_channels(c), weight + (tap * shape.c + c), 0.0f), values);
        *reinterpret_cast<Vec<T, 2>*>(filters + layout.filters(tap % shape.s, pair) + tap / shape.s * 4) =
            from_float<T>(values);
    }
    begin();
    const T* const image = x + static_cast<std::int64_t>(n) * (shape.h * shape.w * shape.x_step());
    const int top = first_h - shape.pad_top, left = first_w - shape.pad_left;
    const auto in_turn = [&](int row) { return row < layout.rows ? row : row - layout.rows; };
    // So many rows of the input, from one on: a thread has eight channels of every 16th pixel.
    const auto bring_rows = [&](int first, int first_place, int count) {
        const int plane = thread % layout.planes;
#pragma unroll 2  // more would keep all their addresses in registers
        for (int item = thread / layout.planes; item < count * layout.columns; item += tile.threads / layout.planes) {
            const int row = item / layout.columns, column = item % layout.columns;
            const int h = top + first + row, w = left + column;
            const bool exists = static_cast<unsigned>(h) < static_cast<unsigned>(shape.h) &&
                                static_cast<unsigned>(w) < static_cast<unsigned>(shape.w) &&
                                has_channels(channel + plane * 8);
            ptx::copy_16(pixels + in_turn(first_place + row) * layout.row_bytes() + layout.pixel(plane, column),
                         image + ((h * shape.w + w) * shape.x_step() + channel + plane * 8), exists);
        }
        ptx::end_copies();
    };
    bring_rows(0, 0, layout.span);

    // Of a fragment a lane has two pixels, an even one and the one beside it, and in each of the warp's two planes two
    // channels.
    const auto channel_of = [&](int plane) { return channel + warp * 16 + plane * 8 + lane % 4 * 2; };
    float first[2][2] = {};
    if constexpr (!std::is_same_v<Bias, std::nullptr_t>) {
        for (int plane = 0; plane < 2; ++plane) {
            to_float(load_if<2>(has_channels(channel_of(plane)), bias + channel_of(plane), 0.0f), first[plane]);
        }
    }
    // A lane's filters stand in the row of their channel and in the column lane / 4: on the diagonal where those are
    // one.
    const std::uint32_t on_diagonal = lane / 8 != lane % 4 ? 0u : lane / 4 % 2 == 0 ? 0xffffu : 0xffff0000u;
    // A lane gives the address of a row of a matrix: a pixel of the even or the odd ones, of a row of the input or of
    // the one below.
    const unsigned char* const own_pixels = pixels + layout.pixel(warp * 2, lane / 8 % 2) + lane % 8 * 16;
    const int row_below = lane / 16;
    // In the end lanes beside each other exchange what is of one plane: each has four channels that lie together.
    const bool is_odd = lane % 2 == 1;
    const int c = channel + warp * 16 + lane % 2 * 8 + lane % 4 / 2 * 4;

    using Filters = std::uint32_t[layout.taps];
    constexpr int seen_rows = tile.th + shape.r - 1, pairs = detail::ceil_div(seen_rows, 2);
    constexpr bool whole_steps = shape.oh % tile.th == 0;
    Y* const result = y + static_cast<std::int64_t>(n) * (shape.oh * shape.ow * shape.y_step());
    int first_place = 0;
#pragma unroll 1
    for (int step = 0; step < tile.steps; ++step) {
        const int h = first_h + step * tile.th;
        ptx::wait_for_copies<0>();
        __syncthreads();
        if (step + 1 < tile.steps && h + tile.th < shape.oh) {
            bring_rows(layout.span + step * tile.th, in_turn(first_place + layout.span), tile.th);
        }
        const unsigned char* rows[pairs];
#pragma unroll
        for (int pair = 0; pair < pairs; ++pair) {
            const int below = 2 * pair + 1 < seen_rows ? row_below : 0;
            rows[pair] = own_pixels + in_turn(first_place + 2 * pair + below) * layout.row_bytes();
        }
        float sums[tile.th][2][4];  // of planes
#pragma unroll
        for (int i = 0; i < tile.th * 8; ++i) sums[i / 8][i / 4 % 2][i % 4] = first[i / 4 % 2][i % 2];
#pragma unroll
        for (int plane = 0; plane < 2; ++plane) {
            // One column of the window needs pixels and those beside them, which are the next one's: so of two columns
            // at a time the latter's pixels stay for the next two.
            std::uint32_t beside[pairs][2];
#pragma unroll
            for (int s = 0; s <= shape.s; s += 2) {
                const auto add = [&](const std::uint32_t (&seen)[4], const Filters& filter, int upper) {
#pragma unroll
                    for (int out = 0; out < tile.th; ++out) {
                        const int r = upper - out;  // the upper row's tap
                        const bool is_above = r >= 0 && r < shape.r, is_below = r + 1 >= 0 && r + 1 < shape.r;
                        if (is_above && is_below) {
                            ptx::multiply<T>(sums[out][plane], seen, {filter[r], filter[r + 1]});
                        } else if (is_above) {
                            ptx::multiply<T>(sums[out][plane], {seen[0], seen[1]}, filter[r]);
                        } else if (is_below) {
                            ptx::multiply<T>(sums[out][plane], {seen[2], seen[3]}, filter[r + 1]);
                        }
                    }
                };
                Filters before, here;
                const auto read = [&](Filters& filter, int column) {
#pragma unroll
                    for (int r = 0; r < layout.taps; r += 4) {
                        const uint4 four = *reinterpret_cast<const uint4*>(
                            filters + layout.filters(column, warp * 8 + plane * 4 + lane % 4) + r * 4);
                        filter[r] = four.x & on_diagonal;
                        filter[r + 1] = four.y & on_diagonal;
                        filter[r + 2] = four.z & on_diagonal;
                        filter[r + 3] = four.w & on_diagonal;
                    }
                };
                if (s > 0) read(before, s - 1);
                if (s < shape.s) read(here, s);
#pragma unroll
                for (int pair = 0; pair < pairs; ++pair) {
                    std::uint32_t seen[4];
                    ptx::load_matrices(seen, rows[pair] + layout.pixel(plane, s));
                    if (s > 0) add({beside[pair][0], seen[0], beside[pair][1], seen[2]}, before, 2 * pair);
                    if (s < shape.s) add(seen, here, 2 * pair);
                    beside[pair][0] = seen[1];
                    beside[pair][1] = seen[3];
                }
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int out_w = first_w + lane / 4 * 2 + half;
            const bool is_inside = out_w < shape.ow;
#pragma unroll
            for (int i = 0; i < tile.th; ++i) {
                if (!whole_steps && h + i >= shape.oh) break;
                Vec<Y, 2> own[2];
#pragma unroll
                for (int plane = 0; plane < 2; ++plane) {
                    float acc[2] = {sums[i][plane][half * 2], sums[i][plane][half * 2 + 1]};
                    if (is_inside && has_channels(channel_of(plane))) {
                        epilogue(acc, n, channel_of(plane), h + i, out_w);
                    }
                    own[plane] = from_float<Y>(acc);
                }
                const Vec<Y, 4> four = detail::of_one_plane(own, is_odd);
                if (is_inside && has_channels(c)) {
                    store(result + (((h + i) * shape.ow + out_w) * shape.y_step() + c), four);
                }
            }
        }
        if (h + tile.th >= shape.oh) return;
        first_place = in_turn(first_place + tile.th);
    }
#endif
}

}  // namespace cnngen
