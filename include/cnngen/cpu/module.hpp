// What a Python module is told by the network that is in it.
#pragma once

#include "cnngen/cpu/model.hpp"

namespace cnngen::inline cpu {

const Model& network_of_module();

}  // namespace cnngen::inline cpu
