// The Python module of candidates that are to be measured: the same for all, but for what bindings.cpp tells it.
#include "cnngen/cuda/tuner_module.hpp"

#include "cnngen/cuda/python/tuner.hpp"

PYBIND11_MODULE(_core, m) { cnngen::bind_tuner(m, cnngen::network_of_module(), cnngen::reference_of_module()); }
