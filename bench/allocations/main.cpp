// Counts the allocations and the waits of 1,000 passes: WEIGHTS [BATCH]. Prints one line a way of running.
//
// The program's own malloc and CUDA runtime functions stand before the libraries', count, and call them.
#include <dlfcn.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include HEADER

namespace {

struct Counts {
    std::atomic<long> host{0}, device{0}, pinned{0}, waits{0};
};
Counts counts;
std::atomic<bool> armed{false};

void count(std::atomic<long>& counter) {
    if (armed.load(std::memory_order_relaxed)) ++counter;
}

template <class Function>
Function* next(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);

void* malloc(std::size_t bytes) {
    count(counts.host);
    return __libc_malloc(bytes);
}
void* calloc(std::size_t n, std::size_t bytes) {
    count(counts.host);
    return __libc_calloc(n, bytes);
}
void* realloc(void* old, std::size_t bytes) {
    count(counts.host);
    return __libc_realloc(old, bytes);
}

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
    static auto* real = next<cudaError_t(void**, std::size_t)>("cudaMalloc");
    count(counts.device);
    return real(pointer, bytes);
}
cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t stream) {
    static auto* real = next<cudaError_t(void**, std::size_t, cudaStream_t)>("cudaMallocAsync");
    count(counts.device);
    return real(pointer, bytes, stream);
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned flags) {
    static auto* real = next<cudaError_t(void**, std::size_t, unsigned)>("cudaHostAlloc");
    count(counts.pinned);
    return real(pointer, bytes, flags);
}
cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
    static auto* real = next<cudaError_t(void**, std::size_t)>("cudaMallocHost");
    count(counts.pinned);
    return real(pointer, bytes);
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    static auto* real = next<cudaError_t(cudaStream_t)>("cudaStreamSynchronize");
    count(counts.waits);
    return real(stream);
}
cudaError_t cudaDeviceSynchronize() {
    static auto* real = next<cudaError_t()>("cudaDeviceSynchronize");
    count(counts.waits);
    return real();
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    static auto* real = next<cudaError_t(cudaEvent_t)>("cudaEventSynchronize");
    count(counts.waits);
    return real(event);
}
}

namespace {

constexpr int passes = 1000;

template <class Pass>
void measure(const char* what, Pass pass) {
    for (int i = 0; i < 20; ++i) pass(i);
    cudaDeviceSynchronize();
    counts.host = counts.device = counts.pinned = counts.waits = 0;
    armed = true;
    for (int i = 0; i < passes; ++i) pass(i);
    armed = false;
    cudaDeviceSynchronize();
    std::printf("%-48s %d passes: host allocations %ld, device %ld, page-locked %ld, waits %ld\n", what, passes,
                counts.host.load(), counts.device.load(), counts.pinned.load(), counts.waits.load());
}

}  // namespace

int main(int argc, char** argv) try {
    cnngen::Options options;
    if (argc > 1) options.weights = argv[1];
    const std::int64_t batch = argc > 2 ? std::atoi(argv[2]) : 1;
    const NETWORK::Network network(options);
    NETWORK::Context context(network);
    const cnngen::Model& model = network.model();

    std::vector<std::vector<std::byte>> host;
    std::vector<void*> device[2];
    std::minstd_rand random(1);
    const auto make = [&](const cnngen::Port& port) {
        const std::size_t bytes = port.bytes() * static_cast<std::size_t>(batch);
        host.emplace_back(bytes);
        for (auto& b : host.back()) b = static_cast<std::byte>(random() % 50);
        for (auto& set : device) {
            void* p = nullptr;
            cudaMalloc(&p, bytes);
            cudaMemcpy(p, host.back().data(), bytes, cudaMemcpyHostToDevice);
            set.push_back(p);
        }
    };
    for (const auto& port : model.inputs) make(port);
    for (const auto& port : model.outputs) make(port);
    const std::size_t n = model.inputs.size();
    const auto run = [&](const std::vector<void*>& all, auto&& call) {
        const std::vector<const void*>::size_type split = n;
        const std::span<void* const> every(all);
        const void* inputs[16];
        for (std::size_t i = 0; i < split; ++i) inputs[i] = every[i];
        call(std::span<const void* const>(inputs, split), every.subspan(split));
    };
    std::vector<void*> from_host;
    for (auto& bytes : host) from_host.push_back(bytes.data());

    const auto enqueue = [&](auto inputs, auto outputs) { context.run_async(inputs, outputs, batch); };
    const auto wait = [&](auto inputs, auto outputs) { context.run(inputs, outputs, batch); };
    measure("GPU memory, run_async", [&](int) { run(device[0], enqueue); });
    measure("GPU memory, two sets in turn, run_async", [&](int i) { run(device[i % 2], enqueue); });
    measure("host memory, run (one wait a pass is its own)", [&](int) { run(from_host, wait); });

    NETWORK::Pipeline pipeline(network);
    const auto submit = [&](auto inputs, auto outputs) {
        if (pipeline.pending() == pipeline.contexts()) pipeline.next();
        pipeline.submit(inputs, outputs, batch);
    };
    measure("host memory, pipeline (two waits a pass)", [&](int) { run(from_host, submit); });
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
