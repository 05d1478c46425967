// CUDA as far as the runtime calls it, on the CPU: device memory is host memory that is known to be "device", kernels
// are host functions that were registered, captures are recorded. Streams run at once, or, made lazy, only as far as
// somebody waits for them: what is read or written too early is then seen. Of a graph the last node that may run runs
// first.
#include "fake_cuda.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>

namespace {
std::recursive_mutex everything;
thread_local int depth = 0;
struct Call {
    std::lock_guard<std::recursive_mutex> lock{everything};
    Call() { ++depth; }
    ~Call() { --depth; }
};

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
struct Edge {
    Node *from, *to;
    cudaGraphEdgeData data;
};
struct FakeStream;
struct FakeGraph {
    std::vector<Node*> nodes;
    std::vector<Edge> edges;
    std::set<std::shared_ptr<FakeStream>> streams = {};  // that are being captured
};
// What a launch asks of the one before it.
cudaGraphEdgeData edge_of(const cudaLaunchConfig_t& c) {
    cudaGraphEdgeData edge{};
    for (unsigned i = 0; i < c.numAttrs; ++i) {
        if (c.attrs[i].id == cudaLaunchAttributeProgrammaticStreamSerialization) {
            edge.type = cudaGraphDependencyTypeProgrammatic;
        }
    }
    return edge;
}
// That are being captured or were; a node does not tell of which it is.
std::set<FakeGraph*> graphs;
struct FakeExec {
    std::map<Node*, Node> nodes;
    std::vector<Node*> order;
};
using Operation = std::function<cudaError_t()>;
struct FakeStream {
    FakeGraph* capture = nullptr;
    std::vector<Node*> ends = {};  // of the capture: what the next node comes after
    std::deque<Operation> waiting = {};
    std::size_t enqueued = 0, run = 0;
    cudaError_t error = cudaSuccess;  // of what ran, until somebody waits
};
using StreamOwner = std::shared_ptr<FakeStream>;
const StreamOwner& stream_of(cudaStream_t s) {
    static const StreamOwner legacy = std::make_shared<FakeStream>();
    return s && s != cudaStreamLegacy ? *reinterpret_cast<StreamOwner*>(s) : legacy;
}
struct FakeEvent {
    StreamOwner stream = nullptr;
    std::size_t position = 0;  // what the stream has to have run
    FakeGraph* capture = nullptr;
    std::vector<Node*> ends = {};
};
FakeEvent& event_of(cudaEvent_t e) { return *reinterpret_cast<FakeEvent*>(e); }
struct Range {
    std::size_t bytes;
    cudaMemoryType type;
};
std::map<const char*, Range>& memory() {
    static std::map<const char*, Range> m;
    return m;
}

std::map<std::string, long> counts, failing;
std::size_t memory_limit = std::size_t{1} << 34, used = 0, pinned = 0;
int driver_version = CUDART_VERSION, device_count = 1;
bool has_image = true, lazy = false;

// Counts a call; whether it is the one that was told to fail.
bool fails(const char* function) {
    ++counts[function];
    auto it = failing.find(function);
    return it != failing.end() && --it->second == 0;
}

cudaError_t run_until(FakeStream& s, std::size_t position) {
    while (s.run < position) {
        const Operation operation = std::move(s.waiting.front());
        s.waiting.pop_front();
        ++s.run;
        const cudaError_t status = operation();
        if (s.error == cudaSuccess) s.error = status;
    }
    return s.error;
}
cudaError_t wait_until(FakeStream& s, std::size_t position) {
    run_until(s, position);
    return std::exchange(s.error, cudaSuccess);
}
void enqueue(FakeStream& s, Operation operation) {
    s.waiting.push_back(std::move(operation));
    ++s.enqueued;
    if (!lazy) run_until(s, s.enqueued);
}

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
cudaMemoryType type_of(const void* p) {
    auto it = memory().upper_bound((const char*)p);
    if (it == memory().begin()) return cudaMemoryTypeUnregistered;
    --it;
    return (const char*)p < it->first + it->second.bytes ? it->second.type : cudaMemoryTypeUnregistered;
}
cudaError_t allocate(void** p, std::size_t n, cudaMemoryType t) {
    if (fails(t == cudaMemoryTypeDevice ? "cudaMalloc" : "cudaHostAlloc")) return cudaErrorMemoryAllocation;
    if (t == cudaMemoryTypeDevice && used + n > memory_limit) return cudaErrorMemoryAllocation;
    *p = std::aligned_alloc(256, (n + 255) / 256 * 256);
    memory()[(char*)*p] = {n, t};
    (t == cudaMemoryTypeDevice ? used : pinned) += n;
    std::memset(*p, 0xff, n);
    return cudaSuccess;
}
cudaError_t release(void* p) {
    if (!p) return cudaSuccess;
    auto it = memory().find((char*)p);
    (it->second.type == cudaMemoryTypeDevice ? used : pinned) -= it->second.bytes;
    memory().erase(it);
    std::free(p);
    return cudaSuccess;
}
}  // namespace

// What each fake remembers is told by name: how often a function was called, how much memory is used.
void fake_register(const void* f, std::vector<std::size_t> sizes, void (*r)(void**)) { kernels()[f] = {sizes, r}; }
bool fake_is_running() { return depth > 0; }
void fake_counts(const char* what) { ++counts[what]; }

extern "C" {
long fake_count(const char* what) {
    Call call;
    return counts[what];
}
void fake_set(const char* what, long value) {
    Call call;
    std::string w = what;
    if (w == "driver") driver_version = value;
    if (w == "devices") device_count = value;
    if (w == "memory") memory_limit = value;
    if (w == "image") has_image = value;
    if (w == "lazy") lazy = value;
    if (w == "most graphs waiting") counts[w] = value;
}
// The nth call from now fails, 0: none; "kernels": the nth graph fails while it runs.
void fake_fail(const char* function, long nth) {
    Call call;
    failing[function] = nth;
}
long fake_used() {
    Call call;
    return used;
}
long fake_pinned() {
    Call call;
    return pinned;
}
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
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
    return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void*) {
    return has_image ? cudaSuccess : cudaErrorNoKernelImageForDevice;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
cudaError_t cudaMalloc(void** p, size_t n) {
    Call call;
    return allocate(p, n, cudaMemoryTypeDevice);
}
cudaError_t cudaFree(void* p) {
    Call call;
    return release(p);
}
cudaError_t cudaHostAlloc(void** p, size_t n, unsigned) {
    Call call;
    return allocate(p, n, cudaMemoryTypeHost);
}
cudaError_t cudaFreeHost(void* p) {
    Call call;
    return release(p);
}
cudaError_t cudaMemGetInfo(size_t* f, size_t* t) {
    *t = memory_limit;
    *f = memory_limit - used;
    return cudaSuccess;
}
cudaError_t cudaMemset(void* p, int v, size_t n) {
    std::memset(p, v, n);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* p, int v, size_t n, cudaStream_t s) {
    Call call;
    enqueue(*stream_of(s), [=] { return cudaMemset(p, v, n); });
    return cudaSuccess;
}
cudaError_t cudaMemset2DAsync(void* p, size_t pitch, int v, size_t w, size_t h, cudaStream_t s) {
    Call call;
    enqueue(*stream_of(s), [=] {
        for (size_t row = 0; row < h; ++row) std::memset((char*)p + row * pitch, v, w);
        return cudaSuccess;
    });
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void* d, const void* s, size_t n, cudaMemcpyKind) {
    std::memcpy(d, s, n);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* d, const void* s, size_t n, cudaMemcpyKind k, cudaStream_t on) {
    Call call;
    if (fails("cudaMemcpyAsync")) return cudaErrorInvalidValue;
    FakeStream& stream = *stream_of(on);
    enqueue(stream, [=] { return cudaMemcpy(d, s, n, k); });
    if (type_of(d) != cudaMemoryTypeUnregistered && type_of(s) != cudaMemoryTypeUnregistered) return cudaSuccess;
    ++counts["copies that wait"];  // as those of ordinary host memory do
    return run_until(stream, stream.enqueued);
}
cudaError_t cudaMemcpy2DAsync(void* d, size_t dp, const void* s, size_t sp, size_t w, size_t h, cudaMemcpyKind,
                              cudaStream_t on) {
    Call call;
    enqueue(*stream_of(on), [=] {
        for (size_t i = 0; i < h; ++i) std::memcpy((char*)d + i * dp, (const char*)s + i * sp, w);
        return cudaSuccess;
    });
    return cudaSuccess;
}
cudaError_t cudaMemcpy2D(void* d, size_t dp, const void* s, size_t sp, size_t w, size_t h, cudaMemcpyKind) {
    for (size_t i = 0; i < h; ++i) std::memcpy((char*)d + i * dp, (const char*)s + i * sp, w);
    return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* a, const void* p) {
    Call call;
    *a = {};
    a->type = type_of(p);
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
    *s = reinterpret_cast<cudaStream_t>(new StreamOwner(std::make_shared<FakeStream>()));
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    Call call;
    run_until(*stream_of(s), stream_of(s)->enqueued);
    delete &stream_of(s);
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    Call call;
    ++counts["cudaStreamSynchronize"];
    return wait_until(*stream_of(s), stream_of(s)->enqueued);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) {
    Call call;
    ++counts["cudaEventCreate"];
    *e = reinterpret_cast<cudaEvent_t>(new FakeEvent);
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
    delete &event_of(e);
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    Call call;
    if (fails("cudaEventRecord")) return cudaErrorInvalidValue;
    event_of(e) = {stream_of(s), stream_of(s)->enqueued, stream_of(s)->capture, stream_of(s)->ends};
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    Call call;
    ++counts["cudaEventSynchronize"];
    const FakeEvent& event = event_of(e);
    return event.stream ? wait_until(*event.stream, event.position) : cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) {
    *ms = 1;
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
    Call call;
    ++counts["cudaStreamWaitEvent"];
    const FakeEvent event = event_of(e);
    if (FakeStream& stream = *stream_of(s); event.capture) {
        stream.capture = event.capture;
        for (Node* n : event.ends) {
            if (std::ranges::count(stream.ends, n) == 0) stream.ends.push_back(n);
        }
        event.capture->streams.insert(stream_of(s));
        return cudaSuccess;
    }
    enqueue(*stream_of(s), [=] { return event.stream ? run_until(*event.stream, event.position) : cudaSuccess; });
    return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
    Call call;
    graphs.insert(stream_of(s)->capture = new FakeGraph);
    stream_of(s)->capture->streams.insert(stream_of(s));
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* g) {
    Call call;
    FakeGraph* const graph = stream_of(s)->capture;
    *g = reinterpret_cast<cudaGraph_t>(graph);
    const std::vector<Node*> ends = stream_of(s)->ends;
    bool joined = true;
    for (Node* n : graph->nodes) {
        const bool is_last = std::ranges::none_of(graph->edges, [&](const Edge& e) { return e.from == n; });
        joined = joined && (!is_last || std::ranges::count(ends, n));
    }
    for (const StreamOwner& stream : std::exchange(graph->streams, {})) {
        stream->capture = nullptr;
        stream->ends.clear();
    }
    return joined ? cudaSuccess : cudaErrorStreamCaptureUnjoined;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t s, cudaStreamCaptureStatus* st, unsigned long long*,
                                     cudaGraph_t* graph, const cudaGraphNode_t** d, const cudaGraphEdgeData**,
                                     size_t* n) {
    FakeGraph* g = stream_of(s)->capture;
    *st = g ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    if (!g) return cudaSuccess;
    *graph = reinterpret_cast<cudaGraph_t>(g);
    *n = stream_of(s)->ends.size();
    *d = reinterpret_cast<const cudaGraphNode_t*>(stream_of(s)->ends.data());
    return cudaSuccess;
}
cudaError_t cudaGraphNodeGetDependentNodes(cudaGraphNode_t node, cudaGraphNode_t* after, cudaGraphEdgeData* data,
                                           size_t* n) {
    Call call;
    std::size_t found = 0;
    for (const FakeGraph* g : graphs) {
        for (const Edge& e : g->edges) {
            if (e.from != reinterpret_cast<Node*>(node)) continue;
            if (after) after[found] = reinterpret_cast<cudaGraphNode_t>(e.to);
            if (after && !data && e.data.type) return cudaErrorLossyQuery;
            if (data) data[found] = e.data;
            ++found;
        }
    }
    *n = found;
    return cudaSuccess;
}
cudaError_t cudaGraphRemoveDependencies(cudaGraph_t graph, const cudaGraphNode_t* from, const cudaGraphNode_t* to,
                                        const cudaGraphEdgeData* data, size_t n) {
    auto& edges = reinterpret_cast<FakeGraph*>(graph)->edges;
    for (std::size_t i = 0; i < n; ++i) {
        const auto gone = std::erase_if(edges, [&](const Edge& e) {
            return e.from == reinterpret_cast<Node*>(from[i]) && e.to == reinterpret_cast<Node*>(to[i]) &&
                   e.data.type == (data ? data[i].type : 0);
        });
        if (gone != 1) return cudaErrorInvalidValue;
    }
    return cudaSuccess;
}
cudaError_t cudaGraphAddDependencies(cudaGraph_t graph, const cudaGraphNode_t* from, const cudaGraphNode_t* to,
                                     const cudaGraphEdgeData* data, size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        reinterpret_cast<FakeGraph*>(graph)->edges.push_back(
            {reinterpret_cast<Node*>(from[i]), reinterpret_cast<Node*>(to[i]), data ? data[i] : cudaGraphEdgeData{}});
    }
    return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void* f, void** args) {
    Call call;
    Node n = make(f, args);
    FakeStream& s = *stream_of(c->stream);
    if (s.capture) {
        Node* const node = new Node(n);
        for (Node* before : s.ends) s.capture->edges.push_back({before, node, edge_of(*c)});
        s.capture->nodes.push_back(node);
        s.ends = {node};
    } else {
        enqueue(s, [n] { return run(n), cudaSuccess; });
    }
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* e, cudaGraph_t g, unsigned long long) {
    auto* x = new FakeExec;
    const auto& graph = *reinterpret_cast<FakeGraph*>(g);
    for (Node* n : graph.nodes) x->nodes[n] = *n;
    std::vector<Node*> left = graph.nodes;
    while (!left.empty()) {
        const auto may_run = [&](Node* n) {
            return std::ranges::none_of(graph.edges,
                                        [&](const Edge& e) { return e.to == n && std::ranges::count(left, e.from); });
        };
        const auto last = std::find_if(left.rbegin(), left.rend(), may_run);
        x->order.push_back(*last);
        left.erase(std::next(last).base());
    }
    *e = reinterpret_cast<cudaGraphExec_t>(x);
    return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) {
    Call call;
    if (fails("cudaGraphLaunch")) return cudaErrorInvalidValue;
    auto* x = reinterpret_cast<FakeExec*>(e);
    std::vector<Node> nodes;
    for (Node* n : x->order) nodes.push_back(x->nodes[n]);
    counts["most graphs waiting"] = std::max(counts["most graphs waiting"], ++counts["graphs waiting"]);
    enqueue(*stream_of(s), [nodes = std::move(nodes)] {
        --counts["graphs waiting"];
        if (fails("kernels")) return cudaErrorLaunchFailure;
        for (const Node& n : nodes) run(n);
        return cudaSuccess;
    });
    return cudaSuccess;
}
cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t e, cudaGraphNode_t n, const cudaKernelNodeParams* p) {
    Call call;
    ++counts["retarget"];
    reinterpret_cast<FakeExec*>(e)->nodes.at(reinterpret_cast<Node*>(n)) = make(p->func, p->kernelParams);
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) {
    auto* x = reinterpret_cast<FakeGraph*>(g);
    Call call;
    graphs.erase(x);
    for (Node* n : x->nodes) delete n;
    delete x;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) {
    delete reinterpret_cast<FakeExec*>(e);
    return cudaSuccess;
}
}
