// What generated CPU code says about its network, and the Pass that it walks. Light: it includes nothing else.
#pragma once

#include "cnngen/cpu/pass.hpp"
#include "cnngen/model.hpp"

namespace cnngen::inline cpu {

// What the kernels were compiled for: compiled_features of features.hpp where they stand.
struct Code {
    std::uint32_t features = 0;
};

using Model = BasicModel<Pass, Code>;

}  // namespace cnngen::inline cpu
