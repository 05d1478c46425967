// A network and its contexts as Python classes. What a target's arrays, streams and options are, its Device says:
//
//   Network, Context                        the target's own
//   Stream                                  where a pass runs
//   stream(context, given)                  the one that was given, or where it is None the context's own
//   view(array, stream)                     an array of another library than numpy; nothing where it is none
//   arrays                                  what view() takes, in words
//   make_output(context, shape, port, stream, address)   an output beside inputs that are not on the host
//   run(context, inputs, outputs, n, profile, stream, wait)
//   summary(context)
#pragma once

#include <optional>

#include "cnngen/python/arrays.hpp"

#pragma GCC visibility push(hidden)  // as pybind11's own classes are
namespace cnngen::python {

// A context with the arrays of its last pass, which may still be in use.
template <class Device>
class Runner {
   public:
    using Stream = typename Device::Stream;

    explicit Runner(const typename Device::Network& network) : context_(network) {}

    // Outputs in the model's order; those not given are made beside the inputs. With `wait`, or with outputs on the
    // host and no say on the stream, they are ready on return.
    py::list run(const py::list& inputs, const py::object& outputs, const py::object& stream, bool wait) {
        const Stream on = Device::stream(context_, stream);
        const auto [addresses, n, profile, is_device, held] = take_inputs(inputs, on);
        const std::vector<Port>& ports = context_.model().outputs;
        std::vector<void*> targets;
        py::list results;
        bool has_host_output = false;
        for (std::size_t i = 0; i < ports.size(); ++i) {
            const auto shape = array_shape(ports[i].shape_in(profile), n, is_batched());
            if (!outputs.is_none()) {
                results.append(py::cast<py::list>(outputs)[i]);
            } else if (is_device) {
                void* address = nullptr;
                results.append(Device::make_output(context_, shape, ports[i], on, address));
                targets.push_back(address);
                continue;
            } else {
                results.append(numpy_output(ports[i], shape));
            }
            targets.push_back(take_output(results[i], ports[i], n, profile, on, has_host_output));
        }
        {
            const py::gil_scoped_release release;
            Device::run(context_, addresses, targets, n, profile, on, wait && (stream.is_none() || has_host_output));
        }
        held_ = py::make_tuple(held, results);
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
        const auto [addresses, n, profile, is_device, held] = take_inputs(inputs, Device::stream(context_, py::none()));
        std::vector<LayerTime> times;
        {
            const py::gil_scoped_release release;
            times = context_.profile(addresses, n, profile);
        }
        py::list out;
        for (const auto& [layer, microseconds] : times) out.append(py::make_tuple(layer, microseconds));
        return out;
    }

    py::list trace(const py::list& inputs) {
        const auto [addresses, n, profile, is_device, held] = take_inputs(inputs, Device::stream(context_, py::none()));
        std::vector<TracedLayer> layers;
        {
            const py::gil_scoped_release release;
            layers = context_.trace(addresses, n, profile);
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
    struct Inputs {
        std::vector<const void*> addresses;
        std::int64_t n = 1;
        std::size_t profile = 0;
        bool is_device = false;  // the first one
        py::list held;
    };

    bool is_batched() const { return context_.model().batched; }

    static View view_of(py::handle object, const char* what, const Port& port, Stream stream) {
        const std::optional<View> view = find_view(object, what, port, stream);
        if (view) return *view;
        throw py::type_error(text(what, " '", port.name, "': got ", type_name(object), ", expected ", Device::arrays));
    }

    static std::optional<View> find_view(py::handle object, const char* what, const Port& port, Stream stream) {
        if (py::isinstance<py::array>(object)) return view_numpy(py::reinterpret_borrow<py::array>(object));
        try {
            return Device::view(object, stream);
        } catch (const ArgumentError& e) {
            throw ArgumentError(text(what, " '", port.name, "': ", e.what()));
        }
    }

    Inputs take_inputs(const py::list& inputs, Stream stream) const {
        const std::vector<Port>& ports = context_.model().inputs;
        std::vector<View> views;
        for (std::size_t i = 0; i < ports.size(); ++i) views.push_back(view_of(inputs[i], "input", ports[i], stream));
        Inputs out;
        out.profile = find_profile(views);
        for (std::size_t i = 0; i < ports.size(); ++i) {
            const View& view = views[i];
            check_view(view, "input", ports[i], out.profile, is_batched());
            if (is_batched()) {
                if (i && view.shape[0] != out.n) {
                    throw ArgumentError(text("input '", ports[i].name, "' has ", view.shape[0], " items, input '",
                                             ports[0].name, "' has ", out.n));
                }
                out.n = view.shape[0];
            }
            if (!i) out.is_device = view.is_device;
            out.addresses.push_back(view.data);
            out.held.append(view.owner);
        }
        return out;
    }

    // The profile whose shapes the inputs have.
    std::size_t find_profile(const std::vector<View>& views) const {
        const auto& model = context_.model();
        if (model.profile_count() == 1) return 0;
        std::string known;
        for (std::size_t profile = 0; profile < model.profile_count(); ++profile) {
            bool fits = true;
            std::string shapes;
            for (std::size_t i = 0; i < views.size(); ++i) {
                const std::vector<std::int64_t>& shape = model.inputs[i].shape_in(profile);
                fits &= has_shape(views[i], shape, model.batched);
                shapes += text(i ? ", " : "", "'", model.inputs[i].name, "' ", shape_text(shape, model.batched));
            }
            if (fits) return profile;
            known += text("\n  ", shapes);
        }
        std::string got;
        for (std::size_t i = 0; i < views.size(); ++i) {
            got += text(i ? ", " : "", "'", model.inputs[i].name, "' ", shape_text(views[i].shape));
        }
        throw ArgumentError(text("no profile of '", model.name, "' has inputs ", got, "; it was built for", known));
    }

    void* take_output(py::handle array, const Port& port, std::int64_t n, std::size_t profile, Stream stream,
                      bool& has_host_output) const {
        const View view = view_of(array, "output", port, stream);
        check_view(view, "output", port, profile, is_batched());
        if (is_batched() && view.shape[0] != n) {
            throw ArgumentError(
                text("output '", port.name, "' has room for ", view.shape[0], " items, the inputs have ", n));
        }
        if (view.is_read_only) throw ArgumentError(text("output '", port.name, "' is read only"));
        has_host_output |= !view.is_device;
        return view.data;
    }

    typename Device::Context context_;
    py::object held_;  // of the pass under way
};

template <class Device>
std::unique_ptr<Runner<Device>> make_runner(const typename Device::Network& network) {
    const py::gil_scoped_release release;
    return std::make_unique<Runner<Device>>(network);
}

// The exceptions and the class Context; the class Network is the target's.
template <class Device>
py::class_<typename Device::Network> bind_runner(py::module_& m) {
    auto& error = py::register_local_exception<Error>(m, "Error", PyExc_RuntimeError);
    py::register_local_exception<ArgumentError>(m, "ArgumentError",
                                                py::make_tuple(error, py::handle(PyExc_ValueError)));
    py::class_<typename Device::Network> network(m, "Network", py::module_local());
    py::class_<Runner<Device>>(m, "Context", py::module_local())
        .def(py::init(&make_runner<Device>), py::arg("network"))
        .def("run", &Runner<Device>::run, py::arg("inputs"), py::arg("outputs"), py::arg("stream"), py::arg("wait"))
        .def("synchronize", &Runner<Device>::synchronize)
        .def("profile", &Runner<Device>::profile, py::arg("inputs"))
        .def("trace", &Runner<Device>::trace, py::arg("inputs"))
        .def("summary", &Runner<Device>::summary)
        .def("startup", &Runner<Device>::startup)
        .def("memory", &Runner<Device>::memory);
    return network;
}

}  // namespace cnngen::python
#pragma GCC visibility pop
