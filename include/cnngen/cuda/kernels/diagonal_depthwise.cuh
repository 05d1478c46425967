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
// two times 8 pixels: side by side where it is `wide`, else one above the other.
struct DiagonalTile {
    int th;
    bool wide = true;
    int steps = 1;

    static constexpr int threads = 64;

    __host__ __device__ constexpr int rows() const { return wide ? th : 2 * th; }  // of outputs of a step
    __host__ __device__ constexpr int columns() const { return wide ? 16 : 8; }
};

// The grid: blocks of tile.threads threads with shared_bytes(shape, tile).
__host__ __device__ constexpr unsigned blocks(const WindowShape& shape, const DiagonalTile& tile, int batch) {
    return static_cast<unsigned>(batch * detail::ceil_div(shape.c, 32) * detail::ceil_div(shape.ow, tile.columns()) *
                                 detail::ceil_div(shape.oh, tile.rows() * tile.steps));
}

namespace detail {

// The rows of the input that a step reads, and those that the next one reads beside them, in turns in shared memory;
// behind them the filters. Of 16 channels there are two planes, each of eight, 16 bytes a pixel: channels 0 1 4 5 8 9
// 12 13, and those between. Pair i of the 32 channels stands in plane i / 8 * 2 + i % 2, at place i % 8 / 2.
struct DiagonalLayout {
    static constexpr int planes = 4;
    int span;  // rows that a step reads
    int rows, columns, pitch;
    int taps;  // of a column, in fours

    __host__ __device__ constexpr DiagonalLayout(const WindowShape& shape, const DiagonalTile& tile)
        : span(tile.rows() + (shape.r - 1) * shape.dilation_h),
          rows(span + (tile.steps > 1 ? tile.rows() : 0)),
          columns(tile.columns() + (shape.s - 1) * shape.dilation_w),
          pitch(columns + (6 - columns % 4) % 4),  // two more than a multiple of 4: planes begin in different banks
          taps(ceil_div(shape.r, 4) * 4) {}

    __host__ __device__ constexpr int row_bytes() const { return planes * pitch * 16; }
    __host__ __device__ constexpr int pixel(int pair) const {
        return (pair / 8 * 2 + pair % 2) * pitch * 16 + pair % 8 / 2 * 4;
    }
    // The pair's filters of a column of the window, one tap after the other.
    __host__ __device__ constexpr int filters(int s, int pair) const {
        return ((s * planes + pair / 8 * 2 + pair % 2) * 4 + pair % 8 / 2) * taps * 4;
    }
};

}  // namespace detail

// Bytes of dynamic shared memory.
__host__ __device__ constexpr int shared_bytes(const WindowShape& shape, const DiagonalTile& tile) {
    const detail::DiagonalLayout layout(shape, tile);
    return layout.rows * layout.row_bytes() + layout.filters(shape.s, 0);
}

// As depthwise, with filters rounded to T, and stride 1. Needs channels, and pixels, of a multiple of 8 elements. An
// infinity or a NaN makes NaNs of seven other channels, too. Launch: blocks(shape, tile, batch) blocks of tile.threads
// threads with shared_bytes(shape, tile).
template <typename T, DiagonalTile tile, WindowShape shape, typename W, typename Bias, typename Y,
          typename Epilogue = NoEpilogue>
__device__ __forceinline__ void diagonal_depthwise(int, const T* x, const W* weight, Bias bias, Y* y,
                                                   const Epilogue& epilogue = Epilogue()) {
    detail::check_window<Tile{.v = 4, .tw = 1, .th = tile.th, .threads = tile.threads}, shape>();
    static_assert(sizeof(T) == 2, "tensor cores take 16-bit elements here");
    static_assert(shape.stride_h == 1 && shape.stride_w == 1);
    static_assert(shape.c % 8 == 0 && shape.x_step() % 8 == 0 && shape.y_step() % 8 == 0);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    __trap();  // a network with this kernel does not start on such a GPU
#else
    constexpr detail::DiagonalLayout layout(shape, tile);
    unsigned char* const pixels = ptx::dynamic_shared();
    unsigned char* const filters = pixels + layout.rows * layout.row_bytes();

    // Blocks that follow each other read neighbouring channels of the same pixels.
    constexpr unsigned slices = detail::ceil_div(shape.c, 32), across = detail::ceil_div(shape.ow, tile.columns());
    constexpr unsigned down = detail::ceil_div(shape.oh, tile.rows() * tile.steps);
    const unsigned place = blockIdx.x / slices;
    const int channel = static_cast<int>(blockIdx.x % slices) * 32;
    const int first_w = static_cast<int>(place % across) * tile.columns();
    const int first_h = static_cast<int>(place / across % down) * (tile.rows() * tile.steps);
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
    // So many rows of the input, from one on, two pixels at a time: a lane has a pair of channels of every second
    // pixel.
    const auto bring_rows = [&](int first, int first_place, int count) {
        const int pair = lane % 16, pixel = lane / 16;
        for (int row = warp; row < count; row += 2) {
            const int h = top + first + row;
            const bool exists =
                static_cast<unsigned>(h) < static_cast<unsigned>(shape.h) && has_channels(channel + 2 * pair);
            const T* const from = image + ((h * shape.w + left + pixel) * shape.x_step() + channel + 2 * pair);
            unsigned char* const to =
                pixels + in_turn(first_place + row) * layout.row_bytes() + layout.pixel(pair) + pixel * 16;
#pragma unroll
            for (int column = 0; column < layout.columns; column += 2) {
                if (layout.columns % 2 == 1 && column + pixel == layout.columns) break;
                const bool inside =
                    exists && static_cast<unsigned>(left + column + pixel) < static_cast<unsigned>(shape.w);
                ptx::copy_4(to + column * 16, from + column * shape.x_step(), inside);
            }
        }
        ptx::end_copies();
    };
    bring_rows(0, 0, layout.span);

    // Of a fragment a lane has a pixel and two of eight channels. It has the same place in both planes, so that what it
    // has in the end are four channels that lie together.
    const int c = channel + warp * 16 + lane % 4 * 4;
    float first[4] = {};
    if constexpr (!std::is_same_v<Bias, std::nullptr_t>) {
        to_float(load_if<4>(has_channels(c), bias + c, 0.0f), first);
    }
    // A lane's filters stand in the row of their channel and in the column lane / 4: on the diagonal where those are
    // one.
    const std::uint32_t on_diagonal = lane / 8 != lane % 4 ? 0u : lane / 4 % 2 == 0 ? 0xffffu : 0xffff0000u;
    // A lane gives the address of a row of a matrix: a pixel of the first or the other eight, of a row of the input or
    // of the one below.
    const int pixel = lane % 8 + (tile.wide ? lane / 8 % 2 * 8 : 0);
    const int other_eight = tile.wide ? 0 : lane / 8 % 2 * tile.th;
    const int row_below = lane / 16 * shape.dilation_h;
    const unsigned char* const own_pixels = pixels + layout.pixel(warp * 8) + pixel * 16;

    constexpr int seen_rows = tile.th + (shape.r - 1) * shape.dilation_h;
    constexpr bool whole_steps = shape.oh % tile.rows() == 0;
    Y* const result = y + static_cast<std::int64_t>(n) * (shape.oh * shape.ow * shape.y_step());
    int first_place = 0;
#pragma unroll 1
    for (int step = 0; step < tile.steps; ++step) {
        const int h = first_h + step * tile.rows();
        ptx::wait_for_copies<0>();
        __syncthreads();
        if (step + 1 < tile.steps && h + tile.rows() < shape.oh) {
            bring_rows(layout.span + step * tile.rows(), in_turn(first_place + layout.span), tile.rows());
        }
        const unsigned char* rows[seen_rows];
#pragma unroll
        for (int upper = 0; upper < seen_rows; ++upper) {
            const int below = upper + shape.dilation_h < seen_rows ? row_below : 0;
            rows[upper] = own_pixels + in_turn(first_place + other_eight + upper + below) * layout.row_bytes();
        }
        float sums[tile.th][2][4];  // of planes
#pragma unroll
        for (int i = 0; i < tile.th * 8; ++i) sums[i / 8][i / 4 % 2][i % 4] = first[i / 4 % 2 * 2 + i % 2];
#pragma unroll
        for (int i = 0; i < shape.s * 2; ++i) {
            const int s = i / 2, plane = i % 2;
            std::uint32_t filter[layout.taps];
#pragma unroll
            for (int r = 0; r < layout.taps; r += 4) {
                const uint4 four = *reinterpret_cast<const uint4*>(
                    filters + layout.filters(s, warp * 8 + plane + lane % 4 * 2) + r * 4);
                filter[r] = four.x & on_diagonal;
                filter[r + 1] = four.y & on_diagonal;
                filter[r + 2] = four.z & on_diagonal;
                filter[r + 3] = four.w & on_diagonal;
            }
            // Each row of the input is of one pair, and each pair is read once for all outputs.
#pragma unroll
            for (int upper = 0; upper < seen_rows; ++upper) {
                if (upper / shape.dilation_h % 2 == 1) continue;
                std::uint32_t seen[4];
                ptx::load_matrices(seen, rows[upper] + (plane * layout.pitch + s * shape.dilation_w) * 16);
#pragma unroll
                for (int out = 0; out < tile.th; ++out) {
                    if ((upper - out) % shape.dilation_h != 0) continue;
                    const int r = (upper - out) / shape.dilation_h;  // the upper row's tap
                    const bool is_above = r >= 0 && r < shape.r, is_below = r + 1 >= 0 && r + 1 < shape.r;
                    if (is_above && is_below) {
                        ptx::multiply<T>(sums[out][plane], seen, {filter[r], filter[r + 1]});
                    } else if (is_above) {
                        ptx::multiply<T>(sums[out][plane], {seen[0], seen[1]}, filter[r]);
                    } else if (is_below) {
                        ptx::multiply<T>(sums[out][plane], {seen[2], seen[3]}, filter[r + 1]);
                    }
                }
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int out_h = h + (tile.wide ? 0 : half * tile.th);
            const int out_w = first_w + lane / 4 + (tile.wide ? half * 8 : 0);
            if (!has_channels(c) || out_w >= shape.ow) continue;
            const auto exists = [&](int i) { return whole_steps || out_h + i < shape.oh; };
            float acc[tile.th][4];
#pragma unroll
            for (int i = 0; i < tile.th; ++i) {
#pragma unroll
                for (int v = 0; v < 4; ++v) acc[i][v] = sums[i][v / 2][half * 2 + v % 2];
                if (exists(i)) epilogue(acc[i], n, c, out_h + i, out_w);
            }
            Y* const to = result + ((out_h * shape.ow + out_w) * shape.y_step() + c);
#pragma unroll
            for (int i = 0; i < tile.th; ++i) {
                if (exists(i)) store(to + i * shape.ow * shape.y_step(), from_float<Y>(acc[i]));
            }
        }
        if (h + tile.rows() >= shape.oh) return;
        first_place = in_turn(first_place + tile.rows());
    }
#endif
}

}  // namespace cnngen
