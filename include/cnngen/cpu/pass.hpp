// A pass on the CPU: a kernel is a function, which uses as many threads as OpenMP gives it.
#pragma once

#include <cstring>
#include <type_traits>

#include "cnngen/pass.hpp"

namespace cnngen::inline cpu {

// Each argument of a kernel lies in a slot of its own, so that any kernel can be called again from its slots.
using Slot = std::uint64_t;
using Caller = void (*)(const void* function, const Slot* slots);

// A kernel about to be called.
struct KernelCall {
    const Layers& layers;
    Tensor y;
    Caller caller;
    const void* function;
    std::span<const Argument> arguments;
};

using StepVisitor = BasicVisitor<KernelCall>;

class Pass : public BasicPass<KernelCall> {
   public:
    using BasicPass::BasicPass;

    // Calls kernel(arguments...), which makes y. Arguments are converted to the kernel's parameter types.
    template <class... Parameters, class... Arguments>
    void launch(const Layers& layers, const Tensor& y, void (*kernel)(Parameters...), const Arguments&... arguments) {
        static_assert(((sizeof(Parameters) <= sizeof(Slot) && std::is_trivially_copyable_v<Parameters>) && ...),
                      "a kernel's parameters are numbers and addresses");
        with_arguments(
            kernel,
            [&](std::span<const Argument> list) {
                visit({layers, y, call<Parameters...>, reinterpret_cast<const void*>(kernel), list});
            },
            arguments...);
    }

   private:
    template <class... Parameters>
    static void call(const void* function, const Slot* slots) {
        call_in_order<Parameters...>(function, slots, std::index_sequence_for<Parameters...>());
    }
    template <class... Parameters, std::size_t... I>
    static void call_in_order(const void* function, const Slot* slots, std::index_sequence<I...>) {
        reinterpret_cast<void (*)(Parameters...)>(const_cast<void*>(function))(read<Parameters>(slots[I])...);
    }
    template <class T>
    static T read(const Slot& slot) {
        T value;
        std::memcpy(&value, &slot, sizeof value);
        return value;
    }
};

}  // namespace cnngen::inline cpu
