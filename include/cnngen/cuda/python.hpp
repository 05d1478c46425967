// The Python module of a network on a GPU.
#pragma once

#include "cnngen/cuda/device_plans.hpp"
#include "cnngen/cuda/pipeline.hpp"
#include "cnngen/cuda/summary.hpp"
#include "cnngen/python/runner.hpp"

namespace cnngen::inline cuda {

namespace py = pybind11;

// An output on the GPU for callers whose library cannot allocate it for us.
class DeviceArray {
   public:
    DeviceArray(DType dtype, std::vector<std::int64_t> shape, int device, cudaStream_t stream)
        : dtype_(dtype), device_(device), stream_(stream), shape_(std::move(shape)) {
        std::size_t bytes = bytes_of(dtype_);
        for (std::int64_t extent : shape_) bytes *= static_cast<std::size_t>(extent);
        memory_ = allocate_device(bytes, "outputs");
    }

    void* data() const { return memory_.get(); }
    py::tuple shape() const {
        py::tuple out(shape_.size());
        for (std::size_t i = 0; i < shape_.size(); ++i) out[i] = shape_[i];
        return out;
    }
    const char* dtype() const { return name_of(dtype_); }
    py::tuple dlpack_device() const { return py::make_tuple(int{python::on_cuda}, device_); }

    py::dict cuda_array_interface() const {
        if (dtype_ == DType::bfloat16)
            throw py::attribute_error("bfloat16 has no __cuda_array_interface__; use DLPack");
        py::dict out;
        out["version"] = 3;
        out["shape"] = shape();
        out["typestr"] = python::numpy_dtype(dtype_).attr("str");
        out["data"] = py::make_tuple(reinterpret_cast<std::uintptr_t>(data()), false);
        out["strides"] = py::none();
        out["stream"] = std::max<std::uintptr_t>(reinterpret_cast<std::uintptr_t>(stream_), 1);
        return out;
    }

    // The capsule keeps `self` alive. `stream` is the consumer's, as DLPack numbers them; -1: no ordering wanted.
    static py::capsule dlpack(const py::object& self, const py::object& stream, const py::kwargs&) {
        const auto& array = py::cast<const DeviceArray&>(self);
        const std::int64_t number = stream.is_none() ? 1 : py::cast<std::int64_t>(stream);
        if (number != -1) {
            const DeviceGuard guard(array.device_);
            const Event ready = make_event();
            check(cudaEventRecord(ready.get(), array.stream_), "ordering streams");
            check(cudaStreamWaitEvent(reinterpret_cast<cudaStream_t>(number), ready.get()), "ordering streams");
        }
        struct [[gnu::visibility("hidden")]] Export {
            python::DLManagedTensor managed = {};
            py::object self;
            std::vector<std::int64_t> shape;
        };
        auto out = std::make_unique<Export>();
        out->self = self;
        out->shape = array.shape_;
        const auto bits = static_cast<std::uint8_t>(8 * bytes_of(array.dtype_));
        out->managed.tensor = {array.data(),
                               python::on_cuda,
                               array.device_,
                               static_cast<std::int32_t>(out->shape.size()),
                               python::dlpack_code(array.dtype_),
                               bits,
                               1,
                               out->shape.data(),
                               nullptr,
                               0};
        out->managed.manager = out.get();
        out->managed.deleter = [](python::DLManagedTensor* managed) {
            const py::gil_scoped_acquire gil;
            delete static_cast<Export*>(managed->manager);
        };
        return py::capsule(&out.release()->managed, "dltensor", [](PyObject* capsule) {
            if (!PyCapsule_IsValid(capsule, "dltensor")) return;  // taken by a consumer, who deletes it
            auto* managed = static_cast<python::DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
            managed->deleter(managed);
        });
    }

   private:
    DType dtype_;
    int device_;
    cudaStream_t stream_;
    std::vector<std::int64_t> shape_;
    DeviceBuffer memory_;
};

inline python::View view_cuda_array(py::handle object, cudaStream_t stream, bool is_ready) {
    const auto interface = py::cast<py::dict>(object.attr("__cuda_array_interface__"));
    const auto data = py::cast<py::tuple>(interface["data"]);
    const py::object dtype = py::module_::import("numpy").attr("dtype")(interface["typestr"]);
    const auto item = py::cast<std::int64_t>(dtype.attr("itemsize"));
    python::View view{reinterpret_cast<void*>(py::cast<std::uintptr_t>(data[0])),
                      py::str(dtype.attr("name")),
                      {},
                      {},
                      true,
                      py::cast<bool>(data[1]),
                      py::reinterpret_borrow<py::object>(object)};
    for (py::handle extent : interface["shape"]) view.shape.push_back(py::cast<std::int64_t>(extent));
    if (interface.contains("strides") && !interface["strides"].is_none()) {
        for (py::handle stride : interface["strides"]) view.strides.push_back(py::cast<std::int64_t>(stride) / item);
    }
    if (!is_ready && interface.contains("stream") && !interface["stream"].is_none()) {
        // 1 and 2 name the default streams with CUDA's own constants, so that any number is a stream.
        const auto producer = reinterpret_cast<cudaStream_t>(py::cast<std::uintptr_t>(interface["stream"]));
        const Event ready = make_event();
        check(cudaEventRecord(ready.get(), producer), "waiting for the array's stream");
        check(cudaStreamWaitEvent(stream, ready.get()), "waiting for the array's stream");
    }
    return view;
}

inline python::View view_dlpack(py::handle object, cudaStream_t stream, bool is_ready) {
    const auto device = py::cast<py::tuple>(object.attr("__dlpack_device__")());
    const int type = py::cast<int>(device[0]);
    const bool is_device = type == python::on_cuda || type == python::on_cuda_managed;
    if (!is_device && type != python::on_cpu && type != python::on_cuda_host) {
        throw ArgumentError(text("an array on DLPack device type ", type, ": expected the CPU or an NVIDIA GPU"));
    }
    // The protocol's number of the default stream is 1, 0 is ambiguous; -1 says that none has to wait.
    const std::int64_t number = stream ? static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(stream)) : 1;
    const py::object capsule =
        is_device ? object.attr("__dlpack__")(py::arg("stream") = is_ready ? -1 : number) : object.attr("__dlpack__")();
    return python::view_capsule(object, capsule, is_device);
}

// What a network on a GPU takes and gives: arrays of any library, on the host or on the GPU.
struct PythonDevice {
    using Model = cuda::Model;
    using Network = cuda::Network;
    using Context = cuda::Context;
    using Pipeline = cuda::Pipeline;
    using Stream = cudaStream_t;

    static constexpr const char* arrays = "a numpy array, or an array with __dlpack__ or __cuda_array_interface__";

    static Stream stream(const Context& context, const py::object& given) {
        if (given.is_none()) return context.stream();
        return reinterpret_cast<cudaStream_t>(py::cast<std::uintptr_t>(given));
    }

    static std::optional<python::View> view(py::handle object, Stream stream, bool is_ready) {
        if (const auto view = python::view_torch(object); view && (is_ready || !view->is_device)) return view;
        if (py::hasattr(object, "__dlpack__")) return view_dlpack(object, stream, is_ready);
        if (py::hasattr(object, "__cuda_array_interface__")) return view_cuda_array(object, stream, is_ready);
        return std::nullopt;
    }

    static py::object make_output(const Context& context, const std::vector<std::int64_t>& shape, const Port& port,
                                  Stream stream, void*& address) {
        const int device = context.network().device();
        const DeviceGuard guard(device);
        auto array = std::make_unique<DeviceArray>(port.dtype, shape, device, stream);
        address = array->data();
        return py::cast(std::move(array));
    }

    static void run(Context& context, std::span<const void* const> inputs, std::span<void* const> outputs,
                    std::int64_t n, std::size_t profile, Stream stream, bool wait) {
        context.run_async(inputs, outputs, n, stream, profile);
        if (wait) context.synchronize();
    }

    static std::string summary(const Context& context) { return cuda::summary(context); }
};

inline void bind_arrays(py::module_& m) {
    py::class_<DeviceArray>(m, "DeviceArray", py::module_local())
        .def_property_readonly("shape", &DeviceArray::shape)
        .def_property_readonly("dtype", &DeviceArray::dtype)
        .def_property_readonly("__cuda_array_interface__", &DeviceArray::cuda_array_interface)
        .def("__dlpack_device__", &DeviceArray::dlpack_device)
        .def("__dlpack__", &DeviceArray::dlpack, py::arg("stream") = py::none());
}

inline py::list check_plans(const Model& model, const std::string& device_json) {
    std::vector<DevicePlan> plans;
    {
        const py::gil_scoped_release release;
        plans = plan_for_device(model, device_json);
    }
    py::list out;
    for (const auto& p : plans) out.append(py::make_tuple(p.layer, p.batch, p.kind, p.engine, p.workspace));
    return out;
}

inline std::unique_ptr<Network> make_network(const Model& model, int device, const std::string& weights,
                                             std::size_t workspace_limit, const py::object& plan_cache) {
    Options options{.device = device, .weights = weights, .workspace_limit = workspace_limit};
    if (!plan_cache.is_none()) options.plan_cache = py::cast<std::string>(plan_cache);
    std::unique_ptr<Network> network;
    {
        const py::gil_scoped_release release;
        network = std::make_unique<Network>(model, options);
    }
    for (const std::string& note : network->notes()) {
        if (PyErr_WarnEx(PyExc_RuntimeWarning, note.c_str(), 2) != 0) throw py::error_already_set();
    }
    return network;
}

// Network and Context of one network, and what plans it for a GPU that is not there.
inline void bind(py::module_& m, const Model& model) {
    bind_arrays(m);
    python::bind_runner<PythonDevice>(m).def(
        py::init([&model](int device, const std::string& weights, std::size_t workspace_limit,
                          const py::object& plan_cache) {
            return make_network(model, device, weights, workspace_limit, plan_cache);
        }),
        py::arg("device"), py::arg("weights"), py::arg("workspace_limit"), py::arg("plan_cache"));
    m.def(
        "check_plans", [&model](const std::string& json) { return check_plans(model, json); }, py::arg("device_json"));
}

// Network and Context of any network of any library that is loaded: `model` is the address of its Model.
inline void bind_any(py::module_& m) {
    bind_arrays(m);
    python::bind_runner<PythonDevice>(m).def(
        py::init([](std::uintptr_t model, const std::string& weights, int device, std::size_t workspace_limit,
                    const py::object& plan_cache) {
            return make_network(*reinterpret_cast<const Model*>(model), device, weights, workspace_limit, plan_cache);
        }),
        py::arg("model"), py::arg("weights"), py::arg("device") = 0,
        py::arg("workspace_limit") = Options().workspace_limit, py::arg("plan_cache") = py::none());
}

}  // namespace cnngen::inline cuda
