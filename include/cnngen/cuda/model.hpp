// What generated CUDA code says about its network, and the Pass that it walks. Light: it includes nothing else.
#pragma once

#include "cnngen/cuda/pass.hpp"
#include "cnngen/model.hpp"

namespace cnngen::inline cuda {

struct Code {
    std::vector<int> architectures;  // that were compiled for: {__CUDA_ARCH_LIST__}
    const void* kernel = nullptr;    // any of its kernels, to ask whether this GPU can run them
    int capability = 0;              // the least that its kernels need: 90 is compute capability 9.0
    const char* tuned_for = "";      // the GPU whose lock it follows
};

using Model = BasicModel<Pass, Code>;

}  // namespace cnngen::inline cuda
