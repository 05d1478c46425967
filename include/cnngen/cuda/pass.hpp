// A pass on a GPU: kernels have a grid.
#pragma once

#include <cuda_runtime_api.h>

#include "cnngen/pass.hpp"

namespace cnngen::inline cuda {

// A kernel about to be launched.
struct KernelCall {
    const Layers& layers;
    Tensor y;
    const void* function;
    dim3 grid;
    dim3 block;
    std::span<const Argument> arguments;
};

using StepVisitor = BasicVisitor<KernelCall>;

class Pass : public BasicPass<KernelCall> {
   public:
    using BasicPass::BasicPass;

    // Launches kernel(arguments...), which makes y. Arguments are converted to the kernel's parameter types.
    template <class... Parameters, class... Arguments>
    void launch(const Layers& layers, const Tensor& y, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                const Arguments&... arguments) {
        with_arguments(
            kernel,
            [&](std::span<const Argument> list) {
                visit({layers, y, reinterpret_cast<const void*>(kernel), grid, block, list});
            },
            arguments...);
    }
};

// Blocks of `threads` that cover `items`.
constexpr unsigned blocks(std::int64_t items, int threads) {
    return static_cast<unsigned>((items + threads - 1) / threads);
}

}  // namespace cnngen::inline cuda
