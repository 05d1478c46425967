// What the experiments share: one line of JSON a result, memory with numbers in it, medians of times.
#pragma once

#include <cuda_fp16.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

#include "cnngen/cuda/memory.hpp"
#include "cnngen/tensor.hpp"

namespace talk {

using namespace cnngen;

// {"name": "value", "us": 12.5}, written at once, so that a crash loses nothing before it.
class Line {
   public:
    Line& add(std::string_view name, std::string_view value) { return put(name, text("\"", escaped(value), "\"")); }
    Line& add(std::string_view name, const char* value) { return add(name, std::string_view(value)); }
    template <class Number>
        requires std::is_arithmetic_v<Number>
    Line& add(std::string_view name, Number value) {
        return put(name, text(value));
    }
    Line& add(std::string_view name, const std::vector<std::string>& values) {
        std::string list;
        for (const std::string& value : values) list += text(list.empty() ? "\"" : ", \"", escaped(value), "\"");
        return put(name, text("[", list, "]"));
    }
    void print() const {
        std::printf("{%s}\n", fields_.c_str());
        std::fflush(stdout);
    }

   private:
    Line& put(std::string_view name, const std::string& value) {
        fields_ += text(fields_.empty() ? "" : ", ", "\"", name, "\": ", value);
        return *this;
    }
    static std::string escaped(std::string_view value) {
        std::string out;
        for (char c : value) {
            if (c == '"' || c == '\\') out += '\\';
            out += c == '\n' || c == '\t' ? ' ' : c;
        }
        return out;
    }

    std::string fields_;
};

// Random numbers up to `largest`, never zeros only: those cost a GPU less power, and so less time.
inline DeviceBuffer numbers(const Tensor& t, float largest = 1) {
    std::minstd_rand random(1);
    std::uniform_real_distribution<float> draw(-largest, largest);
    std::vector<std::byte> host(t.bytes());
    for (std::int64_t i = 0; i < t.elements(); ++i) {
        if (t.dtype == DType::float32) {
            reinterpret_cast<float*>(host.data())[i] = draw(random);
        } else {
            reinterpret_cast<__half*>(host.data())[i] = __float2half(draw(random));
        }
    }
    DeviceBuffer out = allocate_device(host.size(), "a tensor");
    check(cudaMemcpy(out.get(), host.data(), host.size(), cudaMemcpyHostToDevice), "copying a tensor");
    return out;
}

inline double median(std::vector<double> values) {
    std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
    return values[values.size() / 2];
}

// Microseconds on the GPU of what `work` puts on the stream.
template <class Work>
double elapsed(cudaStream_t stream, Work&& work) {
    const Event start = make_event(cudaEventDefault), end = make_event(cudaEventDefault);
    check(cudaEventRecord(start.get(), stream), "timing");
    work();
    check(cudaEventRecord(end.get(), stream), "timing");
    check(cudaEventSynchronize(end.get()), "running what is timed");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, start.get(), end.get()), "timing");
    return ms * 1e3;
}

// Microseconds of one launch: the median over replays of a CUDA graph of many, or where `launch` cannot be captured,
// over as many launches one after the other.
template <class Launch>
double time_launch(cudaStream_t stream, Launch&& launch) {
    launch();
    check(cudaStreamSynchronize(stream), "running what is timed");
    const int count = static_cast<int>(std::clamp(2000 / std::max(elapsed(stream, launch), 1.0), 1.0, 50.0));
    const auto many = [&] {
        for (int i = 0; i < count; ++i) launch();
    };
    GraphExec graph;
    try {
        graph = instantiate(capture(stream, many));
    } catch (const Error&) {
    }
    const auto round = [&] {
        if (graph) {
            check(cudaGraphLaunch(graph.get(), stream), "launching a graph");
        } else {
            many();
        }
    };
    round();
    std::vector<double> times;
    for (int i = 0; i < 9; ++i) times.push_back(elapsed(stream, round) / count);
    return median(times);
}

// The same by the host's clock, for work on several streams.
template <class Work>
double time_all_streams(Work&& work) {
    std::vector<double> times;
    for (int i = 0; i < 6; ++i) {
        check(cudaDeviceSynchronize(), "waiting for the GPU");
        const auto start = std::chrono::steady_clock::now();
        work();
        check(cudaDeviceSynchronize(), "waiting for the GPU");
        const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
        if (i) times.push_back(took.count());
    }
    return median(times);
}

}  // namespace talk
