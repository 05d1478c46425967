// Work that several threads share.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace cnngen {

// Calls work(i) for each i below count, on at most `threads` threads, each of which first makes its state. Whatever
// work throws is given back by index; empty: it went well.
template <class Setup, class Work>
std::vector<std::string> in_parallel(std::size_t count, std::size_t threads, Setup setup, Work work) {
    std::vector<std::string> failures(count);
    std::atomic<std::size_t> next = 0;
    const auto worker = [&] {
        std::optional<decltype(setup())> state;
        for (std::size_t i; (i = next++) < count;) {
            try {
                if (!state) state.emplace(setup());
                work(*state, i);
            } catch (const std::exception& e) {
                failures[i] = *e.what() ? e.what() : "failed";
            }
        }
    };
    std::vector<std::jthread> pool;
    for (std::size_t i = 1; i < std::min(threads, count); ++i) pool.emplace_back(worker);
    worker();
    pool.clear();  // joins
    return failures;
}

inline std::size_t default_threads() { return std::clamp(std::thread::hardware_concurrency(), 1u, 8u); }

}  // namespace cnngen
