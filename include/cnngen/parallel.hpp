// Work that several threads share.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
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

// Threads that do what is added, in order. What none has begun when they end is not done.
class Workers {
   public:
    using Work = std::function<void(std::size_t)>;  // is told which thread it is on; may not throw

    explicit Workers(std::size_t threads) {
        for (std::size_t i = 0; i < threads; ++i) {
            pool_.emplace_back([this, i](const std::stop_token& stop) { run(stop, i); });
        }
    }

    void add(Work work) { insert(std::move(work), false); }
    void add_first(Work work) { insert(std::move(work), true); }

   private:
    void insert(Work work, bool is_first) {
        {
            const std::lock_guard lock(mutex_);
            waiting_.insert(is_first ? waiting_.begin() : waiting_.end(), std::move(work));
        }
        changed_.notify_one();
    }

    void run(const std::stop_token& stop, std::size_t worker) {
        while (true) {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, stop, [this] { return !waiting_.empty(); });
            if (stop.stop_requested()) return;
            const Work work = std::move(waiting_.front());
            waiting_.pop_front();
            lock.unlock();
            work(worker);
        }
    }

    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::deque<Work> waiting_;
    std::vector<std::jthread> pool_;  // last: ends first
};

inline std::size_t default_threads() { return std::clamp(std::thread::hardware_concurrency(), 1u, 8u); }

}  // namespace cnngen
