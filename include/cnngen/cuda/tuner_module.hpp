// What a tuner's Python module is told by the candidates that are in it.
#pragma once

#include "cnngen/cuda/kernels/reference_problem.hpp"
#include "cnngen/cuda/module.hpp"

namespace cnngen::inline cuda {

ReferenceKernels reference_of_module();

}  // namespace cnngen::inline cuda
