// Owners of what CUDA and its libraries hand out: memory, streams, events, graphs, handles.
#pragma once

#include <utility>

#include "cnngen/cuda/check.hpp"

namespace cnngen::inline cuda {

// Sole owner of a handle that Destroy gives back.
template <class T, auto Destroy>
class Owned {
   public:
    Owned() = default;
    explicit Owned(T handle) : handle_(handle) {}
    ~Owned() {
        if (handle_) Destroy(handle_);
    }
    Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Owned& operator=(Owned&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }

    T get() const { return handle_; }
    T* out() { return &handle_; }  // for the call that creates it
    explicit operator bool() const { return handle_ != nullptr; }

   private:
    T handle_ = nullptr;
};

using DeviceBuffer = Owned<void*, cudaFree>;
using PinnedBuffer = Owned<void*, cudaFreeHost>;
using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using Graph = Owned<cudaGraph_t, cudaGraphDestroy>;
using GraphExec = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;
using CudnnHandle = Owned<cudnnHandle_t, cudnnDestroy>;
using CublasLtHandle = Owned<cublasLtHandle_t, cublasLtDestroy>;

// Makes `device` current, and the one before again at the end.
class DeviceGuard {
   public:
    explicit DeviceGuard(int device) {
        check(cudaGetDevice(&before_), "asking for the current GPU");
        if (before_ != device) check(cudaSetDevice(device), "selecting GPU ", device);
        changed_ = before_ != device;
    }
    ~DeviceGuard() {
        if (changed_) cudaSetDevice(before_);
    }
    DeviceGuard(const DeviceGuard&) = delete;

   private:
    int before_ = 0;
    bool changed_ = false;
};

// Empty for 0 bytes. `what` is for the message when the GPU has too little memory.
inline DeviceBuffer allocate_device(std::size_t bytes, std::string_view what) {
    DeviceBuffer buffer;
    if (!bytes) return buffer;
    const cudaError_t status = cudaMalloc(buffer.out(), bytes);
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        std::size_t free = 0, total = 0;
        cudaMemGetInfo(&free, &total);
        throw Error(text("not enough GPU memory for the ", what, ": ", size_text(bytes), " needed, ", size_text(free),
                         " free of ", size_text(total)));
    }
    check(status, "allocating GPU memory for the ", what);
    return buffer;
}

inline PinnedBuffer allocate_pinned(std::size_t bytes, std::string_view what) {
    PinnedBuffer buffer;
    if (bytes) {
        check(cudaHostAlloc(buffer.out(), bytes, cudaHostAllocDefault), "allocating ", size_text(bytes),
              " of page-locked host memory for the ", what);
    }
    return buffer;
}

inline Stream make_stream() {
    Stream stream;
    check(cudaStreamCreateWithFlags(stream.out(), cudaStreamNonBlocking), "creating a stream");
    return stream;
}

inline Event make_event(unsigned flags = cudaEventDisableTiming) {
    Event event;
    check(cudaEventCreateWithFlags(event.out(), flags), "creating an event");
    return event;
}

inline GraphExec instantiate(const Graph& graph) {
    GraphExec exec;
    check(cudaGraphInstantiate(exec.out(), graph.get(), 0), "instantiating a CUDA graph");
    return exec;
}

// What `work` puts on the stream, as a graph.
template <class Work>
Graph capture(cudaStream_t stream, Work&& work) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "starting a stream capture");
    Graph graph;
    try {
        work();
    } catch (...) {  // the stream must leave capture mode, whatever became of the work
        cudaStreamEndCapture(stream, graph.out());
        cudaGetLastError();
        throw;
    }
    check(cudaStreamEndCapture(stream, graph.out()), "ending a stream capture");
    return graph;
}

inline CudnnHandle make_cudnn(cudaStream_t stream = nullptr) {
    CudnnHandle handle;
    check(cudnnCreate(handle.out()), "starting cuDNN");
    if (stream) check(cudnnSetStream(handle.get(), stream), "setting cuDNN's stream");
    return handle;
}

inline CublasLtHandle make_cublaslt() {
    CublasLtHandle handle;
    check(cublasLtCreate(handle.out()), "starting cuBLASLt");
    return handle;
}

}  // namespace cnngen::inline cuda
