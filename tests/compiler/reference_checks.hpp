// What tuning holds results against: that it finds every difference, and nothing else.
#pragma once

#include "emulation.hpp"
// The kernels come after the emulation's names.
inline void atomicAdd(double* to, double value) { *to += value; }
#include "cnngen/cuda/kernels/reference.cuh"

namespace checks {

using half = __half;
using bfloat16 = __nv_bfloat16;

// Rows of `width` elements, `pitch` apart; those between are of no account.
template <typename T>
void comparison(const char* name, cnngen::ReferenceTensor::Type type, int width, int pitch, int count) {
    emulation::Buffer<T> got(static_cast<std::size_t>(count) * pitch), kept(static_cast<std::size_t>(count) * width);
    double norm = 0;
    for (int i = 0; i < count * pitch; ++i) got[i] = cnngen::from_float<T>(float(i % 7 + 1));
    for (int i = 0; i < count * width; ++i) {
        kept[i] = got[i / width * pitch + i % width];
        norm += std::pow(cnngen::to_float(kept[i]), 2);
    }
    const auto totals = [&] {
        std::array<double, 3> found{};
        emulation::launch(
            2, 64, [&] { cnngen::compare_elements(type, got.data(), pitch, kept.data(), width, count, found.data()); });
        return found;
    };
    const auto expect = [&](double off, double of, double odd) {
        if (totals() != std::array{off, of, odd}) emulation::fail("the sums are wrong");
    };
    expect(0, norm, 0);
    T& last = got[(count - 1) * pitch + width - 1];
    const double before = cnngen::to_float(last);
    last = cnngen::from_float<T>(float(before + 3));
    expect(9, norm, 0);
    if constexpr (!std::is_integral_v<T>) {
        last = cnngen::from_float<T>(std::nanf(""));
        expect(0, norm - before * before, 1);
        kept[count * width - 1] = last;
        expect(0, norm - before * before, 0);
    }
    std::puts(name);
}

}  // namespace checks
