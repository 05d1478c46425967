// The tuner as a Python class, for the project that `cnngen tune` makes.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "cnngen/cuda/tuner.hpp"

namespace py = pybind11;

#pragma GCC visibility push(hidden)  // as pybind11's own classes are
namespace cnngen::inline cuda {

inline py::tuple measurement(const Measurement& m) { return py::make_tuple(m.microseconds, m.spread); }

// (plan, engine, stream, after) of each step; see PassStep.
using PassSteps = std::vector<std::tuple<std::size_t, std::string, std::size_t, std::vector<std::size_t>>>;

inline Tuner::Choices choices(const PassSteps& steps) {
    Tuner::Choices out;
    for (const auto& [plan, engine, stream, after] : steps) out.push_back({plan, engine, stream, after});
    return out;
}

inline void bind_tuner(py::module_& m, const Model& model, const ReferenceKernels& reference) {
    using Release = py::call_guard<py::gil_scoped_release>;
    py::register_local_exception<Error>(m, "Error", PyExc_RuntimeError);
    py::class_<Tuner>(m, "Tuner", py::module_local())
        .def(py::init([&model, reference](const std::string& weights, int device,
                                          const std::vector<std::pair<std::size_t, std::size_t>>& tensors,
                                          std::vector<std::size_t> footprints, std::size_t workspace_limit) {
                 std::vector<Weight> table;
                 for (const auto& [offset, bytes] : tensors) table.push_back({offset, bytes});
                 return std::make_unique<Tuner>(model, reference, weights, device, std::move(table),
                                                std::move(footprints), workspace_limit);
             }),
             py::arg("weights"), py::arg("device"), py::arg("tensors"), py::arg("footprints"),
             py::arg("workspace_limit"))
        .def("steps",
             [](const Tuner& tuner, std::size_t plan) {
                 py::list out;
                 for (const CandidateStep& step : tuner.steps(plan)) {
                     out.append(py::make_tuple(step.layer, step.operation.has_value()));
                 }
                 return out;
             })
        .def("prepare", &Tuner::prepare, Release())
        .def("engines", &Tuner::engines, Release())
        .def("fallbacks", &Tuner::fallbacks, Release())
        .def("variations", &Tuner::variations, Release())
        .def("workspace", &Tuner::workspace, Release())
        .def("error", &Tuner::error, Release())
        .def("save_plans", &Tuner::save_plans, Release())
        .def("keep", &Tuner::keep, Release())
        .def("difference", &Tuner::difference, Release())
        .def("glance", &Tuner::glance, Release())
        .def("measure",
             [](Tuner& tuner, std::size_t plan, std::size_t step, const std::string& engine, int launches,
                double no_more) { return measurement(tuner.measure(plan, step, engine, launches, no_more)); })
        .def("measure_pass", [](Tuner& tuner, std::size_t plan, const PassSteps& steps,
                                int replays) { return measurement(tuner.measure_pass(plan, choices(steps), replays)); })
        .def("run_pass",
             [](Tuner& tuner, std::size_t plan, const PassSteps& steps, const std::vector<py::buffer>& inputs,
                const std::vector<py::buffer>& outputs, bool one_by_one) {
                 std::vector<const void*> from;
                 std::vector<void*> to;
                 for (const py::buffer& buffer : inputs) from.push_back(buffer.request().ptr);
                 for (const py::buffer& buffer : outputs) to.push_back(buffer.request(/*writable=*/true).ptr);
                 tuner.run_pass(plan, choices(steps), from, to, one_by_one);
             })
        .def("versions", [](const Tuner& tuner) {
            int driver = 0;
            cudaDriverGetVersion(&driver);
            py::dict out;
            out["gpu"] = std::string(tuner.gpu().name);
            out["capability"] = text(tuner.gpu().major, ".", tuner.gpu().minor);
            out["driver"] = cuda_version_text(driver);
            out["cuda"] = cuda_version_text(CUDART_VERSION);
            out["cudnn"] = cudnn_version_text(cudnnGetVersion());
            out["cublaslt"] = std::to_string(cublasLtGetVersion());
            return out;
        });
}

}  // namespace cnngen::inline cuda
#pragma GCC visibility pop
