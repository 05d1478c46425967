// Runs a generated network on the CPU: its kernels in the emulation, its convolutions and matrix products by their
// definition. What nobody has written is NaN. Each step's layers and result are written to a file.
#pragma once

#include "emulation.hpp"
// What runs in the emulation comes after its names.
#include <array>
#include <cmath>
#include <utility>

#include "cnngen/cuda/kernels/functions.cuh"
#include "cnngen/cuda/kernels/gemm_shape.hpp"
#include "cnngen/cuda/kernels/vector.cuh"
#include "cnngen/cuda/model.hpp"

// What nvcc knows by itself.
#undef __launch_bounds__
#define __launch_bounds__(...)
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }

namespace emulated {

using cnngen::DType;
using cnngen::Tensor;
using Bytes = std::vector<unsigned char>;
using emulation::fail;

inline float element(const Tensor& t, std::int64_t at) {
    switch (t.dtype) {
        case DType::float16:
            return cnngen::to_float(static_cast<const __half*>(t.data)[at]);
        case DType::bfloat16:
            return cnngen::to_float(static_cast<const __nv_bfloat16*>(t.data)[at]);
        default:
            return static_cast<const float*>(t.data)[at];
    }
}

inline void store(const Tensor& t, std::int64_t at, float value) {
    switch (t.dtype) {
        case DType::float16:
            static_cast<__half*>(t.data)[at] = cnngen::from_float<__half>(value);
            return;
        case DType::bfloat16:
            static_cast<__nv_bfloat16*>(t.data)[at] = cnngen::from_float<__nv_bfloat16>(value);
            return;
        default:
            static_cast<float*>(t.data)[at] = value;
    }
}

using Index = std::array<std::int64_t, 4>;

inline std::int64_t place(const Tensor& t, const Index& index) {
    std::int64_t at = 0;
    for (int i = 0; i < t.rank; ++i) {
        if (index[i] >= t.dims[i] && t.dims[i] != 1) fail("an operand is smaller than the output");
        at += (t.dims[i] == 1 ? 0 : index[i]) * t.strides[i];
    }
    return at;
}

// Bytes of a packed tensor, padded channels included.
inline std::size_t extent(const Tensor& t) {
    std::int64_t elements = 0;
    for (int i = 0; i < t.rank; ++i) elements = std::max(elements, t.dims[i] * t.strides[i]);
    return static_cast<std::size_t>(elements) * cnngen::bytes_of(t.dtype);
}

// A vector has a number for each channel: axis 1 of an image, the last of a matrix.
inline float operand_at(const Tensor& operand, const Tensor& y, const Index& index) {
    return element(operand, operand.rank == 1 ? place(operand, {index[y.rank == 3 ? 2 : 1]}) : place(operand, index));
}

inline float apply(const cnngen::Pointwise& p, float x, const Tensor& y, const Index& index) {
    namespace fn = cnngen::fn;
    switch (p.function) {
        case cnngen::Function::add:
            return x + operand_at(p.operand, y, index);
        case cnngen::Function::mul:
            return x * operand_at(p.operand, y, index);
        case cnngen::Function::relu:
            return x < p.a ? p.a + p.slope * (x - p.a) : (x > p.b ? p.b : x);
        case cnngen::Function::sigmoid:
            return fn::sigmoid(x);
        case cnngen::Function::tanh:
            return fn::tanh(x);
        case cnngen::Function::elu:
            return fn::elu(x, p.a);
        case cnngen::Function::gelu:
            return fn::gelu(x);
        case cnngen::Function::gelu_tanh:
            return fn::gelu_tanh(x);
        case cnngen::Function::softplus:
            return fn::softplus(x);
        case cnngen::Function::silu:
            return fn::silu(x);
        case cnngen::Function::hard_sigmoid:
            return fn::hard_sigmoid(x, p.a, p.b);
        case cnngen::Function::hard_swish:
            return x * fn::hard_sigmoid(x, p.a, p.b);
    }
    fail("an epilogue of an unknown function");
}

inline void finish(const Tensor& y, const cnngen::Epilogue& epilogue, const Index& index, double sum) {
    float value = static_cast<float>(sum);
    for (const cnngen::Pointwise& p : epilogue) value = apply(p, value, y, index);
    store(y, place(y, index), value);
}

inline void execute(const cnngen::Convolution& c) {
    const auto& [n, k, oh, ow] = c.y.dims;
    const auto& [filters, group_c, r, s] = c.w.dims;
    const auto out = [&](int axis) {
        const std::int64_t padded = c.x.dims[axis + 2] + c.padding[axis] + c.padding[axis + 2];
        return (padded - (c.w.dims[axis + 2] - 1) * c.dilation[axis] - 1) / c.stride[axis] + 1;
    };
    if (oh != out(0) || ow != out(1) || filters != k || group_c * c.groups != c.x.dims[1] || n != c.x.dims[0]) {
        fail("a convolution's shapes do not meet");
    }
    for (Index i = {}; i[0] < n; ++i[0]) {
        for (i[1] = 0; i[1] < k; ++i[1]) {
            for (i[2] = 0; i[2] < oh; ++i[2]) {
                for (i[3] = 0; i[3] < ow; ++i[3]) {
                    double sum = 0;
                    for (std::int64_t y = 0; y < r; ++y) {
                        for (std::int64_t x = 0; x < s; ++x) {
                            const std::int64_t h = i[2] * c.stride[0] - c.padding[0] + y * c.dilation[0];
                            const std::int64_t w = i[3] * c.stride[1] - c.padding[1] + x * c.dilation[1];
                            if (h < 0 || h >= c.x.dims[2] || w < 0 || w >= c.x.dims[3]) continue;
                            for (std::int64_t ch = 0; ch < group_c; ++ch) {
                                const std::int64_t from = i[1] / (k / c.groups) * group_c + ch;
                                sum += double{element(c.x, place(c.x, {i[0], from, h, w}))} *
                                       element(c.w, place(c.w, {i[1], ch, y, x}));
                            }
                        }
                    }
                    finish(c.y, c.epilogue, i, sum);
                }
            }
        }
    }
}

inline void execute(const cnngen::Matmul& m) {
    const std::int64_t inner = m.x.dims[1];
    if (m.w.dims[1] != inner || m.y.dims[0] != m.x.dims[0] || m.y.dims[1] != m.w.dims[0]) {
        fail("a matrix product's shapes do not meet");
    }
    for (Index i = {}; i[0] < m.y.dims[0]; ++i[0]) {
        for (i[1] = 0; i[1] < m.y.dims[1]; ++i[1]) {
            double sum = 0;
            for (std::int64_t j = 0; j < inner; ++j) {
                sum += double{element(m.x, place(m.x, {i[0], j}))} * element(m.w, place(m.w, {i[1], j}));
            }
            finish(m.y, m.epilogue, i, sum);
        }
    }
}

inline void execute(const cnngen::BatchMatmul& m) {
    const std::int64_t inner = m.x.dims[2];
    if (m.w.dims[1] != inner || m.y.dims[1] != m.x.dims[1] || m.y.dims[2] != m.w.dims[2] ||
        m.x.dims[0] != m.y.dims[0] || m.w.dims[0] != m.y.dims[0]) {
        fail("a matrix product's shapes do not meet");
    }
    for (Index i = {}; i[0] < m.y.dims[0]; ++i[0]) {
        for (i[1] = 0; i[1] < m.y.dims[1]; ++i[1]) {
            for (i[2] = 0; i[2] < m.y.dims[2]; ++i[2]) {
                double sum = 0;
                for (std::int64_t j = 0; j < inner; ++j) {
                    sum +=
                        double{element(m.x, place(m.x, {i[0], i[1], j}))} * element(m.w, place(m.w, {i[0], j, i[2]}));
                }
                finish(m.y, m.epilogue, i, sum);
            }
        }
    }
}

using Buffer = emulation::Buffer<unsigned char>;

// kernel(batch, pointers...) or kernel(batch, shape, pointers...): all kernels are of these kinds.
template <class... Shape, std::size_t... I>
void call(const void* function, const std::vector<void*>& pointers, std::index_sequence<I...>, int batch,
          const Shape&... shape) {
    using Kernel = void (*)(int, Shape..., decltype(static_cast<void>(I), static_cast<void*>(nullptr))...);
    const auto kernel = reinterpret_cast<Kernel>(const_cast<void*>(function));
    kernel(batch, shape..., pointers[I]...);
}

template <std::size_t Most = 24, class... Shape>
void call(const void* function, const std::vector<void*>& pointers, int batch, const Shape&... shape) {
    if (pointers.size() == Most) {
        return call(function, pointers, std::make_index_sequence<Most>(), batch, shape...);
    }
    if constexpr (Most > 1) return call<Most - 1>(function, pointers, batch, shape...);
    fail("a kernel of too many parameters");
}

// `sizes`: for each kernel the bytes behind each of its pointers.
class Run final : public cnngen::StepVisitor {
   public:
    Run(std::vector<std::vector<std::uint64_t>> sizes, std::FILE* out) : sizes_(std::move(sizes)), out_(out) {}

    void visit(const cnngen::Operation& operation) override {
        begin(cnngen::layers_of(operation));
        for (const void* address : cnngen::addresses_of(operation)) {
            if (reinterpret_cast<std::uintptr_t>(address) % 16 != 0) fail("an operand that is not 16-byte aligned");
        }
        std::visit([](const auto& o) { execute(o); }, operation);
        const Tensor& y = cnngen::output_of(operation);
        write(packed(y, static_cast<const unsigned char*>(y.data)));
    }

    // Each pointer's data lie in memory of their own while the kernel runs, with nothing readable behind them; those of
    // parts of one tensor lie together.
    void visit(const cnngen::KernelCall& kernel) override {
        begin(kernel.layers);
        const std::vector<std::uint64_t>& sizes = sizes_.at(next_++);
        const int batch = *static_cast<const int*>(kernel.arguments[0].value);
        const cnngen::GemmShape* shape = nullptr;
        if (kernel.arguments[1].bytes == sizeof *shape) {
            shape = static_cast<const cnngen::GemmShape*>(kernel.arguments[1].value);
        }
        const auto addresses = kernel.arguments.subspan(shape ? 2 : 1);
        if (addresses.size() != sizes.size()) fail("another number of arguments than the plan's");
        std::vector<unsigned char*> given;
        for (const auto& argument : addresses) {
            given.push_back(*static_cast<unsigned char* const*>(argument.value));
        }
        // Padded channels are y's own; what lies between the pixels of a part is not.
        const bool is_part = sizes.back() < extent(kernel.y);
        if (given.back() != kernel.y.data || sizes.back() > extent(kernel.y)) fail("y is not what the kernel writes");
        const std::vector<Memory> memories = together(given, sizes);
        std::vector<std::unique_ptr<Buffer>> buffers;
        std::vector<void*> pointers(given.size());
        for (const Memory& memory : memories) {
            if (memory.members.size() > 1 && !is_part && differ(memory, given, sizes)) fail("two arguments overlap");
            buffers.push_back(std::make_unique<Buffer>(memory.end - memory.begin));
            std::memcpy(buffers.back()->data(), memory.begin, memory.end - memory.begin);
            for (std::size_t i : memory.members) pointers[i] = buffers.back()->data() + (given[i] - memory.begin);
        }
        const auto rest = [&] {
            Bytes all;
            for (const auto& buffer : buffers) all.insert(all.end(), buffer->data(), buffer->data() + buffer->size());
            return all;
        };
        const std::size_t y_at = place_in(memories, given.back());
        Bytes before = rest();
        emulation::launch(
            kernel.grid.blocks, kernel.grid.threads,
            [&] { shape ? call(kernel.function, pointers, batch, *shape) : call(kernel.function, pointers, batch); },
            kernel.grid.cluster, kernel.grid.shared);
        for (const auto& buffer : buffers) buffer->check();
        // With y's new elements, what was there before has to be what is there now.
        const auto* const y = static_cast<const unsigned char*>(pointers.back());
        const Rows rows = is_part ? rows_of(kernel.y) : Rows{sizes.back(), sizes.back(), 1};
        for (std::size_t row = 0; row < rows.count; ++row) {
            std::memcpy(before.data() + y_at + row * rows.pitch, y + row * rows.pitch, rows.width);
            std::memcpy(given.back() + row * rows.pitch, y + row * rows.pitch, rows.width);
        }
        if (rest() != before) fail("a kernel wrote where its output is not");
        write(is_part ? packed(kernel.y, y) : Bytes(y, y + sizes.back()));
    }

    bool is_done() const { return next_ == sizes_.size(); }

   private:
    void begin(const cnngen::Layers& layers) {
        label_ = layers.label();
        emulation::running = label_.c_str();
    }

    // A range of memory, and the arguments that lie in it.
    struct Memory {
        unsigned char *begin, *end;
        std::vector<std::size_t> members;
    };

    static std::vector<Memory> together(const std::vector<unsigned char*>& given,
                                        const std::vector<std::uint64_t>& sizes) {
        std::vector<Memory> found;
        for (std::size_t i = 0; i < given.size(); ++i) {
            Memory memory{given[i], given[i] + sizes[i], {i}};
            std::erase_if(found, [&](const Memory& other) {
                if (other.end <= memory.begin || memory.end <= other.begin) return false;
                memory.begin = std::min(memory.begin, other.begin), memory.end = std::max(memory.end, other.end);
                memory.members.insert(memory.members.end(), other.members.begin(), other.members.end());
                return true;
            });
            found.push_back(std::move(memory));
        }
        return found;
    }

    static bool differ(const Memory& memory, const std::vector<unsigned char*>& given,
                       const std::vector<std::uint64_t>& sizes) {
        return std::ranges::any_of(memory.members, [&](std::size_t i) {
            return given[i] != memory.begin || given[i] + sizes[i] != memory.end;
        });
    }

    // Where an address is in all memories one after the other.
    static std::size_t place_in(const std::vector<Memory>& memories, const unsigned char* address) {
        std::size_t before = 0;
        for (const Memory& memory : memories) {
            if (memory.begin <= address && address < memory.end) return before + (address - memory.begin);
            before += memory.end - memory.begin;
        }
        fail("y is not among the arguments");
    }

    // So many bytes of a tensor, then others.
    struct Rows {
        std::size_t width, pitch, count;
    };
    static Rows rows_of(const Tensor& t) {
        const std::size_t item = cnngen::bytes_of(t.dtype);
        if (t.rank != 4 || t.strides[1] != 1 || t.strides[3] <= t.dims[1]) return {t.bytes(), t.bytes(), 1};
        return {t.dims[1] * item, t.strides[3] * item, static_cast<std::size_t>(t.dims[0] * t.dims[2] * t.dims[3])};
    }
    static Bytes packed(const Tensor& t, const unsigned char* data) {
        Bytes all;
        const Rows rows = rows_of(t);
        for (std::size_t row = 0; row < rows.count; ++row) {
            all.insert(all.end(), data + row * rows.pitch, data + row * rows.pitch + rows.width);
        }
        return all;
    }

    void write(const Bytes& data) const {
        const std::uint64_t length = label_.size(), bytes = data.size();
        std::fwrite(&length, sizeof length, 1, out_);
        std::fwrite(label_.data(), 1, length, out_);
        std::fwrite(&bytes, sizeof bytes, 1, out_);
        std::fwrite(data.data(), 1, bytes, out_);
    }

    std::vector<std::vector<std::uint64_t>> sizes_;
    std::FILE* out_;
    std::size_t next_ = 0;
    std::string label_;
};

inline std::uint64_t read_number(std::FILE* in) {
    std::uint64_t number = 0;
    if (std::fread(&number, sizeof number, 1, in) != 1) fail("the job file ends too early");
    return number;
}

inline void read_bytes(std::FILE* in, unsigned char* to, std::size_t expected) {
    if (read_number(in) != expected) fail("the job file and the model differ in size");
    if (std::fread(to, 1, expected, in) != expected) fail("the job file ends too early");
}

// Runs one plan as the job says: weights, inputs, and the sizes that Run wants.
inline void run(const cnngen::Model& model, std::size_t plan, std::FILE* in, std::FILE* out) {
    emulation::running = model.name;
    Buffer weights(model.weight_bytes);
    read_bytes(in, weights.data(), model.weight_bytes);
    Buffer arena(model.arena_bytes[plan]);
    const std::int64_t batch = model.batch_of(plan);
    const std::size_t profile = model.profile_of(plan);
    cnngen::Buffers buffers{arena.data(), weights.data(), {}, {}};
    for (const cnngen::Port& port : model.inputs) {
        buffers.inputs.push_back(arena.data() + port.staging[plan]);
        read_bytes(in, arena.data() + port.staging[plan], port.bytes(profile) * static_cast<std::size_t>(batch));
    }
    for (const cnngen::Port& port : model.outputs) buffers.outputs.push_back(arena.data() + port.staging[plan]);
    std::vector<std::vector<std::uint64_t>> sizes(read_number(in));
    for (auto& kernel : sizes) {
        kernel.resize(read_number(in));
        for (std::uint64_t& size : kernel) size = read_number(in);
    }
    Run visitor(std::move(sizes), out);
    cnngen::Pass pass(visitor, buffers, batch, plan);
    model.forward(pass);
    if (!visitor.is_done()) fail("fewer steps than planned");
    arena.check();
    weights.check();
}

}  // namespace emulated
