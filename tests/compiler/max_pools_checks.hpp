// The checks of pools in shared memory; see kernel_checks.hpp.
#pragma once

#include "kernel_checks.hpp"
// The kernel comes after the emulation's names.
#include "cnngen/cuda/kernels/max_pools.cuh"

namespace checks {

using cnngen::MaxPoolsShape;
using cnngen::MaxPoolsTile;

// grid, shared: what the planner says that a launch takes.
template <typename T, typename Y, MaxPoolsTile tile, MaxPoolsShape shape>
void max_pools(const char* name, int batch, unsigned grid, unsigned shared, bool with_nan) {
    if (grid != cnngen::blocks(shape, tile, batch) || shared != cnngen::shared_bytes<T>(shape, tile)) {
        std::printf("%s: the planner has %u blocks, %u bytes\n", name, grid, shared);
        std::exit(1);
    }
    Buffer<T> x(static_cast<std::size_t>(batch) * shape.h * shape.w * shape.c);
    fill(x);
    if (with_nan) {
        for (std::size_t i = 0; i < x.size(); i += 37) x[i] = cnngen::from_float<T>(std::nanf(""));
    }
    const auto launch = [&](Y* y, const Epilogue& epilogue) {
        emulation::launch(
            grid, tile.threads, [&] { cnngen::max_pools<T, tile, shape>(batch, x.data(), y, epilogue); }, 1, shared);
    };
    run<Y>(name, batch, shape.c, shape.h, shape.w, launch, [&](int n, int c, int h, int w, double& scale) {
        double largest = -std::numeric_limits<double>::infinity();
        for (int ih = std::max(h - shape.kernel / 2, 0); ih <= std::min(h + shape.kernel / 2, shape.h - 1); ++ih) {
            for (int iw = std::max(w - shape.kernel / 2, 0); iw <= std::min(w + shape.kernel / 2, shape.w - 1); ++iw) {
                const double value = element(x, shape, n, ih, iw, c);
                if (std::isnan(value) || value > largest) largest = std::isnan(largest) ? largest : value;
                scale += std::isnan(value) ? 0.0 : std::fabs(value);
            }
        }
        return largest;
    });
}

}  // namespace checks
