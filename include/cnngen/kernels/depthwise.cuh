// Depthwise convolution, NHWC: each channel has one filter of its own. Memory-bound: the aim is a copy's time.
#pragma once

#include "window.cuh"

namespace cnngen {

// y[n, h, w, c] = epilogue(sum over r, s of x[n, h * stride - pad + r * dilation, ..., c] * weight[r, s, c])
//
// x: [batch, shape.h, shape.w, shape.c]; weight: [shape.r, shape.s, shape.c]; y: [batch, shape.oh, shape.ow, shape.c].
// Sums in float. Launch: blocks(shape, tile, batch) blocks of tile.threads threads.
template <typename T, Tile tile, WindowShape shape, typename W, typename Y, typename Epilogue = NoEpilogue>
__device__ __forceinline__ void depthwise(int batch, const T* x, const W* weight, Y* y,
                                          const Epilogue& epilogue = Epilogue()) {
    detail::check_window<tile, shape>();
    detail::TilePosition at;
    if (!detail::tile_position<tile, shape>(batch, at)) return;

    float acc[tile.th][tile.tw][tile.v] = {};
    const T* image = x + static_cast<std::int64_t>(at.n) * (shape.h * shape.w * shape.c);
    detail::visit_windows<T, tile, shape>(
        image, at, 0.0f, [&](const float (&value)[tile.v], int i, int j, int r, int s) {
            // Read again for each output in this text; the compiler keeps it in registers where they suffice.
            float filter[tile.v];
            to_float(load_readonly<tile.v>(weight + ((r * shape.s + s) * shape.c + at.c)), filter);
#pragma unroll
            for (int v = 0; v < tile.v; ++v) acc[i][j][v] = fmaf(value[v], filter[v], acc[i][j][v]);
        });
    detail::finish_tile<tile, shape>(acc, at, y, epilogue);
}

}  // namespace cnngen
