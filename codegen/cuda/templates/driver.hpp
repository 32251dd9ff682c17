// Launches kernels that NVRTC compiled, through NVIDIA's driver, which is looked for when the first one is launched.
//
// ESPALIER_IMAGE is a file with the bytes of their machine code, ESPALIER_ENTRIES pairs of a kernel's name in its template
// and its mangled one. Functions and numbers are the CUDA driver API's (CUDA Toolkit documentation). All of it is in an
// unnamed namespace: every object of a library, and every library of a process, has an image of its own.
#pragma once
#include <cstdint>
#include <cstring>
#include <dlfcn.h>

#include "failure.hpp"
#include "shared_limit.hpp"

namespace espalier {
namespace {

alignas(64) const unsigned char IMAGE[] = {
#include ESPALIER_IMAGE
};
const char* const ENTRIES[][2] = {ESPALIER_ENTRIES};

class Driver {
 public:
  static Driver& get() {
    static Driver one;
    return one;
  }

  // arguments: pointers to a kernel's parameters; stream: null for the default one.
  void launch(const char* name, const unsigned (&grid)[3], int threads, int shared_bytes, int device, void* stream,
              void** arguments) {
    void* kernel = kernel_of(name);
    if (needs_more_shared_memory(shared_bytes)) check(set_attribute_(MOST_SHARED_BYTES, shared_bytes, kernel, device));
    unsigned x = grid[0], y = grid[1], z = grid[2], block = unsigned(threads), shared = unsigned(shared_bytes);
    check(launch_(kernel, x, y, z, block, 1, 1, shared, stream, arguments, nullptr));
  }

 private:
  enum { NO_BINARY_FOR_GPU = 209, MOST_SHARED_BYTES = 8 };  // a CUresult; a CUfunction_attribute

  Driver() {
    library_ = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library_) throw Failure{"RuntimeError", "NVIDIA's driver was not found (libcuda.so.1)"};
    find(load_, "cuLibraryLoadData"), find(get_kernel_, "cuLibraryGetKernel"), find(error_text_, "cuGetErrorString");
    find(set_attribute_, "cuKernelSetAttribute"), find(launch_, "cuLaunchKernel");
    check(load_(&image_, IMAGE, nullptr, nullptr, 0, nullptr, nullptr, 0));
  }

  template <typename Function>
  void find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library_, name));
    if (!function) throw Failure{"RuntimeError", std::string("NVIDIA's driver is too old: it has no ") + name};
  }

  void* kernel_of(const char* name) {
    for (auto& entry : ENTRIES)
      if (!std::strcmp(entry[0], name)) {
        void* kernel = nullptr;
        check(get_kernel_(&kernel, image_, entry[1]));
        return kernel;
      }
    throw Failure{"RuntimeError", std::string("no kernel ") + name + " was compiled"};
  }

  void check(int status) {
    if (status == NO_BINARY_FOR_GPU) throw Failure{"RuntimeError", NO_CODE};
    const char* text = nullptr;
    if (status && error_text_(status, &text)) text = "unknown error";
    if (status) throw Failure{"RuntimeError", std::string("CUDA: ") + text};
  }

  void *library_ = nullptr, *image_ = nullptr;
  int (*load_)(void**, const void*, void*, void**, unsigned, void*, void**, unsigned) = nullptr;
  int (*get_kernel_)(void**, void*, const char*) = nullptr;
  int (*error_text_)(int, const char**) = nullptr;
  int (*set_attribute_)(int, int, void*, int) = nullptr;
  int (*launch_)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**) = nullptr;
};

}  // namespace
}  // namespace espalier
