// cuDNN and cuBLASLt as far as the runtime names them: they start, and plan nothing but what is named. cuDNN takes any
// plan from its text, "damaged" excepted, and cuBLASLt has every algorithm.
#include "fake_libraries.hpp"

#include <cublasLt.h>
#include <cudnn.h>

#include <mutex>

#include "fake_cuda.hpp"

namespace {
struct Descriptor {
    cudnnBackendDescriptorType_t type;
    std::string text;    // of a plan
    const void* handle;  // likewise: of whom it was made
};

std::mutex guard;
std::vector<FakeRun> runs;

void ran(const std::string& what, const void* handle) {
    const std::lock_guard lock(guard);
    runs.push_back({what, handle, std::this_thread::get_id()});
}

Descriptor* of(cudnnBackendDescriptor_t d) { return reinterpret_cast<Descriptor*>(d); }
}  // namespace

std::vector<FakeRun> fake_runs() {
    const std::lock_guard lock(guard);
    return std::exchange(runs, {});
}

extern "C" {
cudnnStatus_t cudnnCreate(cudnnHandle_t* h) {
    fake_counts("cudnnCreate");
    *h = reinterpret_cast<cudnnHandle_t>(new int);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t h) {
    delete reinterpret_cast<int*>(h);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t) { return CUDNN_STATUS_SUCCESS; }
size_t cudnnGetVersion() {
    fake_counts("cudnnGetVersion");
    return CUDNN_VERSION;
}
void cudnnGetLastErrorString(char* m, size_t) { *m = 0; }
const char* cudnnGetErrorString(cudnnStatus_t) { return "fake"; }
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* d) {
    *d = reinterpret_cast<cudnnBackendDescriptor_t>(new Descriptor{type, "", nullptr});
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) {
    delete of(d);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d) {
    const bool plans = of(d)->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR ||
                       of(d)->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR || of(d)->text == "damaged";
    return plans ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t, int64_t count, const void* value) {
    if (name == CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION) {
        of(d)->text.assign(static_cast<const char*>(value), static_cast<std::size_t>(count));
    }
    if (name == CUDNN_ATTR_EXECUTION_PLAN_HANDLE) of(d)->handle = *static_cast<void* const*>(value);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t, int64_t, int64_t* count, void* value) {
    if (name != CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE) return CUDNN_STATUS_NOT_SUPPORTED;
    if (count) *count = 1;
    *static_cast<int64_t*>(value) = 0;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t) {
    ran(of(plan)->text, handle);
    return of(plan)->handle == handle ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t* h) {
    fake_counts("cublasLtCreate");
    *h = reinterpret_cast<cublasLtHandle_t>(new int);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) {
    delete reinterpret_cast<int*>(h);
    return CUBLAS_STATUS_SUCCESS;
}
size_t cublasLtGetVersion() { return CUBLAS_VERSION; }
const char* cublasLtGetStatusString(cublasStatus_t) { return "fake"; }
#define IS(status, name, ...) \
    cublasStatus_t name(__VA_ARGS__) { return CUBLAS_STATUS_##status; }
#define MADE(name, type, ...)                      \
    cublasStatus_t name(type* made, __VA_ARGS__) { \
        *made = reinterpret_cast<type>(new int);   \
        return CUBLAS_STATUS_SUCCESS;              \
    }
#define DELETED(name, type)                  \
    cublasStatus_t name(type made) {         \
        delete reinterpret_cast<int*>(made); \
        return CUBLAS_STATUS_SUCCESS;        \
    }
MADE(cublasLtMatmulDescCreate, cublasLtMatmulDesc_t, cublasComputeType_t, cudaDataType_t)
DELETED(cublasLtMatmulDescDestroy, cublasLtMatmulDesc_t)
IS(SUCCESS, cublasLtMatmulDescSetAttribute, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, const void*, size_t)
MADE(cublasLtMatrixLayoutCreate, cublasLtMatrixLayout_t, cudaDataType, uint64_t, uint64_t, int64_t)
DELETED(cublasLtMatrixLayoutDestroy, cublasLtMatrixLayout_t)
IS(SUCCESS, cublasLtMatrixLayoutSetAttribute, cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t, const void*,
   size_t)
IS(NOT_SUPPORTED, cublasLtMatmulPreferenceCreate, cublasLtMatmulPreference_t*)
DELETED(cublasLtMatmulPreferenceDestroy, cublasLtMatmulPreference_t)
IS(NOT_SUPPORTED, cublasLtMatmulPreferenceSetAttribute, cublasLtMatmulPreference_t,
   cublasLtMatmulPreferenceAttributes_t, const void*, size_t)
IS(NOT_SUPPORTED, cublasLtMatmulAlgoGetHeuristic, cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
   cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int,
   cublasLtMatmulHeuristicResult_t*, int*)
IS(SUCCESS, cublasLtMatmulAlgoInit, cublasLtHandle_t, cublasComputeType_t, cudaDataType_t, cudaDataType_t,
   cudaDataType_t, cudaDataType_t, cudaDataType_t, int, cublasLtMatmulAlgo_t*)
IS(SUCCESS, cublasLtMatmulAlgoConfigSetAttribute, cublasLtMatmulAlgo_t*, cublasLtMatmulAlgoConfigAttributes_t,
   const void*, size_t)
IS(SUCCESS, cublasLtMatmulAlgoCheck, cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
   cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t*,
   cublasLtMatmulHeuristicResult_t*)
IS(NOT_SUPPORTED, cublasLtMatmulAlgoConfigGetAttribute, const cublasLtMatmulAlgo_t*,
   cublasLtMatmulAlgoConfigAttributes_t, void*, size_t, size_t*)
cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t, const void*, const void*,
                              cublasLtMatrixLayout_t, const void*, cublasLtMatrixLayout_t, const void*, const void*,
                              cublasLtMatrixLayout_t, void*, cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t*, void*,
                              size_t, cudaStream_t) {
    ran("cublaslt", handle);
    return CUBLAS_STATUS_SUCCESS;
}
}
