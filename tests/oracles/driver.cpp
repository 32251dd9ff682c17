// NVIDIA's driver as far as kernels from NVRTC call it, on a machine without a GPU: every call becomes a line of output.
// TVM's runtime for CUDA can be loaded with it, and finds no device.
// An image is called by the checksum of its content, so that a line says from which one a kernel is.
// FAKE_DRIVER says which call fails, and how: "load 209" or "launch 2".
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <elf.h>
#include <string>

static int status_of(const char* call) {
  const char* wanted = std::getenv("FAKE_DRIVER");
  size_t size = std::strlen(call);
  return wanted && !std::strncmp(wanted, call, size) ? std::atoi(wanted + size) : 0;
}

// FNV-1a of an ELF file, which ends with its section headers or its program headers.
static unsigned checksum_of(const void* code) {
  const auto* header = static_cast<const Elf64_Ehdr*>(code);
  size_t sections = header->e_shoff + size_t(header->e_shnum) * header->e_shentsize;
  size_t programs = header->e_phoff + size_t(header->e_phnum) * header->e_phentsize;
  unsigned sum = 2166136261u;
  for (size_t i = 0; i < (sections > programs ? sections : programs); ++i)
    sum = (sum ^ static_cast<const unsigned char*>(code)[i]) * 16777619u;
  return sum;
}

struct Kernel {
  std::string name, image;
};
static std::deque<std::string> images;
static std::deque<Kernel> kernels;

extern "C" {
int cuLibraryLoadData(void** library, const void* code, void*, void*, unsigned, void*, void*, unsigned) {
  images.push_back(std::to_string(checksum_of(code)));
  std::printf("load %.3s %s\n", static_cast<const char*>(code) + 1, images.back().c_str());
  *library = &images.back();
  return status_of("load");
}
int cuLibraryGetKernel(void** kernel, void* library, const char* name) {
  kernels.push_back({name, *static_cast<std::string*>(library)});
  *kernel = &kernels.back();
  return 0;
}
int cuKernelSetAttribute(int attribute, int value, void*, int device) {
  std::printf("attribute %d %d %d\n", attribute, value, device);
  return 0;
}
int cuLaunchKernel(void* kernel, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned, unsigned shared,
                   void*, void** arguments, void**) {
  const auto& [name, image] = *static_cast<Kernel*>(kernel);
  std::printf("launch %s of %s %u %u %u %u %u %p\n", name.c_str(), image.c_str(), x, y, z, threads, shared,
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
