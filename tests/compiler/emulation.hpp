// Runs CUDA kernels on the CPU, so that their indices, bounds and barriers are proved where there is no GPU.
//
// Every thread of a block, or of a cluster of blocks, is a fiber that runs until it waits for others; warps and their
// lanes take turns in random order, so that a result that depends on the order differs from run to run. What a GPU
// leaves undefined is an error here: a thread that ends, or waits elsewhere, while others wait for it. Copies into
// shared memory arrive at any time until they are waited for. Include this before any kernel header.
#pragma once

// A run at -O0 would spend half of its time on the conversion of halves.
#pragma GCC push_options
#pragma GCC optimize("O1")
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#pragma GCC pop_options
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

// One copy for the block's threads; blocks run one after the other and find what the last one left. The blocks of a
// cluster would share it: their kernels use the shared memory that the launch gives.
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
// The sanitizer's traps.
inline const auto at_trap = std::signal(SIGILL, [](int) { fail("undefined behaviour, or an access not aligned"); });

enum class State { running, at_barrier, at_warp, at_cluster, done };

// Bytes on their way into shared memory, or as many zeros.
struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
    bool inside;

    void arrive() const {
        if (inside) {
            std::memcpy(to, from, bytes);
        } else {
            std::memset(to, 0, bytes);
        }
    }
};

// What a lane shows to the others of its warp at once: two exchanges, since a lane may be one ahead.
using Message = std::array<unsigned char, 48>;

// From one stack to another. swapcontext would do, but it also asks the system for the signal mask, each time. Where
// _FORTIFY_SOURCE is on, as some compilers have it from -O1 on, glibc takes such a jump for an error.
inline void switch_stacks(jmp_buf& from, jmp_buf& to) {
    if (_setjmp(from) == 0) _longjmp(to, 1);
}

struct Fiber {
    static constexpr std::size_t stack_bytes = 256 * 1024;
    jmp_buf context;
    std::unique_ptr<char[]> stack{new char[stack_bytes]};
    State state = State::running;
    Message sent[2] = {};
    int exchanges = 0;
    std::deque<std::vector<Copy>> copies;
};

// Shared memory that a launch gives; it ends at a page that may not be touched.
class DynamicShared;

// The blocks of a cluster run together, one cluster at a time; a launch without clusters has those of one block.
struct Cluster {
    std::vector<Fiber> fibers;  // of all threads, block by block
    std::vector<std::unique_ptr<DynamicShared>> shared;
    jmp_buf scheduler;
    unsigned blocks = 1, threads = 0;  // of a cluster, of a block
    unsigned first_block = 0, current = 0;
    const std::function<void()>* kernel = nullptr;
    std::mt19937 order{1};

    unsigned block() const { return current / threads; }
    unsigned warp() const { return block() * threads + current % threads / 32 * 32; }

    void wait(State state) {
        fibers[current].state = state;
        switch_stacks(fibers[current].context, scheduler);
    }

    void resume(unsigned fiber) {
        current = fiber;
        threadIdx = {fiber % threads, 0, 0};
        blockIdx = {first_block + block(), 0, 0};
        fibers[fiber].state = State::running;
        switch_stacks(scheduler, fibers[fiber].context);
    }

    std::vector<unsigned> shuffled(unsigned first, unsigned last) {
        std::vector<unsigned> numbers(last - first);
        std::iota(numbers.begin(), numbers.end(), first);
        std::shuffle(numbers.begin(), numbers.end(), order);
        return numbers;
    }

    // All of them in one state; anything else is a kernel that hangs or reads rubbish on a GPU.
    State state_of(unsigned first, unsigned last, const char* whom) {
        for (unsigned i = first; i < last; ++i) {
            if (fibers[i].state == fibers[first].state) continue;
            threadIdx.x = i % threads;
            std::fprintf(stderr, "%s wait at different places: ", whom);
            fail("a hang");
        }
        return fibers[first].state;
    }

    // A kernel's early exit may leave lanes of a warp in different states only if none of them waits.
    void run_warp(unsigned first, unsigned last) {
        do {
            for (unsigned lane : shuffled(first, last)) resume(lane);
            if (state_of(first, last, "the lanes of a warp") != State::at_warp) return;
            if (last - first != 32) fail("an exchange in a warp that is not full");
        } while (true);
    }

    // To the next barrier of the cluster, or the end.
    void run_block(unsigned number) {
        const unsigned first = number * threads, last = first + threads, warps = (threads + 31) / 32;
        do {
            for (unsigned warp : shuffled(0, warps)) {
                run_warp(first + warp * 32, std::min(last, first + warp * 32 + 32));
            }
        } while (state_of(first, last, "the threads of a block") == State::at_barrier);
    }

    void start(unsigned fiber);
    void run(std::size_t shared_bytes);
};

inline Cluster cluster;

// A fiber is done until it is resumed; then it runs the kernel of that time, and is done again.
inline void enter() {
    while (true) {
        cluster.wait(State::done);
        (*cluster.kernel)();
        for (const auto& group : cluster.fibers[cluster.current].copies) {
            if (!group.empty()) fail("a thread ends before its copies have");
        }
    }
}

inline void Cluster::start(unsigned fiber) {
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fibers[fiber].stack.get();
    context.uc_stack.ss_size = Fiber::stack_bytes;
    context.uc_link = nullptr;
    makecontext(&context, enter, 0);
    current = fiber;
    if (_setjmp(scheduler) == 0) setcontext(&context);
}

// What the other lanes of the warp sent when this one did; all of them must come.
template <typename T>
std::array<T, 32> exchange(const T& value) {
    static_assert(sizeof(T) <= sizeof(Message));
    Fiber& self = cluster.fibers[cluster.current];
    const int turn = self.exchanges++ % 2;
    std::memcpy(self.sent[turn].data(), &value, sizeof(T));
    cluster.wait(State::at_warp);
    std::array<T, 32> all;
    const Fiber* fiber = &cluster.fibers[cluster.warp()];
    for (T& given : all) std::memcpy(&given, &(fiber++)->sent[turn], sizeof(T));
    return all;
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

class DynamicShared {
   public:
    explicit DynamicShared(std::size_t bytes) : memory_(bytes) {}
    unsigned char* data() { return memory_.data(); }

   private:
    Buffer<unsigned char> memory_;
};

inline void Cluster::run(std::size_t shared_bytes) {
    const unsigned count = blocks * threads;
    if (fibers.size() < count) {
        fibers = std::vector<Fiber>(count);
        for (unsigned i = 0; i < count; ++i) start(i);
    }
    shared.clear();
    for (unsigned i = 0; i < blocks; ++i) shared.push_back(std::make_unique<DynamicShared>(shared_bytes));
    for (unsigned i = 0; i < count; ++i) {
        fibers[i].copies.assign(1, {});
        fibers[i].exchanges = 0;
    }
    do {
        for (unsigned number : shuffled(0, blocks)) run_block(number);
    } while (state_of(0, count, "the blocks of a cluster") == State::at_cluster);
}

// kernel<<<blocks, threads, shared>>> in clusters of `together` blocks; clusters in random order.
inline void launch(unsigned blocks, unsigned threads, const std::function<void()>& kernel, unsigned together = 1,
                   std::size_t shared = 0) {
    if (blocks % together != 0) fail("the clusters do not divide the blocks");
    cluster.kernel = &kernel;
    cluster.threads = threads;
    cluster.blocks = together;
    gridDim = dim3(blocks);
    blockDim = dim3(threads);
    for (unsigned number : cluster.shuffled(0, blocks / together)) {
        cluster.first_block = number * together;
        cluster.run(shared);
    }
}

}  // namespace emulation

inline void __syncthreads() { emulation::cluster.wait(emulation::State::at_barrier); }

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_offset) {
    if (mask != 0xffffffffu) emulation::fail("only whole-warp shuffles are emulated");
    const unsigned lane = threadIdx.x % 32;
    return emulation::exchange(value)[lane ^ static_cast<unsigned>(lane_offset)];
}

template <typename T>
void __stwb(T* to, T value) {
    *to = value;
}

// What tensor_core.cuh says of each.
namespace cnngen::ptx {

inline void wait_for_inputs() {}
inline void start_next() {}
inline void prefetch(const void*) {}

inline emulation::Fiber& this_thread() { return emulation::cluster.fibers[emulation::cluster.current]; }

template <std::size_t bytes>
void copy(void* to_shared, const void* from_global, bool inside) {
    if (reinterpret_cast<std::uintptr_t>(from_global) % bytes || reinterpret_cast<std::uintptr_t>(to_shared) % bytes) {
        emulation::fail("a copy that is not aligned");
    }
    const emulation::Copy copy{to_shared, from_global, bytes, inside};
    // At any time until it is waited for: one comes too early for who still reads, one too late for who does not wait.
    if (emulation::cluster.order() % 2 == 0) copy.arrive();
    this_thread().copies.back().push_back(copy);
}

inline void copy_16(void* to, const void* from, bool inside) { copy<16>(to, from, inside); }
inline void copy_4(void* to, const void* from, bool inside) { copy<4>(to, from, inside); }

inline void end_copies() { this_thread().copies.emplace_back(); }

template <int Pending>
void wait_for_copies() {
    auto& groups = this_thread().copies;  // the last one is open
    while (groups.size() > Pending + 1) {
        for (const emulation::Copy& copy : groups.front()) copy.arrive();
        groups.pop_front();
    }
}

inline void load_matrices(std::uint32_t (&fragment)[4], const void* row) {
    if (reinterpret_cast<std::uintptr_t>(row) % 16) emulation::fail("a matrix row that is not 16-byte aligned");
    const auto rows = emulation::exchange(row);
    const unsigned lane = threadIdx.x % 32;
    for (unsigned i = 0; i < 4; ++i) {
        std::memcpy(&fragment[i], static_cast<const char*>(rows[8 * i + lane / 4]) + lane % 4 * 4, 4);
    }
}

template <typename T>
void multiply(float (&sum)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    struct Operands {
        float a[4][2], b[2][2];
    };
    Operands own;
    const auto convert = [](float (&to)[2], std::uint32_t pair) {
        T halves[2];
        std::memcpy(static_cast<void*>(halves), &pair, sizeof pair);
        to[0] = static_cast<float>(halves[0]), to[1] = static_cast<float>(halves[1]);
    };
    for (unsigned i = 0; i < 4; ++i) convert(own.a[i], a[i]);
    for (unsigned i = 0; i < 2; ++i) convert(own.b[i], b[i]);
    const auto exchanged = emulation::exchange(own);
    const Operands* const all = exchanged.data();
    const unsigned lane = threadIdx.x % 32;
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (unsigned k = 0; k < 16; ++k) {
            const Operands &left = all[row % 8 * 4 + k % 8 / 2], &right = all[column * 4 + k % 8 / 2];
            sum[i] += left.a[row / 8 + k / 8 * 2][k % 2] * right.b[k / 8][k % 2];
        }
    }
}

template <typename T>
void multiply(float (&sum)[4], const std::uint32_t (&a)[2], std::uint32_t b) {
    multiply<T>(sum, {a[0], a[1], 0, 0}, {b, 0});
}

inline int block_in_cluster() { return static_cast<int>(emulation::cluster.block()); }
inline void wait_for_cluster() { emulation::cluster.wait(emulation::State::at_cluster); }
inline void arrive_at_cluster() {}
inline void wait_for_arrived() { wait_for_cluster(); }
inline unsigned char* dynamic_shared() { return emulation::cluster.shared[emulation::cluster.block()]->data(); }

template <typename V>
V from_block(const float* here, int block) {
    const auto place = reinterpret_cast<const unsigned char*>(here) - dynamic_shared();
    V value;
    std::memcpy(&value, emulation::cluster.shared[static_cast<unsigned>(block)]->data() + place, sizeof value);
    return value;
}

inline float4 load_from_block(const float* here, int block) { return from_block<float4>(here, block); }
inline float float_from_block(const float* here, int block) { return from_block<float>(here, block); }

}  // namespace cnngen::ptx
