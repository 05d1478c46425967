// The pipeline from C++: each line says whether what it names is as it should be.
#include "cnngen/cuda/pipeline.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <numeric>
#include <random>
#include <thread>

#include "fake_cuda.hpp"

namespace fakenet {
const cnngen::Model& model();
}
extern "C" void fake_set(const char* what, long value);

static std::atomic<long> allocations{0};
void* operator new(std::size_t bytes) {
    if (!fake_is_running()) ++allocations;
    if (void* p = std::malloc(bytes)) return p;
    throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

using namespace cnngen;

constexpr float poison = -12345;

// Inputs of n items and outputs that nobody has written.
struct Batch {
    explicit Batch(std::int64_t n, float seed) : n(n), a(3 * n), b(8 * n), scaled(3 * n, poison), plus(8 * n, poison) {
        std::iota(a.begin(), a.end(), seed);
        std::iota(b.begin(), b.end(), -seed);
    }

    std::uint64_t submit(Pipeline& pipeline) {
        const void* const inputs[] = {a.data(), b.data()};
        void* const outputs[] = {scaled.data(), plus.data()};
        return pipeline.submit(inputs, outputs, n);
    }
    // Item by item.
    std::uint64_t submit_parts(Pipeline& pipeline) {
        std::vector<const void*> addresses;
        std::vector<Part> parts;
        for (std::int64_t i = 0; i < n; ++i) {
            addresses.push_back(a.data() + 3 * i);
            addresses.push_back(b.data() + 8 * i);
        }
        for (std::int64_t i = 0; i < n; ++i) parts.push_back({std::span(addresses).subspan(2 * i, 2), 1});
        void* const outputs[] = {scaled.data(), plus.data()};
        return pipeline.submit(parts, outputs);
    }

    bool is_untouched() const { return scaled[0] == poison && plus.back() == poison; }
    bool is_right() const {
        constexpr float scale[] = {2, 3, 4};
        bool right = true;
        for (std::size_t i = 0; i < a.size(); ++i) right &= scaled[i] == a[i] * scale[i % 3];
        for (std::size_t i = 0; i < b.size(); ++i) right &= plus[i] == b[i] + 1;
        return right;
    }

    std::int64_t n;
    std::vector<float> a, b, scaled, plus;
};

static std::vector<Batch> batches(int count) {
    std::vector<Batch> out;
    for (int i = 0; i < count; ++i) out.emplace_back(1 + i % 4, static_cast<float>(100 * i));
    return out;
}

// Each result is there when it is taken, and not before the pass has run.
static bool in_order(const Network& network, bool apart) {
    Pipeline pipeline(network);
    std::vector<Batch> all = batches(20);
    bool right = true;
    std::uint64_t taken = 0;
    for (std::uint64_t i = 0; i < all.size(); ++i) {
        right &= (apart ? all[i].submit_parts(pipeline) : all[i].submit(pipeline)) == i;
        right &= all[i].is_untouched();
        if (i < 2) continue;
        right &= pipeline.next() == taken && all[taken].is_right();
        ++taken;
    }
    while (pipeline.pending()) {
        right &= pipeline.next() == taken && all[taken].is_right();
        ++taken;
    }
    return right && taken == all.size();
}

static bool two_threads(const Network& network) {
    Pipeline pipeline(network, 2);
    std::vector<Batch> all = batches(500);
    bool right = true;
    std::jthread submits([&] {
        for (Batch& batch : all) batch.submit(pipeline);
    });
    for (std::uint64_t i = 0; i < all.size(); ++i) {
        while (!pipeline.pending()) std::this_thread::yield();
        right &= pipeline.next() == i && all[i].is_right();
    }
    return right;
}

static long host_allocations(const Network& network) {
    Pipeline pipeline(network);
    std::vector<Batch> all = batches(40);
    const auto pass = [&](Batch& batch) {
        batch.submit(pipeline);
        if (pipeline.pending() == pipeline.contexts()) pipeline.next();
    };
    const long before = allocations;
    for (Batch& batch : all) pass(batch);
    return allocations - before;
}

// Pieces of every size to places of their own, by several threads, job after job. Sources are written over as soon as
// copy() has returned: who still copies would bring that.
static bool copiers() {
    std::minstd_rand random(1);
    bool right = true;
    for (const std::size_t threads : {1, 2, 5}) {
        Copiers copiers(threads);
        for (int job = 0; job < 20; ++job) {
            std::vector<std::vector<unsigned char>> from, to;
            std::vector<Copy> copies;
            for (int i = 0; i < 7; ++i) {
                const std::size_t bytes = random() % (i % 2 ? 16 * Copiers::share_bytes : 1000);
                from.emplace_back(bytes);
                for (std::size_t k = 0; k < bytes; ++k) from[i][k] = static_cast<unsigned char>(k + k / 251 + job);
                to.emplace_back(bytes);
            }
            const auto wanted = from;
            for (int i = 0; i < 7; ++i) copies.push_back({to[i].data(), from[i].data(), from[i].size()});
            copiers.copy(copies);
            for (auto bytes = from.rbegin(); bytes != from.rend(); ++bytes) {
                std::fill(bytes->rbegin(), bytes->rend(), 0xee);  // the end is what is copied last
            }
            right &= to == wanted;
        }
    }
    return right;
}

int main(int, char** arguments) {
    const Network network(fakenet::model(), {.weights = arguments[1], .plan_cache = ""});
    fake_set("lazy", 1);
    std::printf("in order: %d\n", in_order(network, false));
    std::printf("in parts: %d\n", in_order(network, true));
    std::printf("two threads: %d\n", two_threads(network));
    std::printf("host allocations: %ld\n", host_allocations(network));
    std::printf("copiers: %d\n", copiers());
}
