// The tuner over the network of network.cpp, on the fake of CUDA.
#include "cnngen/cuda/python/tuner.hpp"

#include "fake_cuda.hpp"

namespace fakenet {
const cnngen::Model& model();

namespace {
template <class T>
void fill(T* data, std::int64_t count, unsigned) {
    for (std::int64_t i = 0; i < count; ++i) data[i] = T(1);
}
void check(cnngen::ReferenceProblem, std::int64_t, double*) {}
void compare(cnngen::ReferenceTensor::Type, const void* got, std::int64_t pitch, const void* kept, std::int64_t width,
             std::int64_t count, double* totals) {
    for (std::int64_t i = 0; i < width * count; ++i) {
        const double a = static_cast<const float*>(got)[i / width * pitch + i % width];
        const double b = static_cast<const float*>(kept)[i];
        totals[0] += (a - b) * (a - b), totals[1] += b * b;
    }
}
Registered<fill<float>> r1;
Registered<fill<std::uint16_t>> r2;
Registered<check> r3;
Registered<compare> r4;
}  // namespace
}  // namespace fakenet

PYBIND11_MODULE(_tuner, m) {
    cnngen::bind_tuner(m, fakenet::model(),
                       {reinterpret_cast<const void*>(fakenet::check), reinterpret_cast<const void*>(fakenet::compare),
                        reinterpret_cast<const void*>(fakenet::fill<float>),
                        reinterpret_cast<const void*>(fakenet::fill<std::uint16_t>),
                        reinterpret_cast<const void*>(fakenet::fill<std::uint16_t>)});
}
