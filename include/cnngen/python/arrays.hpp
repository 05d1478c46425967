// Arrays of any library, seen through numpy's or DLPack's protocol.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "cnngen/results.hpp"

#pragma GCC visibility push(hidden)  // as pybind11's own classes are
namespace cnngen::python {

namespace py = pybind11;

// DLPack's structures, as its specification lays them out (1.0 and before).
struct DLTensor {
    void* data;
    std::int32_t device_type;
    std::int32_t device_id;
    std::int32_t rank;
    std::uint8_t code;
    std::uint8_t bits;
    std::uint16_t lanes;
    std::int64_t* shape;
    std::int64_t* strides;  // null: packed
    std::uint64_t byte_offset;
};
struct DLManagedTensor {
    DLTensor tensor;
    void* manager;
    void (*deleter)(DLManagedTensor*);
};
struct DLManagedTensorVersioned {
    std::uint32_t major, minor;
    void* manager;
    void (*deleter)(DLManagedTensorVersioned*);
    std::uint64_t flags;  // bit 0: read only
    DLTensor tensor;
};
inline constexpr std::int32_t on_cpu = 1, on_cuda = 2, on_cuda_host = 3, on_cuda_managed = 13;
inline constexpr std::uint8_t code_int = 0, code_unsigned = 1, code_float = 2, code_bfloat = 4, code_bool = 6;

constexpr std::uint8_t dlpack_code(DType dtype) {
    switch (dtype) {
        case DType::int32:
        case DType::int64:
            return code_int;
        case DType::uint8:
            return code_unsigned;
        case DType::bfloat16:
            return code_bfloat;
        case DType::boolean:
            return code_bool;
        default:
            return code_float;
    }
}

// An array of any library, seen through one of the protocols.
struct View {
    void* data = nullptr;
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::int64_t> strides;  // in elements; empty: packed
    bool is_device = false;
    bool is_read_only = false;
    py::object owner;
};

// "(3, 4)"; in the shape that a port expects the batch is N.
inline std::string shape_text(const std::vector<std::int64_t>& shape, bool batched = false) {
    std::string out = batched ? "N" : "";
    for (std::int64_t extent : shape) out += text(out.empty() ? "" : ", ", extent);
    return text("(", out, shape.size() + batched == 1 ? ",)" : ")");
}

inline std::string type_name(py::handle object) { return py::str(py::type::of(object).attr("__name__")); }

// Its name. numpy puts one together from text whenever it is asked, which many small arrays would notice.
inline std::string numpy_type(const py::dtype& dtype) {
    const auto bits = 8 * dtype.itemsize();
    switch (dtype.kind()) {
        case 'f':
            return text("float", bits);
        case 'i':
            return text("int", bits);
        case 'u':
            return text("uint", bits);
        case 'b':
            return "bool";
        default:
            return py::str(dtype.attr("name"));
    }
}

inline View view_numpy(const py::array& array) {
    View view{const_cast<void*>(array.data()), numpy_type(array.dtype()), {}, {}, false, !array.writeable(), array};
    for (py::ssize_t i = 0; i < array.ndim(); ++i) {
        view.shape.push_back(array.shape(i));
        view.strides.push_back(array.strides(i) / std::max<py::ssize_t>(array.itemsize(), 1));
    }
    return view;
}

inline std::string dlpack_type(const DLTensor& tensor) {
    if (tensor.lanes == 1) {
        switch (tensor.code) {
            case code_int:
                return text("int", int{tensor.bits});
            case code_unsigned:
                return text("uint", int{tensor.bits});
            case code_float:
                return text("float", int{tensor.bits});
            case code_bfloat:
                return text("bfloat", int{tensor.bits});
            case code_bool:
                return "bool";
        }
    }
    return text("DLPack type ", int{tensor.code}, " of ", int{tensor.bits}, " bits");
}

// What a capsule of __dlpack__ holds; `object` made it.
inline View view_capsule(py::handle object, const py::object& capsule, bool is_device) {
    const DLTensor* tensor = nullptr;
    bool is_read_only = false;
    if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
        auto* managed =
            static_cast<DLManagedTensorVersioned*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
        tensor = &managed->tensor;
        is_read_only = managed->flags & 1;
    } else if (PyCapsule_IsValid(capsule.ptr(), "dltensor")) {
        tensor = &static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"))->tensor;
    } else {
        throw ArgumentError("__dlpack__() gave no DLPack capsule");
    }
    View view{static_cast<std::byte*>(tensor->data) + tensor->byte_offset,
              dlpack_type(*tensor),
              {},
              {},
              is_device,
              is_read_only,
              {}};
    view.shape.assign(tensor->shape, tensor->shape + tensor->rank);
    if (tensor->strides) view.strides.assign(tensor->strides, tensor->strides + tensor->rank);
    view.owner = py::make_tuple(object, capsule);  // the capsule gives its tensor back when it goes
    return view;
}

// A torch tensor by its own attributes; nothing where it is none, or a view that only DLPack can refuse in words. Its
// __dlpack__ takes Python longer than all else in a call.
inline std::optional<View> view_torch(py::handle object) {
    if (!py::hasattr(object, "data_ptr") || !py::hasattr(object, "is_neg")) return std::nullopt;
    const auto is = [&](const char* attribute) { return py::cast<bool>(object.attr(attribute)); };
    const bool is_device = is("is_cuda");
    if (!is_device && !is("is_cpu")) return std::nullopt;
    if (py::cast<bool>(object.attr("is_neg")())) {
        throw ArgumentError("is still to be negated, which its memory does not tell: pass x.resolve_neg()");
    }
    if (is("requires_grad") || py::cast<bool>(object.attr("is_conj")())) return std::nullopt;
    if (std::string(py::str(object.attr("layout"))) != "torch.strided") return std::nullopt;
    const std::string dtype = py::str(object.attr("dtype"));  // "torch.float16"
    View view{reinterpret_cast<void*>(py::cast<std::uintptr_t>(object.attr("data_ptr")())),
              dtype.substr(dtype.find('.') + 1),
              {},
              {},
              is_device,
              false,
              py::reinterpret_borrow<py::object>(object)};
    for (py::handle extent : object.attr("shape")) view.shape.push_back(py::cast<std::int64_t>(extent));
    for (py::handle stride : object.attr("stride")()) view.strides.push_back(py::cast<std::int64_t>(stride));
    return view;
}

inline bool is_packed(const View& view) {
    if (std::ranges::find(view.shape, 0) != view.shape.end()) return true;
    std::int64_t expected = 1;
    for (std::size_t i = view.strides.size(); i-- > 0; expected *= view.shape[i]) {
        if (view.shape[i] != 1 && view.strides[i] != expected) return false;
    }
    return true;
}

// Whether the array has the shape, with any number of items where there is a batch.
inline bool has_shape(const View& view, const std::vector<std::int64_t>& shape, bool batched) {
    return view.shape.size() == shape.size() + batched &&
           std::equal(shape.begin(), shape.end(), view.shape.begin() + batched);
}

// Throws unless the array is what the port takes in the profile: any number of items where there is a batch.
inline void check_view(const View& view, const char* what, const Port& port, std::size_t profile, bool batched) {
    const std::string where = text(what, " '", port.name, "': ");
    const char* expected = name_of(port.dtype);
    if (view.dtype != expected) throw py::type_error(text(where, "got ", view.dtype, ", expected ", expected));
    const std::vector<std::int64_t>& shape = port.shape_in(profile);
    const std::string layout = *port.layout ? text(" (", port.layout, ")") : "";
    if (!has_shape(view, shape, batched)) {
        throw ArgumentError(
            text(where, "got shape ", shape_text(view.shape), ", expected ", shape_text(shape, batched), layout));
    }
    if (!is_packed(view)) {
        throw ArgumentError(text(where, "is not contiguous in the declared order ", shape_text(shape, batched), layout,
                                 ": copy it with numpy.ascontiguousarray(x) or x.contiguous()"));
    }
}

inline py::dtype numpy_dtype(DType dtype) {
    if (dtype != DType::bfloat16) return py::dtype(name_of(dtype));
    try {
        return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16"));
    } catch (py::error_already_set&) {
        throw py::type_error("numpy has no bfloat16: pip install ml_dtypes, or pass outputs of another library");
    }
}

// The shape of n items.
inline std::vector<std::int64_t> array_shape(const std::vector<std::int64_t>& item, std::int64_t n, bool batched) {
    std::vector<std::int64_t> shape;
    if (batched) shape.push_back(n);
    shape.insert(shape.end(), item.begin(), item.end());
    return shape;
}

inline py::array numpy_output(const Port& port, const std::vector<std::int64_t>& shape) {
    return py::array(numpy_dtype(port.dtype), std::vector<py::ssize_t>(shape.begin(), shape.end()));
}

// A traced layer in logical order, N, C, H, W; bfloat16 widened, since numpy has none.
inline py::array numpy_layer(const TracedLayer& layer) {
    std::vector<py::ssize_t> shape(layer.shape.begin(), layer.shape.end());
    const bool is_nhwc = layer.layout == "NHWC";
    if (is_nhwc) shape = {shape[0], shape[2], shape[3], shape[1]};
    const bool is_bfloat16 = layer.dtype == DType::bfloat16;
    py::array out(is_bfloat16 ? py::dtype::of<float>() : numpy_dtype(layer.dtype), shape);
    auto* to = static_cast<std::byte*>(out.mutable_data());
    if (is_bfloat16) {  // the upper half of a float
        for (std::size_t i = 0; i < layer.data.size(); i += 2) {
            std::memset(to + 2 * i, 0, 2);
            std::memcpy(to + 2 * i + 2, layer.data.data() + i, 2);
        }
    } else {
        std::memcpy(to, layer.data.data(), layer.data.size());
    }
    return is_nhwc ? py::array(out.attr("transpose")(0, 3, 1, 2)) : out;
}

}  // namespace cnngen::python
#pragma GCC visibility pop
