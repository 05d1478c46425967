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

class StepVisitor : public BasicVisitor<KernelCall> {
   public:
    // What follows goes on a stream, numbered from that of the pass on, after all that was put on those of `after`
    // until now. Who runs step by step has nothing to do for it: the order of the steps is one of those allowed.
    virtual void on(std::size_t /*stream*/, std::span<const std::size_t> /*after*/) {}
};

class Pass : public BasicPass<KernelCall> {
   public:
    Pass(StepVisitor& visitor, const Buffers& buffers, std::int64_t batch, std::size_t plan)
        : BasicPass(visitor, buffers, batch, plan), streams_(visitor) {}

    // See StepVisitor.
    void on(std::size_t stream, std::initializer_list<std::size_t> after = {}) { streams_.on(stream, after); }

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

   private:
    StepVisitor& streams_;
};

// Blocks of `threads` that cover `items`.
constexpr unsigned blocks(std::int64_t items, int threads) {
    return static_cast<unsigned>((items + threads - 1) / threads);
}

}  // namespace cnngen::inline cuda
