// A pass on a GPU: kernels have a grid.
#pragma once

#include <cuda_runtime_api.h>

#include "cnngen/pass.hpp"

namespace cnngen::inline cuda {

// How a kernel is launched: blocks in clusters of `cluster`, with `shared` bytes beside what the kernel declares.
struct Grid {
    unsigned blocks;
    unsigned threads;
    unsigned cluster = 1;
    unsigned shared = 0;
};

// A kernel about to be launched.
struct KernelCall {
    const Layers& layers;
    Tensor y;
    const void* function;
    Grid grid;
    std::span<const Argument> arguments;
};

using StepVisitor = BasicVisitor<KernelCall>;

class Pass : public BasicPass<KernelCall> {
   public:
    using BasicPass::BasicPass;

    // Launches kernel(arguments...), which makes y. Arguments are converted to the kernel's parameter types.
    template <class... Parameters, class... Arguments>
    void launch(const Layers& layers, const Tensor& y, void (*kernel)(Parameters...), const Grid& grid,
                const Arguments&... arguments) {
        with_arguments(
            kernel,
            [&](std::span<const Argument> list) {
                visit({layers, y, reinterpret_cast<const void*>(kernel), grid, list});
            },
            arguments...);
    }

    template <class... Parameters, class... Arguments>
    void launch(const Layers& layers, const Tensor& y, void (*kernel)(Parameters...), std::int64_t blocks,
                unsigned threads, const Arguments&... arguments) {
        launch(layers, y, kernel, Grid{static_cast<unsigned>(blocks), threads}, arguments...);
    }
};

// Blocks of `threads` that cover `items`.
constexpr unsigned blocks(std::int64_t items, int threads) {
    return static_cast<unsigned>((items + threads - 1) / threads);
}

}  // namespace cnngen::inline cuda
