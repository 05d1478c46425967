// Runs CUDA kernels on the CPU, so that their indices, bounds and barriers are proved where there is no GPU.
//
// Every thread of a block is a fiber that runs until it waits at a barrier or a shuffle; warps and their lanes take
// turns in random order, so that a result that depends on the order differs from run to run. What a GPU leaves
// undefined is an error here: a thread that ends, or waits elsewhere, while its warp or block waits for it.
// Include this before any kernel header.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

// One copy for the block's threads; blocks run one after the other and find what the last one left.
#undef __shared__
#define __shared__ static

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace emulation {

inline const char* running = "";  // what is being checked, for messages

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "%s: %s (block %u, thread %u)\n", running, what, blockIdx.x, threadIdx.x);
    std::_Exit(1);
}

inline const auto at_guard_page = std::signal(SIGSEGV, [](int) { fail("an access far outside a buffer"); });

enum class State { running, at_barrier, at_shuffle, done };

struct Fiber {
    static constexpr std::size_t stack_bytes = 256 * 1024;
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[stack_bytes]};
    State state = State::running;
    int lane_offset = 0;
    std::uint64_t sent = 0, received = 0;
};

// One block at a time.
struct Block {
    std::vector<Fiber> fibers;
    ucontext_t scheduler;
    unsigned current = 0;
    const std::function<void()>* kernel = nullptr;
    std::mt19937 order{1};

    void wait(State state) {
        fibers[current].state = state;
        swapcontext(&fibers[current].context, &scheduler);
    }

    void resume(unsigned thread) {
        current = thread;
        threadIdx = {thread, 0, 0};
        fibers[thread].state = State::running;
        swapcontext(&scheduler, &fibers[thread].context);
    }

    std::vector<unsigned> shuffled(unsigned first, unsigned last) {
        std::vector<unsigned> numbers(last - first);
        std::iota(numbers.begin(), numbers.end(), first);
        std::shuffle(numbers.begin(), numbers.end(), order);
        return numbers;
    }

    // All lanes of a warp in one state; anything else is a kernel that hangs or reads rubbish on a GPU.
    State state_of(unsigned first, unsigned last) {
        for (unsigned i = first; i < last; ++i) {
            if (fibers[i].state != fibers[first].state) {
                threadIdx.x = i;
                fail("the lanes of a warp wait at different places");
            }
        }
        return fibers[first].state;
    }

    // A kernel's early exit may leave lanes of a warp in different states only if none of them waits.
    void run_warp(unsigned first, unsigned last) {
        do {
            for (unsigned lane : shuffled(first, last)) resume(lane);
            if (state_of(first, last) != State::at_shuffle) return;
            if (last - first != 32) fail("a shuffle in a warp that is not full");
            for (unsigned i = first; i < last; ++i) {
                fibers[i].received = fibers[first + ((i - first) ^ fibers[i].lane_offset)].sent;
            }
        } while (true);
    }

    void run(unsigned threads);
};

inline Block block;

inline void enter() {
    (*block.kernel)();
    block.wait(State::done);
}

inline void Block::run(unsigned threads) {
    if (fibers.size() < threads) fibers = std::vector<Fiber>(threads);
    for (unsigned i = 0; i < threads; ++i) {
        getcontext(&fibers[i].context);
        fibers[i].context.uc_stack.ss_sp = fibers[i].stack.get();
        fibers[i].context.uc_stack.ss_size = Fiber::stack_bytes;
        fibers[i].context.uc_link = nullptr;
        makecontext(&fibers[i].context, enter, 0);
    }
    const unsigned warps = (threads + 31) / 32;
    do {
        for (unsigned warp : shuffled(0, warps)) run_warp(warp * 32, std::min(threads, warp * 32 + 32));
    } while (state_of(0, threads) == State::at_barrier);
}

// kernel<<<blocks, threads>>>; blocks in random order.
inline void launch(unsigned blocks, unsigned threads, const std::function<void()>& kernel) {
    block.kernel = &kernel;
    gridDim = dim3(blocks);
    blockDim = dim3(threads);
    for (unsigned b : block.shuffled(0, blocks)) {
        blockIdx = {b, 0, 0};
        block.run(threads);
    }
}

// Device memory for `count` elements, NaN at first, as is everything around it. It ends at a page that may not be
// touched, but for the few bytes that keep its start 256-byte aligned; check() finds writes into those and before it.
template <typename T>
class Buffer {
   public:
    explicit Buffer(std::size_t count) : count_(count) {
        const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t used = (count * sizeof(T) + 15) / 16 * 16;
        pages_ = (used + page - 1) / page * page + page;
        total_ = pages_ + 2 * page;
        base_ = static_cast<char*>(mmap(nullptr, total_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        begin_ = base_ + page;
        if (base_ == MAP_FAILED || mprotect(begin_, pages_, PROT_READ | PROT_WRITE) != 0) fail("no memory");
        std::memset(begin_, 0xff, pages_);
        data_ = reinterpret_cast<T*>(begin_ + pages_ - used);
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { munmap(base_, total_); }

    T* data() { return data_; }
    std::size_t size() const { return count_; }
    T& operator[](std::size_t i) { return data_[i]; }

    void check() const {
        const char* end = reinterpret_cast<const char*>(data_ + count_);
        for (const char* p = begin_; p < begin_ + pages_; ++p) {
            const bool inside = p >= reinterpret_cast<const char*>(data_) && p < end;
            if (!inside && *p != static_cast<char>(0xff)) fail("a kernel wrote outside its buffer");
        }
    }

   private:
    std::size_t count_, pages_, total_;
    char *base_, *begin_;
    T* data_;
};

}  // namespace emulation

inline void __syncthreads() { emulation::block.wait(emulation::State::at_barrier); }

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_offset) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    if (mask != 0xffffffffu) emulation::fail("only whole-warp shuffles are emulated");
    emulation::Fiber& self = emulation::block.fibers[emulation::block.current];
    std::memcpy(&self.sent, &value, sizeof(T));
    self.lane_offset = lane_offset;
    emulation::block.wait(emulation::State::at_shuffle);
    std::memcpy(&value, &self.received, sizeof(T));
    return value;
}

template <typename T>
void __stwb(T* to, T value) {
    *to = value;
}
