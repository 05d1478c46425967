// CUDA, cuDNN and cuBLASLt as far as the runtime calls them, on the CPU: device memory is host memory that is known to
// be "device", kernels are host functions that were registered, streams run at once, captures are recorded.
#include "fake_cuda.hpp"

#include <cublasLt.h>
#include <cudnn.h>

#include <cstdlib>
#include <cstring>
#include <map>

namespace {
struct Kernel {
    std::vector<std::size_t> sizes;
    void (*run)(void**);
};
std::map<const void*, Kernel>& kernels() {
    static std::map<const void*, Kernel> m;
    return m;
}
struct Node {
    const void* function;
    std::vector<std::vector<char>> arguments;
};
struct FakeGraph {
    std::vector<Node*> nodes;
};
struct FakeExec {
    std::map<Node*, Node> nodes;
    std::vector<Node*> order;
};
struct FakeStream {
    FakeGraph* capture = nullptr;
};
FakeStream& stream_of(cudaStream_t s) {
    static FakeStream legacy;
    return s && s != cudaStreamLegacy ? *reinterpret_cast<FakeStream*>(s) : legacy;
}
struct Range {
    std::size_t bytes;
    cudaMemoryType type;
};
std::map<const char*, Range>& memory() {
    static std::map<const char*, Range> m;
    return m;
}
std::map<std::string, long> counts;
std::size_t memory_limit = std::size_t{1} << 34, used = 0;
int driver_version = CUDART_VERSION, device_count = 1;
bool has_image = true;
void run(const Node& n) {
    std::vector<void*> p;
    for (auto& a : n.arguments) p.push_back(const_cast<char*>(a.data()));
    kernels().at(n.function).run(p.data());
}
Node make(const void* f, void** args) {
    Node n{f, {}};
    const auto& k = kernels().at(f);
    for (std::size_t i = 0; i < k.sizes.size(); ++i)
        n.arguments.emplace_back((char*)args[i], (char*)args[i] + k.sizes[i]);
    return n;
}
cudaError_t allocate(void** p, std::size_t n, cudaMemoryType t) {
    ++counts[t == cudaMemoryTypeDevice ? "cudaMalloc" : "cudaHostAlloc"];
    if (t == cudaMemoryTypeDevice && used + n > memory_limit) return cudaErrorMemoryAllocation;
    *p = std::aligned_alloc(256, (n + 255) / 256 * 256);
    memory()[(char*)*p] = {n, t};
    if (t == cudaMemoryTypeDevice) {
        used += n;
        std::memset(*p, 0xff, n);
    }
    return cudaSuccess;
}
cudaError_t release(void* p) {
    if (!p) return cudaSuccess;
    auto it = memory().find((char*)p);
    if (it->second.type == cudaMemoryTypeDevice) used -= it->second.bytes;
    memory().erase(it);
    std::free(p);
    return cudaSuccess;
}
}  // namespace

// What each fake remembers is told by name: how often a function was called, how much memory is used.
void fake_register(const void* f, std::vector<std::size_t> sizes, void (*r)(void**)) { kernels()[f] = {sizes, r}; }

extern "C" {
long fake_count(const char* what) { return counts[what]; }
void fake_set(const char* what, long value) {
    std::string w = what;
    if (w == "driver") driver_version = value;
    if (w == "devices") device_count = value;
    if (w == "memory") memory_limit = value;
    if (w == "image") has_image = value;
}
long fake_used() { return used; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t) { return "an error"; }
const char* cudaGetErrorName(cudaError_t) { return "cudaErrorFake"; }
cudaError_t cudaDriverGetVersion(int* v) {
    *v = driver_version;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* v) {
    *v = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* n) {
    *n = device_count;
    return device_count ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaGetDevice(int* d) {
    *d = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
    std::strcpy(p->name, "Fake GPU");
    p->major = 9;
    p->minor = 0;
    return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void*) {
    return has_image ? cudaSuccess : cudaErrorNoKernelImageForDevice;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
cudaError_t cudaMalloc(void** p, size_t n) { return allocate(p, n, cudaMemoryTypeDevice); }
cudaError_t cudaFree(void* p) { return release(p); }
cudaError_t cudaHostAlloc(void** p, size_t n, unsigned) { return allocate(p, n, cudaMemoryTypeHost); }
cudaError_t cudaFreeHost(void* p) { return release(p); }
cudaError_t cudaMemGetInfo(size_t* f, size_t* t) {
    *t = memory_limit;
    *f = memory_limit - used;
    return cudaSuccess;
}
cudaError_t cudaMemset(void* p, int v, size_t n) {
    std::memset(p, v, n);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* p, int v, size_t n, cudaStream_t) {
    std::memset(p, v, n);
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void* d, const void* s, size_t n, cudaMemcpyKind) {
    std::memcpy(d, s, n);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* d, const void* s, size_t n, cudaMemcpyKind, cudaStream_t) {
    ++counts["cudaMemcpyAsync"];
    std::memcpy(d, s, n);
    return cudaSuccess;
}
cudaError_t cudaMemcpy2D(void* d, size_t dp, const void* s, size_t sp, size_t w, size_t h, cudaMemcpyKind) {
    for (size_t i = 0; i < h; ++i) std::memcpy((char*)d + i * dp, (const char*)s + i * sp, w);
    return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* a, const void* p) {
    *a = {};
    auto it = memory().upper_bound((const char*)p);
    if (it != memory().begin() && (--it, (const char*)p < it->first + it->second.bytes))
        a->type = it->second.type;
    else
        a->type = cudaMemoryTypeUnregistered;
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
    *s = reinterpret_cast<cudaStream_t>(new FakeStream);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    delete &stream_of(s);
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
    ++counts["cudaStreamSynchronize"];
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) {
    *e = reinterpret_cast<cudaEvent_t>(new int);
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
    delete reinterpret_cast<int*>(e);
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) {
    ++counts["cudaEventRecord"];
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
    ++counts["cudaEventSynchronize"];
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) {
    *ms = 1;
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) {
    ++counts["cudaStreamWaitEvent"];
    return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
    stream_of(s).capture = new FakeGraph;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* g) {
    *g = reinterpret_cast<cudaGraph_t>(std::exchange(stream_of(s).capture, nullptr));
    return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t s, cudaStreamCaptureStatus* st, unsigned long long*, cudaGraph_t*,
                                     const cudaGraphNode_t** d, const cudaGraphEdgeData**, size_t* n) {
    FakeGraph* g = stream_of(s).capture;
    *st = g ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    if (g) {
        *d = reinterpret_cast<const cudaGraphNode_t*>(&g->nodes.back());
        *n = 1;
    }
    return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void* f, void** args) {
    Node n = make(f, args);
    if (FakeGraph* g = stream_of(c->stream).capture)
        g->nodes.push_back(new Node(n));
    else
        run(n);
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* e, cudaGraph_t g, unsigned long long) {
    auto* x = new FakeExec;
    for (Node* n : reinterpret_cast<FakeGraph*>(g)->nodes) {
        x->nodes[n] = *n;
        x->order.push_back(n);
    }
    *e = reinterpret_cast<cudaGraphExec_t>(x);
    return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t) {
    ++counts["cudaGraphLaunch"];
    auto* x = reinterpret_cast<FakeExec*>(e);
    for (Node* n : x->order) run(x->nodes[n]);
    return cudaSuccess;
}
cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t e, cudaGraphNode_t n, const cudaKernelNodeParams* p) {
    ++counts["retarget"];
    reinterpret_cast<FakeExec*>(e)->nodes.at(reinterpret_cast<Node*>(n)) = make(p->func, p->kernelParams);
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) {
    auto* x = reinterpret_cast<FakeGraph*>(g);
    for (Node* n : x->nodes) delete n;
    delete x;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) {
    delete reinterpret_cast<FakeExec*>(e);
    return cudaSuccess;
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* h) {
    *h = reinterpret_cast<cudnnHandle_t>(new int);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t h) {
    delete reinterpret_cast<int*>(h);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t) { return CUDNN_STATUS_SUCCESS; }
size_t cudnnGetVersion() { return CUDNN_VERSION; }
void cudnnGetLastErrorString(char* m, size_t) { *m = 0; }
const char* cudnnGetErrorString(cudnnStatus_t) { return "fake"; }
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t, cudnnBackendDescriptor_t*) {
    return CUDNN_STATUS_NOT_SUPPORTED;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t) { return CUDNN_STATUS_NOT_SUPPORTED; }
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t, cudnnBackendAttributeName_t,
                                       cudnnBackendAttributeType_t, int64_t, const void*) {
    return CUDNN_STATUS_NOT_SUPPORTED;
}
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const, cudnnBackendAttributeName_t,
                                       cudnnBackendAttributeType_t, int64_t, int64_t*, void*) {
    return CUDNN_STATUS_NOT_SUPPORTED;
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t) {
    return CUDNN_STATUS_NOT_SUPPORTED;
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t* h) {
    *h = reinterpret_cast<cublasLtHandle_t>(new int);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) {
    delete reinterpret_cast<int*>(h);
    return CUBLAS_STATUS_SUCCESS;
}
size_t cublasLtGetVersion() { return CUBLAS_VERSION; }
const char* cublasLtGetStatusString(cublasStatus_t) { return "fake"; }
#define NOT(name, ...) \
    cublasStatus_t name(__VA_ARGS__) { return CUBLAS_STATUS_NOT_SUPPORTED; }
NOT(cublasLtMatmul, cublasLtHandle_t, cublasLtMatmulDesc_t, const void*, const void*, cublasLtMatrixLayout_t,
    const void*, cublasLtMatrixLayout_t, const void*, const void*, cublasLtMatrixLayout_t, void*,
    cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t*, void*, size_t, cudaStream_t)
NOT(cublasLtMatmulDescCreate, cublasLtMatmulDesc_t*, cublasComputeType_t, cudaDataType_t)
NOT(cublasLtMatmulDescDestroy, cublasLtMatmulDesc_t)
NOT(cublasLtMatmulDescSetAttribute, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, const void*, size_t)
NOT(cublasLtMatrixLayoutCreate, cublasLtMatrixLayout_t*, cudaDataType, uint64_t, uint64_t, int64_t)
NOT(cublasLtMatrixLayoutDestroy, cublasLtMatrixLayout_t)
NOT(cublasLtMatrixLayoutSetAttribute, cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t, const void*, size_t)
NOT(cublasLtMatmulPreferenceCreate, cublasLtMatmulPreference_t*)
NOT(cublasLtMatmulPreferenceDestroy, cublasLtMatmulPreference_t)
NOT(cublasLtMatmulPreferenceSetAttribute, cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, const void*,
    size_t)
NOT(cublasLtMatmulAlgoGetHeuristic, cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
    cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int,
    cublasLtMatmulHeuristicResult_t*, int*)
NOT(cublasLtMatmulAlgoInit, cublasLtHandle_t, cublasComputeType_t, cudaDataType_t, cudaDataType_t, cudaDataType_t,
    cudaDataType_t, cudaDataType_t, int, cublasLtMatmulAlgo_t*)
NOT(cublasLtMatmulAlgoConfigSetAttribute, cublasLtMatmulAlgo_t*, cublasLtMatmulAlgoConfigAttributes_t, const void*,
    size_t)
NOT(cublasLtMatmulAlgoCheck, cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
    cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t*, cublasLtMatmulHeuristicResult_t*)
NOT(cublasLtMatmulAlgoConfigGetAttribute, const cublasLtMatmulAlgo_t*, cublasLtMatmulAlgoConfigAttributes_t, void*,
    size_t, size_t*)
}
