// Arrays as the inputs and outputs of a network: what is given is held against what its ports take.
#pragma once

#include <optional>

#include "cnngen/python/arrays.hpp"

#pragma GCC visibility push(hidden)  // as pybind11's own classes are
namespace cnngen::python {

// Arrays that fit a network's inputs: items that lie one after the other.
struct Inputs {
    std::vector<const void*> addresses;
    std::int64_t n = 1;
    std::size_t profile = 0;
    bool is_device = false;   // the first one
    bool has_device = false;  // any
    py::object like;          // the first one, as it was given
    py::list held;
};

// `Device`: see runner.hpp.
template <class Device>
class Ports {
   public:
    using Model = typename Device::Model;
    using Stream = typename Device::Stream;

    explicit Ports(const Model& model) : model_(model) {}

    // is_ready: the arrays may be read on `stream` as they are. With `is_item` they are one item, without the axis of
    // the batch.
    Inputs take_inputs(const py::list& inputs, Stream stream, bool is_ready = false, bool is_item = false) const {
        const bool batched = model_.batched && !is_item;
        const std::vector<Port>& ports = model_.inputs;
        std::vector<View> views;
        for (std::size_t i = 0; i < ports.size(); ++i) {
            views.push_back(view_of(inputs[i], "input", ports[i], stream, is_ready));
        }
        Inputs out;
        out.profile = find_profile(views, batched);
        for (std::size_t i = 0; i < ports.size(); ++i) {
            const View& view = views[i];
            check_view(view, "input", ports[i], out.profile, batched);
            if (batched) {
                if (i && view.shape[0] != out.n) {
                    throw ArgumentError(text("input '", ports[i].name, "' has ", view.shape[0], " items, input '",
                                             ports[0].name, "' has ", out.n));
                }
                out.n = view.shape[0];
            }
            if (!i) out.is_device = view.is_device;
            out.has_device |= view.is_device;
            if (!i) out.like = inputs[0];
            out.addresses.push_back(view.data);
            out.held.append(view.owner);
        }
        return out;
    }

    // Where an output of n items is to be written.
    void* take_output(py::handle array, const Port& port, std::int64_t n, std::size_t profile, Stream stream,
                      bool is_ready, bool& has_host_output) const {
        const View view = view_of(array, "output", port, stream, is_ready);
        check_view(view, "output", port, profile, model_.batched);
        if (model_.batched && view.shape[0] != n) {
            throw ArgumentError(
                text("output '", port.name, "' has room for ", view.shape[0], " items, the inputs have ", n));
        }
        if (view.is_read_only) throw ArgumentError(text("output '", port.name, "' is read only"));
        has_host_output |= !view.is_device;
        return view.data;
    }

   private:
    static View view_of(py::handle object, const char* what, const Port& port, Stream stream, bool is_ready) {
        const std::optional<View> view = find_view(object, what, port, stream, is_ready);
        if (view) return *view;
        throw py::type_error(text(what, " '", port.name, "': got ", type_name(object), ", expected ", Device::arrays));
    }

    static std::optional<View> find_view(py::handle object, const char* what, const Port& port, Stream stream,
                                         bool is_ready) {
        if (py::isinstance<py::array>(object)) return view_numpy(py::reinterpret_borrow<py::array>(object));
        try {
            return Device::view(object, stream, is_ready);
        } catch (const ArgumentError& e) {
            throw ArgumentError(text(what, " '", port.name, "': ", e.what()));
        }
    }

    // The profile whose shapes the inputs have.
    std::size_t find_profile(const std::vector<View>& views, bool batched) const {
        if (model_.profile_count() == 1) return 0;
        std::string known;
        for (std::size_t profile = 0; profile < model_.profile_count(); ++profile) {
            bool fits = true;
            std::string shapes;
            for (std::size_t i = 0; i < views.size(); ++i) {
                const std::vector<std::int64_t>& shape = model_.inputs[i].shape_in(profile);
                fits &= has_shape(views[i], shape, batched);
                shapes += text(i ? ", " : "", "'", model_.inputs[i].name, "' ", shape_text(shape, batched));
            }
            if (fits) return profile;
            known += text("\n  ", shapes);
        }
        std::string got;
        for (std::size_t i = 0; i < views.size(); ++i) {
            got += text(i ? ", " : "", "'", model_.inputs[i].name, "' ", shape_text(views[i].shape));
        }
        throw ArgumentError(text("no profile of '", model_.name, "' has inputs ", got, "; it was built for", known));
    }

    const Model& model_;
};

}  // namespace cnngen::python
#pragma GCC visibility pop
