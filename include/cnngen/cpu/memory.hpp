// Memory of the CPU: address ranges whose pages exist once they are written.
#pragma once

#include <sys/mman.h>

#include <utility>

#include "cnngen/error.hpp"

namespace cnngen::inline cpu {

// Huge pages, where the system has them, are fewer addresses to translate: for what is used as a whole.
enum class Pages { small, huge };

// Zeros, page-aligned. What is never touched takes no memory.
class Region {
   public:
    Region() = default;
    Region(std::size_t bytes, std::string_view what, Pages pages) : bytes_(bytes) {
        if (!bytes) return;
        data_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (data_ == MAP_FAILED) {
            throw Error(text("not enough memory for the ", what, ": ", size_text(bytes), " needed"));
        }
        if (pages == Pages::huge) ::madvise(data_, bytes, MADV_HUGEPAGE);
    }
    ~Region() {
        if (data_) ::munmap(data_, bytes_);
    }
    Region(Region&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Region& operator=(Region&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }

    std::byte* data() const { return static_cast<std::byte*>(data_); }
    std::size_t bytes() const { return bytes_; }
    bool contains(const void* address) const { return address >= data() && address < data() + bytes_; }

   private:
    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace cnngen::inline cpu
