// Times the kernels of include/cnngen/kernels on MobileNetV2's depthwise shapes, ResNet's max pool, a global mean and a
// softmax, and compares each with a naive kernel:
//
//   nvcc -std=c++20 -O3 -arch=sm_90 -Iinclude bench/kernels.cu -o kernels && ./kernels
//
// -DSWEEP times every tile of the depthwise kernels beside the recommended one, to see whether window_tile chooses
// well. us: median over replays of a captured graph of 24 launches, which take turns on copies of the tensors that
// together exceed the L2 cache where the batch is large. GB/s: each input and output byte once. Half precision
// throughout.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "cnngen/cuda/kernels/depthwise.cuh"
#include "cnngen/cuda/kernels/functions.cuh"
#include "cnngen/cuda/kernels/pool.cuh"
#include "cnngen/cuda/kernels/reduce.cuh"
#include "cnngen/cuda/kernels/softmax.cuh"

namespace {

using namespace cnngen;

void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
    std::exit(1);
}

__host__ __device__ constexpr WindowShape same(int c, int size, int taps, int stride) {
    const int pad = taps / 2;
    const int out = (size + 2 * pad - taps) / stride + 1;
    return {.c = c,
            .h = size,
            .w = size,
            .oh = out,
            .ow = out,
            .r = taps,
            .s = taps,
            .stride_h = stride,
            .stride_w = stride,
            .pad_top = pad,
            .pad_left = pad,
            .pad_bottom = pad,
            .pad_right = pad};
}

// --- the kernels under test; a __global__ template may not have a parameter of class type, hence the integers
// ---------

struct BiasRelu6 {
    const float* bias;

    template <int V>
    __device__ __forceinline__ void operator()(float (&acc)[V], int, int c, int, int) const {
        float b[V];
        to_float(load_readonly<V>(bias + c), b);
#pragma unroll
        for (int v = 0; v < V; ++v) acc[v] = fn::relu6(acc[v] + b[v]);
    }
};

template <int C, int Size, int Taps, int Stride, int V, int TW, int TH, int Groups>
__global__ void __launch_bounds__(256)
    depthwise_kernel(int batch, const __half* __restrict__ x, const __half* __restrict__ weight,
                     const float* __restrict__ bias, __half* __restrict__ y) {
    constexpr WindowShape shape = same(C, Size, Taps, Stride);
    constexpr Tile tile = {.v = V, .tw = TW, .th = TH, .threads = 256, .groups = Groups};
    depthwise<__half, tile, shape>(batch, x, weight, y, BiasRelu6{bias});
}

template <int C, int Size, int V, int TW, int TH, int Groups>
__global__ void __launch_bounds__(256)
    max_pool_kernel(int batch, const __half* __restrict__ x, __half* __restrict__ y) {
    constexpr WindowShape shape = same(C, Size, 3, 2);
    constexpr Tile tile = {.v = V, .tw = TW, .th = TH, .threads = 256, .groups = Groups};
    max_pool<__half, tile, shape>(batch, x, y);
}

template <int C, int Size, int V, int Groups, int Pixels>
__global__ void __launch_bounds__(Groups* Pixels)
    mean_kernel(int batch, const __half* __restrict__ x, __half* __restrict__ y) {
    reduce<__half, ReduceTile{V, Groups, Pixels}, ReduceShape{C, Size * Size}, Reduction::mean>(batch, x, y);
}

template <int C, int V, int Lanes, int Threads>
__global__ void __launch_bounds__(Threads)
    softmax_kernel(int rows, const __half* __restrict__ x, __half* __restrict__ y) {
    softmax<__half, RowTile{V, Lanes, Threads}, RowShape{C}>(rows, x, y);
}

// --- the same, naively: one output a thread, in float
// -----------------------------------------------------------------

__global__ void naive_window(WindowShape s, bool is_max, std::int64_t count, const __half* x, const __half* weight,
                             const float* bias, __half* y) {
    const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= count) return;
    const int c = static_cast<int>(at % s.c), w = static_cast<int>(at / s.c % s.ow);
    const int h = static_cast<int>(at / s.c / s.ow % s.oh);
    const std::int64_t n = at / s.c / s.ow / s.oh;
    float sum = is_max ? -INFINITY : 0.0f;
    for (int i = 0; i < s.r; ++i) {
        for (int j = 0; j < s.s; ++j) {
            const int ih = h * s.stride_h - s.pad_top + i, iw = w * s.stride_w - s.pad_left + j;
            if (ih < 0 || ih >= s.h || iw < 0 || iw >= s.w) continue;
            const float value = __half2float(x[((n * s.h + ih) * s.w + iw) * s.c + c]);
            sum = is_max ? fmaxf(sum, value) : sum + value * __half2float(weight[(i * s.s + j) * s.c + c]);
        }
    }
    y[at] = __float2half(is_max ? sum : fminf(fmaxf(sum + bias[c], 0.0f), 6.0f));
}

__global__ void naive_mean(int c, int pixels, int count, const __half* x, __half* y) {
    const int at = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (at >= count) return;
    float sum = 0.0f;
    for (int i = 0; i < pixels; ++i)
        sum += __half2float(x[(static_cast<std::int64_t>(at / c) * pixels + i) * c + at % c]);
    y[at] = __float2half(sum / static_cast<float>(pixels));
}

__global__ void naive_softmax(int c, int rows, const __half* x, __half* y) {
    const int row = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (row >= rows) return;
    float sum = 0.0f;
    for (int i = 0; i < c; ++i) sum += expf(__half2float(x[row * c + i]));
    for (int i = 0; i < c; ++i) y[row * c + i] = __float2half(expf(__half2float(x[row * c + i])) / sum);
}

template <typename T>
__global__ void fill_kernel(T* to, std::int64_t count, unsigned seed) {
    const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= count) return;
    unsigned bits = static_cast<unsigned>(at) * 2654435761u + seed * 40503u;
    bits = (bits ^ (bits >> 15)) * 2246822519u;
    bits = (bits ^ (bits >> 13)) * 3266489917u;
    to[at] = from_float<T>(static_cast<float>(bits >> 8) * 0x1p-23f - 1.0f);
}

// --- measuring
// --------------------------------------------------------------------------------------------------------

unsigned grid(std::int64_t count) { return static_cast<unsigned>((count + 255) / 256); }

template <typename T>
T* device_memory(std::int64_t count, int seed) {
    T* memory = nullptr;
    check(cudaMalloc(reinterpret_cast<void**>(&memory), static_cast<std::size_t>(count) * sizeof(T)), "cudaMalloc");
    fill_kernel<<<grid(count), 256>>>(memory, count, static_cast<unsigned>(seed));
    check(cudaGetLastError(), "fill");
    return memory;
}

// Copies of an input and an output, and what a naive kernel makes of them.
struct Tensors {
    std::int64_t x_count, y_count;
    int copies;
    __half *x, *y, *want;

    Tensors(std::int64_t x_elements, std::int64_t y_elements) : x_count(x_elements), y_count(y_elements) {
        // A network leaves small tensors in the cache for the next layer; large ones it cannot.
        const std::int64_t bytes = 2 * (x_count + y_count);
        copies = bytes < (16 << 20) ? 1 : static_cast<int>(std::min<std::int64_t>(8, (400 << 20) / bytes + 1));
        x = device_memory<__half>(x_count * copies, 1);
        y = device_memory<__half>(y_count * copies, 2);
        want = device_memory<__half>(y_count, 3);
    }
    ~Tensors() {
        for (__half* memory : {x, y, want}) check(cudaFree(memory), "cudaFree");
    }
    Tensors(const Tensors&) = delete;
    Tensors& operator=(const Tensors&) = delete;
};

using Launch = std::function<void(const __half* x, __half* y, cudaStream_t stream)>;

// ||y - want|| / ||want|| of the first copy, on a poisoned output.
double error_of(const Tensors& t, const Launch& launch) {
    check(cudaMemset(t.y, 0xff, static_cast<std::size_t>(t.y_count) * 2), "cudaMemset");
    launch(t.x, t.y, nullptr);
    check(cudaGetLastError(), "launch");
    std::vector<__half> got(static_cast<std::size_t>(t.y_count)), want(got.size());
    check(cudaMemcpy(got.data(), t.y, got.size() * 2, cudaMemcpyDeviceToHost), "cudaMemcpy");
    check(cudaMemcpy(want.data(), t.want, want.size() * 2, cudaMemcpyDeviceToHost), "cudaMemcpy");
    double difference = 0.0, norm = 0.0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        const double w = __half2float(want[i]), d = __half2float(got[i]) - w;
        difference += d * d;
        norm += w * w;
    }
    return std::sqrt(difference / norm);
}

double microseconds(const Tensors& t, const Launch& launch) {
    constexpr int launches = 24, replays = 15;
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    cudaEvent_t begin, end;
    check(cudaStreamCreate(&stream), "cudaStreamCreate");
    check(cudaEventCreate(&begin), "cudaEventCreate");
    check(cudaEventCreate(&end), "cudaEventCreate");
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
    for (int i = 0; i < launches; ++i) {
        const int copy = i % t.copies;
        launch(t.x + copy * t.x_count, t.y + copy * t.y_count, stream);
    }
    check(cudaStreamEndCapture(stream, &graph), "capture");
    check(cudaGraphInstantiate(&replay, graph, 0), "cudaGraphInstantiate");
    std::vector<float> times;
    for (int i = -3; i < replays; ++i) {
        check(cudaEventRecord(begin, stream), "cudaEventRecord");
        check(cudaGraphLaunch(replay, stream), "cudaGraphLaunch");
        check(cudaEventRecord(end, stream), "cudaEventRecord");
        check(cudaEventSynchronize(end), "kernel");
        float ms = 0.0f;
        check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
        if (i >= 0) times.push_back(ms);
    }
    check(cudaGraphExecDestroy(replay), "cudaGraphExecDestroy");
    check(cudaGraphDestroy(graph), "cudaGraphDestroy");
    check(cudaEventDestroy(begin), "cudaEventDestroy");
    check(cudaEventDestroy(end), "cudaEventDestroy");
    check(cudaStreamDestroy(stream), "cudaStreamDestroy");
    std::sort(times.begin(), times.end());
    return 1000.0 * times[times.size() / 2] / launches;
}

bool all_right = true;

void report(const char* what, int batch, const char* tile, const Tensors& t, const Launch& launch) {
    const double error = error_of(t, launch);
    const bool right = error < 1e-3;  // NaN is wrong too
    const double us = microseconds(t, launch);
    all_right = all_right && right;
    std::printf("%-24s %5d  %-26s %9.2f us %8.0f GB/s  error %.1e%s\n", what, batch, tile, us,
                2e-3 * static_cast<double>(t.x_count + t.y_count) / us, error, right ? "" : "  WRONG");
}

void name_tile(char (&text)[64], const char* note, const Tile& t) {
    std::snprintf(text, sizeof(text), "v%d %dx%d g%d t%d%s", t.v, t.th, t.tw, t.groups, t.threads, note);
}

template <int C, int Size, int Taps, int Stride>
struct Depthwise {
    static constexpr WindowShape shape = same(C, Size, Taps, Stride);

    template <int V, int TW, int TH, int Groups>
    static void time(int batch, int threads, const Tensors& t, const __half* weight, const float* bias,
                     const char* note) {
        constexpr Tile tile = {.v = V, .tw = TW, .th = TH, .threads = 256, .groups = Groups};
        Tile launched = tile;
        launched.threads = threads;
        char name[64], label[64];
        std::snprintf(name, sizeof(name), "depthwise %dx%d %dx%d s%d", C, Size, Taps, Taps, Stride);
        name_tile(label, note, launched);
        report(name, batch, label, t, [&](const __half* x, __half* y, cudaStream_t stream) {
            depthwise_kernel<C, Size, Taps, Stride, V, TW, TH, Groups>
                <<<blocks(shape, launched, batch), static_cast<unsigned>(threads), 0, stream>>>(batch, x, weight, bias,
                                                                                                y);
        });
    }

    template <int Batch>
    static void run() {
        constexpr std::int64_t outputs = std::int64_t{Batch} * shape.oh * shape.ow * C;
        const Tensors t(std::int64_t{Batch} * Size * Size * C, outputs);
        __half* weight = device_memory<__half>(Taps * Taps * C, 4);
        float* bias = device_memory<float>(C, 5);
        naive_window<<<grid(outputs), 256>>>(shape, false, outputs, t.x, weight, bias, t.want);
        check(cudaGetLastError(), "naive");
        constexpr Tile best = window_tile<__half>(shape, Batch);
        time<best.v, best.tw, best.th, best.groups>(Batch, best.threads, t, weight, bias, " <-");
#ifdef SWEEP
        constexpr int groups = best.groups * best.v;  // the same channels at each v
        const auto sweep = [&]<int V, int TW, int TH>() {
            for (const int threads : {128, 256}) {
                time<V, TW, TH, 0>(Batch, threads, t, weight, bias, "");
                if constexpr (groups >= V) time<V, TW, TH, groups / V>(Batch, threads, t, weight, bias, "");
            }
        };
        sweep.template operator()<8, 4, 2>();
        sweep.template operator()<8, 4, 1>();
        sweep.template operator()<8, 2, 2>();
        sweep.template operator()<8, 2, 1>();
        sweep.template operator()<8, 1, 1>();
        sweep.template operator()<4, 4, 2>();
        sweep.template operator()<4, 2, 2>();
        sweep.template operator()<4, 2, 1>();
        sweep.template operator()<4, 1, 1>();
#endif
        check(cudaFree(weight), "cudaFree");
        check(cudaFree(bias), "cudaFree");
    }
};

template <int C, int Size, int Batch>
void time_max_pool() {
    constexpr WindowShape shape = same(C, Size, 3, 2);
    constexpr Tile tile = window_tile<__half>(shape, Batch);
    constexpr std::int64_t outputs = std::int64_t{Batch} * shape.oh * shape.ow * C;
    const Tensors t(std::int64_t{Batch} * Size * Size * C, outputs);
    naive_window<<<grid(outputs), 256>>>(shape, true, outputs, t.x, nullptr, nullptr, t.want);
    char label[64];
    name_tile(label, "", tile);
    report("max pool 64x112 3x3 s2", Batch, label, t, [&](const __half* x, __half* y, cudaStream_t stream) {
        max_pool_kernel<C, Size, tile.v, tile.tw, tile.th, tile.groups>
            <<<blocks(shape, tile, Batch), tile.threads, 0, stream>>>(Batch, x, y);
    });
}

template <int C, int Size, int Batch>
void time_mean() {
    constexpr ReduceShape shape = {C, Size * Size};
    constexpr ReduceTile tile = reduce_tile<__half>(shape, Batch);
    const Tensors t(std::int64_t{Batch} * Size * Size * C, std::int64_t{Batch} * C);
    naive_mean<<<grid(t.y_count), 256>>>(C, Size * Size, Batch * C, t.x, t.want);
    char name[64], label[64];
    std::snprintf(name, sizeof(name), "mean %dx%d", C, Size);
    std::snprintf(label, sizeof(label), "v%d g%d p%d", tile.v, tile.groups, tile.pixels);
    report(name, Batch, label, t, [&](const __half* x, __half* y, cudaStream_t stream) {
        mean_kernel<C, Size, tile.v, tile.groups, tile.pixels>
            <<<blocks(shape, tile, Batch), tile.threads(), 0, stream>>>(Batch, x, y);
    });
}

template <int C>
void time_softmax(int rows) {
    constexpr RowTile tile = row_tile<__half>({C});
    const Tensors t(std::int64_t{rows} * C, std::int64_t{rows} * C);
    naive_softmax<<<grid(rows), 256>>>(C, rows, t.x, t.want);
    char name[64], label[64];
    std::snprintf(name, sizeof(name), "softmax %d", C);
    std::snprintf(label, sizeof(label), "v%d l%d t%d", tile.v, tile.lanes, tile.threads);
    report(name, rows, label, t, [&](const __half* x, __half* y, cudaStream_t stream) {
        softmax_kernel<C, tile.v, tile.lanes, tile.threads>
            <<<blocks(RowShape{C}, tile, rows), tile.threads, 0, stream>>>(rows, x, y);
    });
}

template <int Batch>
void time_depthwise() {
    Depthwise<32, 112, 3, 1>::run<Batch>();
    Depthwise<96, 112, 3, 2>::run<Batch>();
    Depthwise<144, 56, 3, 1>::run<Batch>();
    Depthwise<192, 28, 3, 1>::run<Batch>();
    Depthwise<384, 14, 3, 1>::run<Batch>();
    Depthwise<576, 14, 3, 2>::run<Batch>();
    Depthwise<960, 7, 3, 1>::run<Batch>();
    Depthwise<240, 28, 5, 1>::run<Batch>();
    Depthwise<96, 56, 7, 1>::run<Batch>();
}

}  // namespace

int main() {
    cudaDeviceProp device;
    check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
    std::printf("%s, %d multiprocessors; kernel, batch (softmax: rows), tile\n", device.name,
                device.multiProcessorCount);
    time_depthwise<1>();
    time_depthwise<64>();
    time_max_pool<64, 112, 1>();
    time_max_pool<64, 112, 64>();
    time_mean<2048, 7, 1>();
    time_mean<2048, 7, 64>();
    time_mean<32, 112, 1>();
    time_mean<32, 112, 64>();
    time_softmax<1000>(1);
    time_softmax<1000>(64);
    time_softmax<1000>(65536);
    if (!all_right) std::fprintf(stderr, "a kernel differs from its naive form: see WRONG above\n");
    return all_right ? 0 : 1;
}
