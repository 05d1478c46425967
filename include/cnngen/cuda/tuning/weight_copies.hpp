// Copies of a network's weights, so that launches one after the other find them in memory and not in the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cnngen/cuda/memory.hpp"
#include "cnngen/pass.hpp"

namespace cnngen::inline cuda {

// Of one tensor at a time, the one that was asked for last.
class WeightCopies {
   public:
    static constexpr int most = 32;
    static constexpr std::size_t alignment = 512;  // as cudaMalloc's and a texture's

    // tensors: where each tensor of the slab lies and how large it is.
    WeightCopies(const void* slab, std::size_t bytes, std::vector<Weight> tensors, cudaStream_t stream)
        : base_(reinterpret_cast<std::uintptr_t>(slab)), bytes_(bytes), tensors_(std::move(tensors)), stream_(stream) {}

    // The tensor of the slab that starts at an address; null where none does.
    const Weight* tensor_at(const void* address) const {
        const auto at = reinterpret_cast<std::uintptr_t>(address);
        if (at < base_ || at >= base_ + bytes_) return nullptr;
        const auto found = std::ranges::find(tensors_, at - base_, &Weight::offset);
        return found == tensors_.end() ? nullptr : &*found;
    }

    // Where copy `copy` of the tensor at an address of the slab lies; 0 is the slab. Any other address as it is.
    // What makes the copies, the first time, is nothing that a capture may hold.
    void* find(void* address, int copy) {
        const Weight* const tensor = tensor_at(address);
        if (copy == 0 || !tensor) return address;
        const std::size_t stride = (tensor->bytes + alignment - 1) / alignment * alignment;
        if (copied_ != address) make(address, tensor->bytes, stride);
        return static_cast<std::byte*>(copies_.get()) + static_cast<std::size_t>(copy % most) * stride;
    }

   private:
    void make(const void* address, std::size_t bytes, std::size_t stride) {
        if (capacity_ < stride * most) {
            copies_ = {};
            copies_ = allocate_device(stride * most, "copies of weights");
            capacity_ = stride * most;
        }
        for (int i = 0; i < most; ++i) {
            check(cudaMemcpyAsync(static_cast<std::byte*>(copies_.get()) + static_cast<std::size_t>(i) * stride,
                                  address, bytes, cudaMemcpyDeviceToDevice, stream_),
                  "copying weights");
        }
        copied_ = address;
    }

    std::uintptr_t base_;
    std::size_t bytes_;
    std::vector<Weight> tensors_;
    cudaStream_t stream_;
    DeviceBuffer copies_;
    std::size_t capacity_ = 0;
    const void* copied_ = nullptr;  // the tensor that `copies_` holds
};

}  // namespace cnngen::inline cuda
