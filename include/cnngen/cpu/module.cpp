// The Python module of a network on the CPU: the same for all of them, but for what bindings.cpp tells it.
#include "cnngen/cpu/module.hpp"

#include "cnngen/cpu/python.hpp"

PYBIND11_MODULE(_core, m) { cnngen::bind(m, cnngen::network_of_module()); }
