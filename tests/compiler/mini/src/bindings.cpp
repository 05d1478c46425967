#include <pybind11/pybind11.h>

#include "mini/mini.hpp"

PYBIND11_MODULE(_core, m) {
    m.def("versions", [] {
        const mini::Versions v = mini::versions();
        return pybind11::make_tuple(v.cudnn, v.cublaslt, v.runtime);
    });
    m.def("launch", &mini::launch);
}
