// The checks of convolutions on tensor cores; see kernel_checks.hpp.
#pragma once

#include "kernel_checks.hpp"
// The kernels come after the emulation's names.
#include "cnngen/cuda/kernels/direct_gemm.cuh"
#include "cnngen/cuda/kernels/implicit_gemm.cuh"
#include "cnngen/cuda/kernels/tap_gemm.cuh"
#include "cnngen/cuda/kernels/window_gemm.cuh"

namespace checks {

using cnngen::DirectGemmTile;
using cnngen::GemmShape;
using cnngen::GemmTile;
using cnngen::TapGemmTile;
using cnngen::WindowGemmTile;

// x and y are slices of wider pixels where the shape says so; what lies beside y must stay as it is.
// kernel: what each thread calls with x, the filters, y and the epilogue.
template <typename T, typename Y, typename Tile, typename Kernel>
void dense_conv(const char* name, int batch, const GemmShape& shape, const Tile& tile, unsigned together, int shared,
                const Kernel& kernel) {
    const std::size_t in = static_cast<std::size_t>(batch) * shape.h * shape.w;
    const std::size_t out = static_cast<std::size_t>(batch) * shape.y_h * shape.y_w;
    const int filters = shape.k / (shape.phases_h * shape.phases_w);
    Buffer<T> x(in * shape.x_pixel - (shape.x_pixel - shape.c));
    Buffer<T> weight(static_cast<std::size_t>(shape.k) * shape.r * shape.s * shape.c);
    Buffer<Y> wide(out * shape.y_pixel - (shape.y_pixel - filters));
    fill(x);
    fill(weight);
    const auto launch = [&](Y* y, const Epilogue& epilogue) {
        emulation::launch(
            cnngen::blocks(shape, tile, batch), tile.threads(),
            [&] { kernel(x.data(), weight.data(), wide.data(), epilogue); }, together, shared);
        wide.check();
        for (std::size_t pixel = 0; pixel < out; ++pixel) {
            for (int k = 0; k < shape.y_pixel && (k < filters || pixel + 1 < out); ++k) {
                const Y value = wide[pixel * shape.y_pixel + k];
                if (k < filters) {
                    y[pixel * filters + k] = value;
                } else if (!std::isnan(cnngen::to_float(value))) {
                    emulation::fail("a kernel wrote beside its slice");
                }
            }
        }
    };
    run<Y>(name, batch, filters, shape.y_h, shape.y_w, launch, [&](int n, int k, int y_h, int y_w, double& scale) {
        double sum = 0.0;
        const int h = y_h / shape.phases_h, w = y_w / shape.phases_w;
        k += (y_h % shape.phases_h * shape.phases_w + y_w % shape.phases_w) * filters;
        for (int r = 0; r < shape.r; ++r) {
            for (int s = 0; s < shape.s; ++s) {
                const int ih = h * shape.stride_h - shape.pad_top + r * shape.dilation_h;
                const int iw = w * shape.stride_w - shape.pad_left + s * shape.dilation_w;
                if (ih < 0 || ih >= shape.h || iw < 0 || iw >= shape.w) continue;
                const std::size_t pixel = (static_cast<std::size_t>(n) * shape.h + ih) * shape.w + iw;
                for (int c = 0; c < shape.c; ++c) {
                    const double term = cnngen::to_float(x[pixel * shape.x_pixel + c]) *
                                        cnngen::to_float(weight[((k * shape.r + r) * shape.s + s) * shape.c + c]);
                    sum += term;
                    scale += std::fabs(term);
                }
            }
        }
        return sum;
    });
}

template <typename T, typename Y, GemmTile tile>
void implicit_gemm(const char* name, int batch, const GemmShape& shape) {
    dense_conv<T, Y>(name, batch, shape, tile, tile.split, tile.shared(),
                     [&](const auto&... arguments) { cnngen::implicit_gemm<T, tile>(batch, shape, arguments...); });
}

template <typename T, typename Y, DirectGemmTile tile>
void direct_gemm(const char* name, int batch, const GemmShape& shape) {
    dense_conv<T, Y>(name, batch, shape, tile, 1, 0,
                     [&](const auto&... arguments) { cnngen::direct_gemm<T, tile>(batch, shape, arguments...); });
}

template <typename T, typename Y, WindowGemmTile tile>
void window_gemm(const char* name, int batch, const GemmShape& shape) {
    dense_conv<T, Y>(name, batch, shape, tile, 1, cnngen::shared_bytes(shape, tile),
                     [&](const auto&... arguments) { cnngen::window_gemm<T, tile>(batch, shape, arguments...); });
}

template <typename T, typename Y, TapGemmTile tile>
void tap_gemm(const char* name, int batch, const GemmShape& shape) {
    dense_conv<T, Y>(name, batch, shape, tile, 1, cnngen::shared_bytes(shape, tile),
                     [&](const auto&... arguments) { cnngen::tap_gemm<T, tile>(batch, shape, arguments...); });
}

}  // namespace checks
