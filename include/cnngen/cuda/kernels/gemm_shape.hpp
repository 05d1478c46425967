// What a convolution on tensor cores is told at run time; see implicit_gemm.cuh.
#pragma once

namespace cnngen {

// Geometry. Layers of one tile and one epilogue share a kernel.
struct GemmShape {
    int c, h, w;    // input; c is a multiple of 8
    int k, oh, ow;  // filters, and where they are applied
    int r = 1, s = 1;
    int stride_h = 1, stride_w = 1;
    int dilation_h = 1, dilation_w = 1;
    int pad_top = 0, pad_left = 0;
    // Filters [phase, filter]: each place gives phases_h x phases_w neighbouring pixels of y, which has y_h x y_w.
    int phases_h = 1, phases_w = 1;
    int y_h = oh, y_w = ow;
    int x_pixel = c;  // elements from a pixel to its neighbour: more where the tensor is a slice of wider pixels
    int y_pixel = k / (phases_h * phases_w);
};

}  // namespace cnngen
