// An operation as reference.cuh takes it: plain data that a kernel can be given.
#pragma once

#include <cstdint>

namespace cnngen {

struct ReferenceTensor {
    enum Type : int { float32, float16, bfloat16, int32, int64, uint8 };

    const void* data;
    Type type;
    int rank;
    std::int64_t dims[4];
    std::int64_t strides[4];  // in elements
};

struct ReferenceStep {
    // In the order of cnngen::Function.
    enum Function : int {
        add,
        mul,
        relu,
        sigmoid,
        tanh,
        elu,
        gelu,
        gelu_tanh,
        softplus,
        silu,
        hard_sigmoid,
        hard_swish
    };

    Function function;
    ReferenceTensor operand;  // of rank 0 where there is none
    float a, b, slope;
};

struct ReferenceProblem {
    enum Kind : int { convolution, matmul, batch_matmul };

    Kind kind;
    ReferenceTensor x, w, y;
    std::int64_t stride[2], padding[2], dilation[2], groups;
    int step_count;
    ReferenceStep steps[8];
};

// The kernels of reference.cuh, which only nvcc can compile.
struct ReferenceKernels {
    const void* check;
    const void* compare;
    const void* fill_float32;
    const void* fill_float16;
    const void* fill_bfloat16;
};

}  // namespace cnngen
