// The Python module of a network on a GPU: the same for all of them, but for what bindings.cpp tells it.
#include "cnngen/cuda/module.hpp"

#include "cnngen/cuda/python.hpp"

PYBIND11_MODULE(_core, m) { cnngen::bind(m, cnngen::network_of_module()); }
