// Threads that copy host memory together.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace cnngen::inline cuda {

struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
};

// One core copies some 10 GB/s, where PCIe 5 takes 50: 64 photos in float32, 38 MB, would keep one core busy for longer
// than they keep the GPU. Several cores reach what the memory gives, of which a copy takes three times its bytes: the
// read, the write, and the read of each line before it is written; the GPU's own read of the page-locked copy is one
// more. Half of the cores, so that the caller's other threads have the rest.
inline std::size_t copying_threads() { return std::clamp<std::size_t>(std::thread::hardware_concurrency() / 2, 1, 8); }

// Serves one caller at a time, whose thread is one of those that copy.
class Copiers {
   public:
    // What a thread takes at once: so much that waking it costs little beside it.
    static constexpr std::size_t share_bytes = std::size_t{512} << 10;

    explicit Copiers(std::size_t threads) {
        for (std::size_t i = 1; i < threads; ++i) {
            helpers_.emplace_back([this](const std::stop_token& stop) { help(stop); });
        }
    }

    // As many as have something to do in copies of so many bytes, at most copying_threads().
    static std::size_t threads_for(std::size_t bytes) {
        return std::min(copying_threads(), std::max<std::size_t>(bytes / share_bytes, 1));
    }

    // Copies all; allocates nothing.
    void copy(std::span<const Copy> copies) {
        std::size_t bytes = 0;
        for (const Copy& c : copies) bytes += c.bytes;
        std::unique_lock lock(mutex_);
        copies_ = copies;
        taken_ = done_ = 0;
        shares_ = (bytes + share_bytes - 1) / share_bytes;
        if (shares_ > 1) wake_.notify_all();
        work(lock);
        finished_.wait(lock, [&] { return done_ == shares_; });
    }

   private:
    void help(const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        while (wake_.wait(lock, stop, [&] { return taken_ < shares_; })) work(lock);
    }

    // Copies shares until all are taken; the lock is let go meanwhile.
    void work(std::unique_lock<std::mutex>& lock) {
        while (taken_ < shares_) {
            const std::size_t begin = taken_++ * share_bytes;
            lock.unlock();
            copy_range(begin, begin + share_bytes);
            lock.lock();
            if (++done_ == shares_) finished_.notify_one();
        }
    }

    // Of all copies as if they lay one behind the other. copies_ stays as it is until the last share is done.
    void copy_range(std::size_t begin, std::size_t end) const {
        std::size_t at = 0;
        for (const Copy& c : copies_) {
            if (at >= end) return;
            const std::size_t from = std::max(begin, at) - at;
            const std::size_t to = std::min(end - at, c.bytes);
            if (from < to) {
                std::memcpy(static_cast<std::byte*>(c.to) + from, static_cast<const std::byte*>(c.from) + from,
                            to - from);
            }
            at += c.bytes;
        }
    }

    std::mutex mutex_;
    std::condition_variable_any wake_;
    std::condition_variable_any finished_;
    std::span<const Copy> copies_;
    std::size_t shares_ = 0;  // of the copies under way
    std::size_t taken_ = 0;
    std::size_t done_ = 0;
    std::vector<std::jthread> helpers_;  // last: they use what stands above
};

}  // namespace cnngen::inline cuda
