#pragma once

namespace mini::kernels {

__global__ void fill(float* y, int n);

}  // namespace mini::kernels
