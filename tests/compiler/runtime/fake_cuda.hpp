// What fake_cuda.cpp tells, and how host functions become its kernels.
#pragma once
#include <cuda_runtime_api.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>
void fake_counts(const char* what);  // one more call of a function of another fake
bool fake_is_running();              // whether this thread is inside the fake, where allocations are its own
void fake_register(const void* function, std::vector<std::size_t> sizes, void (*run)(void**));
template <auto F>
struct Registered;
template <class... P, void (*F)(P...)>
struct Registered<F> {
    Registered() { fake_register(reinterpret_cast<const void*>(F), {sizeof(P)...}, &call); }
    static void call(void** a) { invoke(a, std::index_sequence_for<P...>{}); }
    template <std::size_t... I>
    static void invoke(void** a, std::index_sequence<I...>) {
        F(*static_cast<P*>(a[I])...);
    }
};
