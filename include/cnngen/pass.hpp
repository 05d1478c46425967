// One pass through a network. Generated code walks its layers in order on a Pass; what a step does (be planned, run,
// be timed, be copied out) is the visitor's matter, so that one straight-line forward serves all. A target adds how its
// kernels are launched.
#pragma once

#include <span>
#include <tuple>

#include "cnngen/operation.hpp"

namespace cnngen {

// Byte offsets of a buffer in the arena, one a plan: a planned batch size, in one profile of the inputs' shapes.
template <std::size_t N>
struct Offsets {
    std::size_t values[N];
};
template <class... T>
Offsets(T...) -> Offsets<sizeof...(T)>;

// A tensor in the weight slab.
struct Weight {
    std::size_t offset;
    std::size_t bytes;
};

// The tensor that follows another one: each starts at a multiple of 256 bytes.
constexpr Weight after(const Weight& before, std::size_t bytes) {
    return {(before.offset + before.bytes + 255) / 256 * 256, bytes};
}

// A network input or output as a kernel argument: which one it is stays known, so that a pass that was recorded can be
// pointed at the caller's memory.
template <class T>
struct Input {
    const T* data;
    int index;
};
template <class T>
struct Output {
    T* data;
    int index;
};

// An argument of a kernel about to be launched.
struct Argument {
    const void* value;
    std::size_t bytes;
    int input = -1;   // index of the network input that it holds
    int output = -1;  // likewise
};

template <class KernelCall>
class BasicVisitor {
   public:
    virtual ~BasicVisitor() = default;
    virtual void visit(const Operation& operation) = 0;
    virtual void visit(const KernelCall& call) = 0;
};

// Where a pass finds its data.
struct Buffers {
    void* arena = nullptr;
    void* weights = nullptr;
    std::vector<void*> inputs;
    std::vector<void*> outputs;
};

// `KernelCall`: a target's kernel with its arguments and how it is launched.
template <class KernelCall>
class BasicPass {
   public:
    BasicPass(BasicVisitor<KernelCall>& visitor, const Buffers& buffers, std::int64_t batch, std::size_t plan)
        : visitor_(visitor), buffers_(buffers), batch_(batch), plan_(plan) {}

    std::int64_t batch() const { return batch_; }
    std::size_t plan() const { return plan_; }

    // An activation in the arena.
    template <class T = void, std::size_t N>
    T* at(const Offsets<N>& offsets) const {
        return address<T>(buffers_.arena, offsets.values[plan_]);
    }

    // What differs between the plans, one value each.
    template <class T, class... Same>
    T each(T first, Same... others) const {
        const T values[] = {first, others...};
        return values[plan_];
    }

    // A weight in the slab.
    template <class T = void>
    T* weight(const Weight& weight) const {
        return address<T>(buffers_.weights, weight.offset);
    }

    template <class T>
    Input<T> input(int index) const {
        return {static_cast<const T*>(buffers_.inputs[static_cast<std::size_t>(index)]), index};
    }
    template <class T>
    Output<T> output(int index) const {
        return {static_cast<T*>(buffers_.outputs[static_cast<std::size_t>(index)]), index};
    }

    void convolution(const Convolution& convolution) { visitor_.visit(convolution); }
    void matmul(const Matmul& matmul) { visitor_.visit(matmul); }
    void batch_matmul(const BatchMatmul& matmul) { visitor_.visit(matmul); }

   protected:
    void visit(const KernelCall& call) { visitor_.visit(call); }

    // Calls `use` with the arguments, converted to the kernel's parameter types.
    template <class... Parameters, class Use, class... Arguments>
    static void with_arguments(void (*)(Parameters...), Use use, const Arguments&... arguments) {
        static_assert(sizeof...(Parameters) == sizeof...(Arguments), "the kernel takes another number of arguments");
        const std::tuple<Parameters...> values{convert<Parameters>(arguments)...};
        const auto list = std::apply(
            [&](const auto&... value) {
                return std::array<Argument, sizeof...(Parameters)>{argument(value, arguments)...};
            },
            values);
        use(std::span<const Argument>(list));
    }

   private:
    // Without arena or weights (planning) the offset itself stands for the address.
    template <class T>
    static T* address(void* base, std::size_t offset) {
        return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(base) + offset);
    }

    template <class To, class From>
    static To convert(const From& from) {
        return static_cast<To>(from);
    }
    template <class To, class T>
    static To convert(const Input<T>& from) {
        return from.data;
    }
    template <class To, class T>
    static To convert(const Output<T>& from) {
        return from.data;
    }

    template <class Value, class Given>
    static Argument argument(const Value& value, const Given&) {
        return {&value, sizeof value};
    }
    template <class Value, class T>
    static Argument argument(const Value& value, const Input<T>& given) {
        return {&value, sizeof value, given.index, -1};
    }
    template <class Value, class T>
    static Argument argument(const Value& value, const Output<T>& given) {
        return {&value, sizeof value, -1, given.index};
    }

    BasicVisitor<KernelCall>& visitor_;
    const Buffers& buffers_;
    std::int64_t batch_;
    std::size_t plan_;
};

}  // namespace cnngen
