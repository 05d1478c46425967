// What generated code says about its network, whatever it runs on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "cnngen/tensor.hpp"

namespace cnngen {

// A network input or output.
struct Port {
    const char* name = "";
    DType dtype = DType::float32;
    const char* layout = "";           // of an image: "NCHW" or "NHWC"; otherwise ""
    std::vector<std::int64_t> shape;   // of one item of the batch, in memory order; whole where there is no batch
    std::vector<std::size_t> staging;  // where it may pass through the arena: a byte offset by planned batch size

    std::int64_t elements() const {
        std::int64_t product = 1;
        for (std::int64_t extent : shape) product *= extent;
        return product;
    }
    std::size_t bytes() const { return static_cast<std::size_t>(elements()) * bytes_of(dtype); }
};

// Everything that generated code knows about its network. `Code`: what it was compiled for.
template <class Pass, class Code>
struct BasicModel {
    const char* name = "";
    const char* precision = "";  // for the summary: "float16 storage, float32 compute"
    std::vector<Port> inputs;
    std::vector<Port> outputs;
    bool batched = true;                    // false: ports have no batch axis, and a pass is one item
    std::vector<std::int64_t> batch_sizes;  // planned, ascending
    std::vector<std::size_t> arena_bytes;   // by planned batch size
    std::size_t weight_bytes = 0;
    const char* weight_file = "";    // its name
    const char* weight_layout = "";  // fingerprint of the tensors' names, offsets and shapes
    Code code = {};
    void (*forward)(Pass&) = nullptr;

    // The smallest planned batch size that holds n, by its index. Throws where there is none.
    std::size_t batch_index_for(std::int64_t n) const {
        const auto found = std::ranges::lower_bound(batch_sizes, n);
        if (n >= 1 && found != batch_sizes.end()) return static_cast<std::size_t>(found - batch_sizes.begin());
        std::string list;
        for (std::int64_t size : batch_sizes) list += text(list.empty() ? "" : ", ", size);
        throw ArgumentError(text("a batch of ", n, ": '", name, "' was built for batch sizes ", list, " and runs 1 to ",
                                 batch_sizes.back()));
    }

    // Throws unless there is one array for each input and output.
    void check_counts(std::size_t given_inputs, std::size_t given_outputs) const {
        const auto check = [&](std::size_t got, std::size_t expected, const char* what) {
            if (got == expected) return;
            throw ArgumentError(text("'", name, "' has ", expected, " ", what, ", ", got, " were given"));
        };
        check(given_inputs, inputs.size(), "inputs");
        check(given_outputs, outputs.size(), "outputs");
    }
};

}  // namespace cnngen
