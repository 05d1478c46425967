// A chain of max pools of one window and stride 1 at once, as pyramids of them end networks: pools of pools are pools
// of larger windows, of which each holds the one before.
#pragma once

#include "functions.cuh"
#include "vector.cuh"

namespace cnngen {

struct MaxPoolsShape {
    int c, h, w;
    int kernel;  // odd
    int count;   // of pools
};

// y[n, h, w, level, c] = largest of x[n, h - level * (kernel / 2) ... h + level * (kernel / 2), likewise w, c]; a NaN
// is larger than any number.
//
// x: [batch, shape.h, shape.w, shape.c]; y: [batch, shape.h, shape.w, (shape.count + 1) * shape.c].
// Launch: at least batch * shape.h * shape.w * shape.c / v threads.
template <typename T, int v, MaxPoolsShape shape, typename Y>
__device__ __forceinline__ void max_pools(int batch, const T* x, Y* y) {
    static_assert(shape.c % v == 0 && shape.kernel % 2 == 1 && shape.count > 0);
    constexpr unsigned groups = shape.c / v;
    const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
    const int c = static_cast<int>(item % groups) * v;
    const unsigned pixel = item / groups;
    const int w = static_cast<int>(pixel % shape.w), h = static_cast<int>(pixel / shape.w % shape.h);
    const int n = static_cast<int>(pixel / shape.w / shape.h);
    if (n >= batch) return;

    const T* const image = x + static_cast<std::int64_t>(n) * (shape.h * shape.w * shape.c) + c;
    float best[shape.count + 1][v];
    to_float(load_readonly<v>(image + (h * shape.w + w) * shape.c), best[0]);
#pragma unroll
    for (int level = 1; level <= shape.count; ++level) {
        // Around what the level before has seen.
        const int seen = (level - 1) * (shape.kernel / 2), reach = level * (shape.kernel / 2);
#pragma unroll
        for (int lane = 0; lane < v; ++lane) best[level][lane] = best[level - 1][lane];
        for (int dh = -reach; dh <= reach; ++dh) {
            if (static_cast<unsigned>(h + dh) >= static_cast<unsigned>(shape.h)) continue;
            const bool crosses = -seen <= dh && dh <= seen;
            for (int dw = -reach; dw <= reach; ++dw) {
                if (crosses && dw == -seen) dw = seen + 1;
                if (static_cast<unsigned>(w + dw) >= static_cast<unsigned>(shape.w)) continue;
                float value[v];
                to_float(load_readonly<v>(image + ((h + dh) * shape.w + w + dw) * shape.c), value);
#pragma unroll
                for (int lane = 0; lane < v; ++lane) best[level][lane] = fn::max(value[lane], best[level][lane]);
            }
        }
    }
    Y* const to = y + static_cast<std::int64_t>(pixel) * ((shape.count + 1) * shape.c) + c;
#pragma unroll
    for (int level = 0; level <= shape.count; ++level) store(to + level * shape.c, from_float<Y>(best[level]));
}

}  // namespace cnngen
