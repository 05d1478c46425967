// What a Python module is told by the network that is in it.
#pragma once

#include "cnngen/cuda/model.hpp"

namespace cnngen::inline cuda {

const Model& network_of_module();

}  // namespace cnngen::inline cuda
