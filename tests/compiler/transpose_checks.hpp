// The check of matrices that are turned; see kernel_checks.hpp.
#pragma once

#include "kernel_checks.hpp"
// The kernel comes after the emulation's names.
#include "cnngen/cuda/kernels/transpose.cuh"

namespace checks {

using cnngen::TransposeShape;
using cnngen::TransposeTile;

// y[j, i] = 2 x[i, j] of matrices between whose rows, in both, something else lies; x may lack some of the last rows.
template <typename T, typename Y, TransposeTile tile, TransposeShape shape>
void transpose(const char* name, int matrices) {
    running = name;
    const std::size_t in = static_cast<std::size_t>(shape.readable - 1) * shape.row_pitch + shape.columns;
    const std::size_t out = static_cast<std::size_t>(shape.columns) * shape.column_pitch;
    const std::size_t stride = (in + tile.w - 1) / tile.w * tile.w;
    Buffer<T> x((matrices - 1) * stride + in);
    Buffer<Y> y(matrices * out);
    std::vector<unsigned char> calls(matrices * out, 0);
    fill(x);
    const unsigned blocks = cnngen::blocks(shape, tile);
    emulation::launch(blocks * matrices, tile.threads, [&] {
        const std::size_t matrix = blockIdx.x / blocks;
        const auto twice = [&](float (&acc)[tile.v], int place) {
            for (int v = 0; v < tile.v; ++v) {
                acc[v] *= 2.0f;
                ++calls[matrix * out + place + v];
            }
        };
        cnngen::transpose<T, tile, shape>(blockIdx.x % blocks, x.data() + matrix * stride, y.data() + matrix * out,
                                          twice);
    });
    y.check();
    for (std::size_t at = 0; at < y.size(); ++at) {
        const int i = at % out % shape.column_pitch, j = at % out / shape.column_pitch;
        if (i >= shape.rows) {
            if (!std::isnan(cnngen::to_float(y[at]))) emulation::fail("a kernel wrote between the rows");
            continue;
        }
        const std::size_t from = at / out * stride + static_cast<std::size_t>(i) * shape.row_pitch + j;
        expect(y[at], i < shape.readable ? 2.0 * cnngen::to_float(x[from]) : 0.0, 2.0, at);
        if (calls[at] != 1) emulation::fail("an epilogue that is not called once");
    }
    std::printf("%s\n", name);
}

}  // namespace checks
