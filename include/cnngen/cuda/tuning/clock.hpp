// How long work on a stream takes, with the cache as a network leaves it.
#pragma once

#include <algorithm>
#include <vector>

#include "cnngen/cuda/memory.hpp"

namespace cnngen::inline cuda {

struct Measurement {
    double microseconds;  // of one launch, or pass: the median
    double spread;        // between the quartiles
};

class Clock {
   public:
    Clock(cudaStream_t stream, const cudaDeviceProp& gpu)
        : stream_(stream),
          bytes_(2 * static_cast<std::size_t>(gpu.l2CacheSize)),
          eviction_(allocate_device(bytes_, "what evicts the cache")) {}

    // Of one of so many calls of `work`, which one graph holds. warm: the graph has run just before; else nothing that
    // it reads is in the cache. It is replayed less often where a call takes more than `no_more`.
    template <class Work>
    Measurement graph(int calls, int replays, bool warm, double no_more, Work&& work) {
        const Graph graph = capture(stream_, [&] {
            for (int i = 0; i < calls; ++i) work(i);
        });
        const GraphExec exec = instantiate(graph);
        check(cudaGraphUpload(exec.get(), stream_), "uploading a graph");
        const auto replay = [&] { check(cudaGraphLaunch(exec.get(), stream_), "launching a step"); };
        Measurement found = median(replays + 1, no_more * calls, replay, [&] {
            // Long enough that what follows waits for it and not for the host.
            check(cudaMemsetAsync(eviction_.get(), 0, bytes_, stream_), "evicting the cache");
            if (warm) replay();
        });
        found.microseconds /= calls;
        found.spread /= calls;
        return found;
    }

    // Of `work`, after `before`, which does not count; of several the first does not either, and the second is the last
    // where it takes more than `no_more`.
    template <class Work, class Before>
    Measurement median(int replays, double no_more, Work&& work, Before&& before) {
        std::vector<double> times;
        for (int i = 0; i < replays; ++i) {
            before();
            check(cudaEventRecord(begin_.get(), stream_), "starting the clock");
            work();
            check(cudaEventRecord(end_.get(), stream_), "stopping the clock");
            check(cudaEventSynchronize(end_.get()), "timing");
            float milliseconds = 0;
            check(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()), "reading the clock");
            if (i || replays == 1) times.push_back(milliseconds * 1e3);
            if (i == 1 && times.back() > no_more) break;
        }
        std::ranges::sort(times);
        return {times[times.size() / 2], times[times.size() * 3 / 4] - times[times.size() / 4]};
    }

   private:
    cudaStream_t stream_;
    std::size_t bytes_;
    DeviceBuffer eviction_;
    Event begin_ = make_event(cudaEventDefault);
    Event end_ = make_event(cudaEventDefault);
};

}  // namespace cnngen::inline cuda
