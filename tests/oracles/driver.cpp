// NVIDIA's driver as far as kernels from NVRTC call it, on a machine without a GPU: every call becomes a line of output.
// TVM's runtime for CUDA can be loaded with it, and finds no device.
// FAKE_DRIVER says which call fails, and how: "load 209" or "launch 2".
#include <cstdio>
#include <cstdlib>
#include <cstring>

static int status_of(const char* call) {
  const char* wanted = std::getenv("FAKE_DRIVER");
  size_t size = std::strlen(call);
  return wanted && !std::strncmp(wanted, call, size) ? std::atoi(wanted + size) : 0;
}

extern "C" {
int cuLibraryLoadData(void** library, const void* code, void*, void*, unsigned, void*, void*, unsigned) {
  std::printf("load %.3s\n", static_cast<const char*>(code) + 1);
  *library = nullptr;
  return status_of("load");
}
int cuLibraryGetKernel(void** kernel, void*, const char* name) {
  static char known[8][256];
  static int count = 0;
  *kernel = std::strcpy(known[count++ % 8], name);
  return 0;
}
int cuKernelSetAttribute(int attribute, int value, void*, int device) {
  std::printf("attribute %d %d %d\n", attribute, value, device);
  return 0;
}
int cuLaunchKernel(void* kernel, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned, unsigned shared,
                   void*, void** arguments, void**) {
  std::printf("launch %s %u %u %u %u %u %p\n", static_cast<char*>(kernel), x, y, z, threads, shared,
              *static_cast<void**>(arguments[0]));
  return status_of("launch");
}
int cuGetErrorString(int status, const char** text) {
  *text = status == 2 ? "out of memory" : "something else";
  return 0;
}
#define NO_DEVICE(name) \
  int name() { return 100; }
NO_DEVICE(cuInit) NO_DEVICE(cuDeviceGetName) NO_DEVICE(cuFuncSetAttribute) NO_DEVICE(cuGetErrorName)
NO_DEVICE(cuLaunchKernelEx) NO_DEVICE(cuModuleGetFunction) NO_DEVICE(cuModuleLoadData) NO_DEVICE(cuModuleUnload)
NO_DEVICE(cuTensorMapEncodeTiled)
}
