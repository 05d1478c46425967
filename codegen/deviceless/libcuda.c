/* A libcuda.so.1 that does nothing: enough for cuDNN to build execution plans where there is no driver and no GPU.
 *
 *   cc -shared -fPIC -fno-builtin -Wl,-soname,libcuda.so.1 libcuda.c -o libcuda.so.1
 *
 * Loading modules and kernels succeeds with dummy handles, since finalizing a plan asks for them; everything else
 * says "no device" (100). Only for processes that plan and never execute. */
#include <stddef.h>

#define NO_DEVICE 100
#define FAILS(name) \
    int name(void) { return NO_DEVICE; }
#define SUCCEEDS(name) \
    int name(void) { return 0; }
#define HANDS_OUT(name)          \
    int name(void** handle) {    \
        *handle = &dummy;        \
        return 0;                \
    }

static int dummy;

HANDS_OUT(cuLibraryLoadData)
HANDS_OUT(cuLibraryLoadFromFile)
HANDS_OUT(cuLibraryGetKernel)
HANDS_OUT(cuKernelGetFunction)
HANDS_OUT(cuModuleLoadData)
HANDS_OUT(cuModuleGetFunction)
SUCCEEDS(cuLibraryUnload)
SUCCEEDS(cuModuleUnload)
SUCCEEDS(cuKernelSetAttribute)

int cuKernelGetAttribute(int* value) {
    *value = 0;
    return 0;
}

int cuDriverGetVersion(int* version) {
    *version = 0; /* the runtime reports "no driver" */
    return 0;
}

int cuGetErrorName(int error, const char** name) {
    (void)error;
    *name = "CUDA_ERROR_NO_DEVICE";
    return 0;
}

int cuGetErrorString(int error, const char** message) {
    (void)error;
    *message = "no CUDA-capable device is detected";
    return 0;
}

FAILS(cuCtxGetCurrent)
FAILS(cuCtxGetLimit)
FAILS(cuCtxPopCurrent)
FAILS(cuCtxPushCurrent)
FAILS(cuDeviceGet)
FAILS(cuDeviceGetCount)
FAILS(cuLaunchCooperativeKernel)
FAILS(cuLaunchKernel)
FAILS(cuLaunchKernelEx)
FAILS(cuLinkAddData)
FAILS(cuLinkComplete)
FAILS(cuLinkCreate)
FAILS(cuLinkDestroy)
FAILS(cuOccupancyMaxPotentialClusterSize)
FAILS(cuStreamGetCtx)
FAILS(cuTensorMapEncodeIm2col)
FAILS(cuTensorMapEncodeTiled)
