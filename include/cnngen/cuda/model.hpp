// What generated code says about its network, and the Pass that it walks. Light: generated code includes nothing else.
#pragma once

#include "cnngen/cuda/pass.hpp"

namespace cnngen {

// A network input or output.
struct Port {
    const char* name = "";
    DType dtype = DType::float32;
    const char* layout = "";           // of an image: "NCHW" or "NHWC"; otherwise ""
    std::vector<std::int64_t> shape;   // of one item of the batch, in memory order
    std::vector<std::size_t> staging;  // where host data passes through the arena: a byte offset by planned batch size

    std::int64_t elements() const {
        std::int64_t product = 1;
        for (std::int64_t extent : shape) product *= extent;
        return product;
    }
    std::size_t bytes() const { return static_cast<std::size_t>(elements()) * bytes_of(dtype); }
};

// Everything that generated code knows about its network.
struct Model {
    const char* name = "";
    const char* precision = "";  // for the summary: "float16 storage, float32 compute"
    std::vector<Port> inputs;
    std::vector<Port> outputs;
    std::vector<std::int64_t> batch_sizes;  // planned, ascending
    std::vector<std::size_t> arena_bytes;   // by planned batch size
    std::size_t weight_bytes = 0;
    const char* weight_file = "";    // its name
    const char* weight_layout = "";  // fingerprint of the tensors' names, offsets and shapes
    std::vector<int> architectures;  // that were compiled for: {__CUDA_ARCH_LIST__}
    const void* kernel = nullptr;    // any of its kernels, to ask whether this GPU can run them
    void (*forward)(Pass&) = nullptr;
};

}  // namespace cnngen
