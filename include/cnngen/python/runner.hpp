// A network and its contexts as Python classes. What a target's arrays, streams and options are, its Device says:
//
//   Model, Network, Context, Pipeline       the target's own
//   Stream                                  where a pass runs
//   stream(context, given)                  the one that was given, or where it is None the context's own
//   view(array, stream, is_ready)           an array of another library than numpy; nothing where it is none. is_ready:
//                                           the stream need not wait for it
//   arrays                                  what view() takes, in words
//   make_output(context, shape, port, stream, address)   an output beside inputs that are not on the host
//   run(context, inputs, outputs, n, profile, stream, wait)
//   summary(context)
#pragma once

#include "cnngen/python/pipeline.hpp"

#pragma GCC visibility push(hidden)  // as pybind11's own classes are
namespace cnngen::python {

// A context with the arrays of its last pass, which may still be in use.
template <class Device>
class Runner {
   public:
    using Stream = typename Device::Stream;

    explicit Runner(const typename Device::Network& network) : context_(network), ports_(context_.model()) {}

    // Outputs in the model's order; those not given are made beside the inputs. With `wait`, or with outputs on the
    // host and no say on the stream, they are ready on return. is_ready: the stream need not wait for any array.
    py::list run(const py::list& inputs, const py::object& outputs, const py::object& stream, bool wait,
                 bool is_ready) {
        const Stream on = Device::stream(context_, stream);
        const Inputs given = ports_.take_inputs(inputs, on, is_ready);
        const std::vector<Port>& ports = context_.model().outputs;
        std::vector<void*> targets;
        py::list results;
        bool has_host_output = false;
        for (std::size_t i = 0; i < ports.size(); ++i) {
            const auto shape = array_shape(ports[i].shape_in(given.profile), given.n, context_.model().batched);
            if (!outputs.is_none()) {
                results.append(py::cast<py::list>(outputs)[i]);
            } else if (given.is_device) {
                void* address = nullptr;
                results.append(Device::make_output(context_, shape, ports[i], on, address));
                targets.push_back(address);
                continue;
            } else {
                results.append(numpy_output(ports[i], shape));
            }
            targets.push_back(
                ports_.take_output(results[i], ports[i], given.n, given.profile, on, is_ready, has_host_output));
        }
        {
            const py::gil_scoped_release release;
            Device::run(context_, given.addresses, targets, given.n, given.profile, on,
                        wait && (stream.is_none() || has_host_output));
        }
        held_ = py::make_tuple(given.held, results);
        return results;
    }

    void synchronize() {
        {
            const py::gil_scoped_release release;
            context_.synchronize();
        }
        held_ = py::object();
    }

    py::list profile(const py::list& inputs) {
        const Inputs given = take_inputs(inputs);
        std::vector<LayerTime> times;
        {
            const py::gil_scoped_release release;
            times = context_.profile(given.addresses, given.n, given.profile);
        }
        py::list out;
        for (const auto& [layer, microseconds] : times) out.append(py::make_tuple(layer, microseconds));
        return out;
    }

    py::list trace(const py::list& inputs) {
        const Inputs given = take_inputs(inputs);
        std::vector<TracedLayer> layers;
        {
            const py::gil_scoped_release release;
            layers = context_.trace(given.addresses, given.n, given.profile);
        }
        py::list out;
        for (const auto& layer : layers) out.append(py::make_tuple(layer.layer, numpy_layer(layer)));
        return out;
    }

    std::string summary() const { return Device::summary(context_); }

    py::dict startup() const {
        py::dict out;
        for (const auto* timings : {&context_.network().startup(), &context_.startup()}) {
            for (const auto& [part, milliseconds] : *timings) out[py::str(part)] = milliseconds;
        }
        return out;
    }

    py::dict memory() const {
        const auto memory = context_.memory();
        py::dict out;
        out["weights"] = memory.weights;
        out["arena"] = memory.arena;
        out["workspace"] = memory.workspace;
        out["pinned"] = memory.pinned;
        return out;
    }

   private:
    // For a pass on the context's own stream.
    Inputs take_inputs(const py::list& inputs) const {
        return ports_.take_inputs(inputs, Device::stream(context_, py::none()));
    }

    typename Device::Context context_;
    Ports<Device> ports_;
    py::object held_;  // of the pass under way
};

template <class Device>
std::unique_ptr<Runner<Device>> make_runner(const typename Device::Network& network) {
    const py::gil_scoped_release release;
    return std::make_unique<Runner<Device>>(network);
}

template <class Device>
std::unique_ptr<PipelineRunner<Device>> make_pipeline(const typename Device::Network& network, std::size_t contexts) {
    const py::gil_scoped_release release;
    return std::make_unique<PipelineRunner<Device>>(network, contexts);
}

// The exceptions and the classes Context and Pipeline; the class Network is the target's.
template <class Device>
py::class_<typename Device::Network> bind_runner(py::module_& m) {
    auto& error = py::register_local_exception<Error>(m, "Error", PyExc_RuntimeError);
    py::register_local_exception<ArgumentError>(m, "ArgumentError",
                                                py::make_tuple(error, py::handle(PyExc_ValueError)));
    py::class_<typename Device::Network> network(m, "Network", py::module_local());
    py::class_<Runner<Device>>(m, "Context", py::module_local())
        .def(py::init(&make_runner<Device>), py::arg("network"))
        .def("run", &Runner<Device>::run, py::arg("inputs"), py::arg("outputs"), py::arg("stream"), py::arg("wait"),
             py::arg("is_ready") = false)
        .def("synchronize", &Runner<Device>::synchronize)
        .def("profile", &Runner<Device>::profile, py::arg("inputs"))
        .def("trace", &Runner<Device>::trace, py::arg("inputs"))
        .def("summary", &Runner<Device>::summary)
        .def("startup", &Runner<Device>::startup)
        .def("memory", &Runner<Device>::memory);
    py::class_<Inputs>(m, "Part", py::module_local())
        .def_readonly("n", &Inputs::n)
        .def_readonly("profile", &Inputs::profile)
        .def_readonly("like", &Inputs::like);
    py::class_<PipelineRunner<Device>>(m, "Pipeline", py::module_local())
        .def(py::init(&make_pipeline<Device>), py::arg("network"), py::arg("contexts"))
        .def_property_readonly("contexts", &PipelineRunner<Device>::contexts)
        .def_property_readonly("pending", &PipelineRunner<Device>::pending)
        .def("take", &PipelineRunner<Device>::take, py::arg("arrays"), py::arg("is_item"))
        .def("submit", &PipelineRunner<Device>::submit, py::arg("parts"), py::arg("outputs"))
        .def("next", &PipelineRunner<Device>::next)
        .def("close", &PipelineRunner<Device>::close);
    return network;
}

}  // namespace cnngen::python
#pragma GCC visibility pop
