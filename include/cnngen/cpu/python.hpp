// The Python module of a network on the CPU.
#pragma once

#include "cnngen/cpu/pipeline.hpp"
#include "cnngen/cpu/summary.hpp"
#include "cnngen/python/runner.hpp"

namespace cnngen::inline cpu {

namespace py = pybind11;

// What a network on the CPU takes and gives: arrays of numpy, and of any library that lays them open in host memory.
struct PythonDevice {
    using Model = cpu::Model;
    using Network = cpu::Network;
    using Context = cpu::Context;
    using Pipeline = cpu::Pipeline;
    struct Stream {};

    static constexpr const char* arrays = "a numpy array, or an array with __dlpack__";

    static Stream stream(const Context&, const py::object& given) {
        if (!given.is_none()) throw ArgumentError("stream: this network runs on the CPU, where there are no streams");
        return {};
    }

    static std::optional<python::View> view(py::handle object, Stream, bool) {
        if (const auto view = python::view_torch(object); view && !view->is_device) return view;
        if (!py::hasattr(object, "__dlpack__")) return std::nullopt;
        const auto device = py::cast<py::tuple>(object.attr("__dlpack_device__")());
        const int type = py::cast<int>(device[0]);
        if (type != python::on_cpu && type != python::on_cuda_host) {
            throw ArgumentError(text("an array on DLPack device type ", type,
                                     ": this network runs on the CPU; copy it "
                                     "to host memory first, as with x.cpu()"));
        }
        return python::view_capsule(object, object.attr("__dlpack__")(), false);
    }

    static py::object make_output(const Context&, const std::vector<std::int64_t>&, const Port&, Stream, void*&) {
        throw Error("outputs on the CPU are numpy arrays");  // no view is on a device
    }

    static void run(Context& context, std::span<const void* const> inputs, std::span<void* const> outputs,
                    std::int64_t n, std::size_t profile, Stream, bool) {
        context.run(inputs, outputs, n, profile);
    }

    static std::string summary(const Context& context) { return cpu::summary(context); }
};

inline std::unique_ptr<Network> make_network(const Model& model, const std::string& weights, int threads) {
    const py::gil_scoped_release release;
    return std::make_unique<Network>(model, Options{weights, threads});
}

// Network and Context of one network.
inline void bind(py::module_& m, const Model& model) {
    python::bind_runner<PythonDevice>(m).def(
        py::init([&model](const std::string& weights, int threads) { return make_network(model, weights, threads); }),
        py::arg("weights"), py::arg("threads"));
}

// The same for any network of any library that is loaded: `model` is the address of its Model.
inline void bind_any(py::module_& m) {
    python::bind_runner<PythonDevice>(m).def(
        py::init([](std::uintptr_t model, const std::string& weights, int threads) {
            return make_network(*reinterpret_cast<const Model*>(model), weights, threads);
        }),
        py::arg("model"), py::arg("weights"), py::arg("threads") = 0);
}

}  // namespace cnngen::inline cpu
