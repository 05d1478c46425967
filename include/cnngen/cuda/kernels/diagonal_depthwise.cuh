// Depthwise convolution on tensor cores, NHWC, 16-bit, stride 1: filters of eight channels, as diagonal matrices, times
// their pixels. Of eight multiplications seven are useless, but operands are taken as they are, and added in float:
// half of the instructions of depthwise.cuh, which is held up by those where windows are large.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "early_start.cuh"
#include "tensor_core.cuh"
#include "window.cuh"

namespace cnngen {

// A block has a warp for each half of 32 channels, and goes down the map in `steps`. In each a warp computes th rows,
// an even number, of 16 pixels.
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
    int half;   // pixels of even columns: an odd number, so that neighbours and planes begin in different banks
    int quads;  // of filters of a column of the window

    __host__ __device__ constexpr DiagonalLayout(const WindowShape& shape, const DiagonalTile& tile)
        : span(tile.th + shape.r - 1),
          rows(span + (tile.steps > 1 ? tile.th : 0)),
          columns(tile.columns + shape.s - 1),
          half(ceil_div(columns, 2) | 1),
          quads(ceil_div(shape.r + 1, 2)) {}

    __host__ __device__ constexpr int row_bytes() const { return planes * 2 * half * 16; }
    __host__ __device__ constexpr int pixel(int plane, int column) const {
        return ((plane * 2 + column % 2) * half + column / 2) * 16;
    }
    // What two of the 32 channels have of a quad; see diagonal_depthwise.
    __host__ __device__ constexpr int filters(int s, int quad, int pair) const {
        return ((s * quads + quad) * 16 + pair) * 16;
    }
};

// Lane l has columns 2 (l % 4) and the next one of row l / 4 of a matrix; it gets those of the matrix with rows for
// columns.
template <typename T>
__device__ __forceinline__ Vec<T, 2> turned(const Vec<T, 2>& two) {
    return bits_as<Vec<T, 2>>(ptx::transpose(bits_as<std::uint32_t>(two)));
}

// Of two channels each of two planes, which a lane and the one beside it have: four channels of one plane, of the first
// for the even lane.
template <typename T>
__device__ __forceinline__ Vec<T, 4> of_one_plane(const Vec<T, 2> (&planes)[2], bool is_odd) {
    const auto first = bits_as<std::uint32_t>(planes[0]), second = bits_as<std::uint32_t>(planes[1]);
    const std::uint32_t other = __shfl_xor_sync(0xffffffffu, is_odd ? first : second, 1);
    return bits_as<Vec<T, 4>>(uint2{is_odd ? other : first, is_odd ? second : other});
}

}  // namespace detail

// Bytes of dynamic shared memory.
__host__ __device__ constexpr int shared_bytes(const WindowShape& shape, const DiagonalTile& tile) {
    const detail::DiagonalLayout layout(shape, tile);
    return layout.rows * layout.row_bytes() + layout.filters(shape.s, 0, 0);
}

// As depthwise, with filters rounded to T, stride 1, no dilation, and results of 16 bits. Needs channels, and pixels,
// of a multiple of 8 elements. An infinity or a NaN makes NaNs of seven other channels, too, and of a row beside those
// that see it. Launch: blocks(shape, tile, batch) blocks of tile.threads threads with shared_bytes(shape, tile).
//
// A product is of 16 by 16 filters with 16 by 8 inputs: of two rows of outputs, eight channels each, with two rows of
// inputs, eight channels each, of eight pixels. Its filters are a quad: of output row o and input row o + d the tap d,
// of o and o + d + 1 the next one, of o + 1 and o + d the one before, and of o + 1 and o + d + 1 the tap d again.
template <typename T, DiagonalTile tile, WindowShape shape, typename W, typename Bias, typename Y,
          typename Epilogue = NoEpilogue>
__device__ __forceinline__ void diagonal_depthwise(int, const T* x, const W* weight, Bias bias, Y* y,
                                                   const Epilogue& epilogue = Epilogue()) {
    detail::check_window<Tile{.v = 4, .tw = 1, .th = tile.th, .threads = tile.threads}, shape>();
    static_assert(sizeof(T) == 2 && sizeof(Y) == 2, "tensor cores take 16-bit elements here");
    static_assert(tile.th % 2 == 0);
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

    for (int item = thread; item < layout.quads * shape.s * 16; item += tile.threads) {
        const int pair = item % 16, quad = item / 16 % layout.quads, s = item / 16 / layout.quads;
        const int c = channel + 2 * pair;
        Vec<T, 2> taps[3];  // before, here, next
        for (int i = 0; i < 3; ++i) {
            const int r = 2 * quad + i - 1;
            const bool exists = r >= 0 && r < shape.r && has_channels(c);
            float values[2];
            to_float(load_if<2>(exists, weight + ((r * shape.s + s) * shape.c + c), 0.0f), values);
            taps[i] = from_float<T>(values);
        }
        Vec<T, 2>* const to = reinterpret_cast<Vec<T, 2>*>(filters + layout.filters(s, quad, pair));
        to[0] = to[3] = taps[1];
        to[1] = taps[0];
        to[2] = taps[2];
    }
    begin();
    const T* const image = x + static_cast<std::int64_t>(n) * (shape.h * shape.w * shape.x_step());
    const int top = first_h - shape.pad_top, left = first_w - shape.pad_left;
    const auto in_turn = [&](int row) { return row < layout.rows ? row : row - layout.rows; };
    // So many rows of the input, from one on: a thread has eight channels of every 16th pixel.
    const auto bring_rows = [&](int first, int first_place, int count) {
        const int plane = thread % layout.planes;
#pragma unroll 1  // else all their addresses are kept in registers
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

    // Of filters a lane has two columns of the row of a channel: that on the diagonal is in half of its words.
    const std::uint32_t on_diagonal = lane / 8 != lane % 4 ? 0u : lane / 4 % 2 == 0 ? 0xffffu : 0xffff0000u;
    const unsigned char* const own_filters = filters + (warp * 8 + lane % 4) * 16;
    // Of inputs it gives the address of a pixel of one of four rows.
    const unsigned char* const own_pixels = pixels + layout.pixel(warp * 2, 0) + lane % 8 * 16;
    // Of sums it has a channel of two pixels. They are turned: then it has two channels of a pixel, and in the end, of
    // one plane, four that lie together.
    const bool is_odd = lane % 2 == 1;
    const int c = channel + warp * 16 + lane % 2 * 8 + lane % 4 / 2 * 4;

    using Quads = std::uint32_t[layout.quads][4];
    constexpr int seen_rows = tile.th + shape.r - 1, pairs = detail::ceil_div(seen_rows, 2);
    const auto is_inside = [&](int row, int column) {
        return (shape.oh % tile.th == 0 || row < shape.oh) && (shape.ow % tile.columns == 0 || column < shape.ow);
    };
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
        const unsigned char* rows[detail::ceil_div(pairs, 2)];
#pragma unroll
        for (int pair = 0; pair < pairs; pair += 2) {
            const int row = detail::least(2 * pair + lane / 8, seen_rows - 1);
            rows[pair / 2] = own_pixels + in_turn(first_place + row) * layout.row_bytes();
        }
        Vec<Y, 2> results[tile.th][2][2];  // of even and odd columns, of planes
#pragma unroll
        for (int plane = 0; plane < 2; ++plane) {
            const int own_channel = channel + warp * 16 + plane * 8 + lane / 4;
            const bool has_channel = has_channels(own_channel);
            float first = 0.0f;
            if constexpr (!std::is_same_v<Bias, std::nullptr_t>) {
                if (has_channel) first = to_float(bias[own_channel]);
            }
            float sums[tile.th / 2][2][4];
#pragma unroll
            for (int i = 0; i < tile.th * 4; ++i) sums[i / 8][i / 4 % 2][i % 4] = first;
            Quads quads[2];  // of this column of the window and of the one before
            // Pixels that even columns of outputs have under a column of the window, odd ones have under the one
            // before.
#pragma unroll
            for (int column = 0; column <= shape.s; ++column) {
                Quads &here = quads[column % 2], &before = quads[1 - column % 2];
                if (column < shape.s) {
#pragma unroll
                    for (int quad = 0; quad < layout.quads; ++quad) {
                        const uint4 four =
                            *reinterpret_cast<const uint4*>(own_filters + layout.filters(column, quad, plane * 4));
                        here[quad][0] = four.x & on_diagonal;
                        here[quad][1] = four.y & on_diagonal;
                        here[quad][2] = four.z & on_diagonal;
                        here[quad][3] = four.w & on_diagonal;
                    }
                }
                std::uint32_t seen[4];
#pragma unroll
                for (int pair = 0; pair < pairs; ++pair) {
                    if (pair % 2 == 0) ptx::load_matrices(seen, rows[pair / 2] + layout.pixel(plane, column));
                    const std::uint32_t inputs[2] = {seen[pair % 2 * 2], seen[pair % 2 * 2 + 1]};
#pragma unroll
                    for (int out = 0; out < tile.th / 2; ++out) {
                        const int quad = pair - out;
                        if (quad < 0 || quad >= layout.quads) continue;
                        if (column < shape.s) ptx::multiply<T>(sums[out][0], here[quad], inputs);
                        if (column > 0) ptx::multiply<T>(sums[out][1], before[quad], inputs);
                    }
                }
            }
#pragma unroll
            for (int i = 0; i < tile.th * 2; ++i) {
                const int row = i / 2, half = i % 2, out_w = first_w + lane % 4 * 4 + half;
                float two[2];
#pragma unroll
                for (int k = 0; k < 2; ++k) {
                    float acc[1] = {sums[row / 2][half][row % 2 * 2 + k]};
                    if (has_channel && is_inside(h + row, out_w + 2 * k)) {
                        epilogue(acc, n, own_channel, h + row, out_w + 2 * k);
                    }
                    two[k] = acc[0];
                }
                results[row][half][plane] = detail::turned(from_float<Y>(two));
            }
        }
#pragma unroll
        for (int i = 0; i < tile.th * 2; ++i) {
            const int out_h = h + i / 2, out_w = first_w + lane / 4 * 2 + i % 2;
            const Vec<Y, 4> four = detail::of_one_plane(results[i / 2][i % 2], is_odd);
            if (has_channels(c) && is_inside(out_h, out_w)) {
                store(result + ((out_h * shape.ow + out_w) * shape.y_step() + c), four);
            }
        }
        if (h + tile.th >= shape.oh) return;
        first_place = in_turn(first_place + tile.th);
    }
#endif
}

}  // namespace cnngen
