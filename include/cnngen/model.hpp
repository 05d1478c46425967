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
    std::vector<std::size_t> staging;  // where it may pass through the arena: a byte offset by plan
    std::vector<std::vector<std::int64_t>> further = {};  // the shapes in profiles 1, 2, ...; `shape` is profile 0's

    const std::vector<std::int64_t>& shape_in(std::size_t profile) const {
        return profile ? further[profile - 1] : shape;
    }
    // Of one item.
    std::size_t bytes(std::size_t profile = 0) const {
        std::size_t product = bytes_of(dtype);
        for (std::int64_t extent : shape_in(profile)) product *= static_cast<std::size_t>(extent);
        return product;
    }
    // In the profile where they are most.
    std::size_t most_bytes() const {
        std::size_t most = 0;
        for (std::size_t profile = 0; profile <= further.size(); ++profile) most = std::max(most, bytes(profile));
        return most;
    }
};

// Everything that generated code knows about its network. `Code`: what it was compiled for.
//
// A profile is a set of shapes that the inputs may have; most networks have one. A plan is a profile at a planned batch
// size: plans are numbered by batch size, those of profile 0 first.
template <class Pass, class Code>
struct BasicModel {
    const char* name = "";
    const char* precision = "";  // for the summary: "float16 storage, float32 compute"
    std::vector<Port> inputs;
    std::vector<Port> outputs;
    bool batched = true;                    // false: ports have no batch axis, and a pass is one item
    std::vector<std::int64_t> batch_sizes;  // planned, ascending
    std::vector<std::size_t> arena_bytes;   // by plan
    std::size_t weight_bytes = 0;
    const char* weight_file = "";    // its name
    const char* weight_layout = "";  // fingerprint of the tensors' names, offsets and shapes
    Code code = {};
    void (*forward)(Pass&) = nullptr;

    std::size_t profile_count() const { return 1 + inputs.front().further.size(); }
    std::size_t plan_count() const { return profile_count() * batch_sizes.size(); }
    std::size_t profile_of(std::size_t plan) const { return plan / batch_sizes.size(); }
    std::int64_t batch_of(std::size_t plan) const { return batch_sizes[plan % batch_sizes.size()]; }

    // The plan of the smallest planned batch size that holds n. Throws where there is none.
    std::size_t plan_for(std::int64_t n, std::size_t profile) const {
        if (profile >= profile_count()) {
            throw ArgumentError(
                text("there is no profile ", profile, ": '", name, "' has ", profile_count(), ", numbered from 0"));
        }
        const auto found = std::ranges::lower_bound(batch_sizes, n);
        if (n >= 1 && found != batch_sizes.end()) {
            return profile * batch_sizes.size() + static_cast<std::size_t>(found - batch_sizes.begin());
        }
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
