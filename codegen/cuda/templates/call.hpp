// Between TVM's calling convention and a kernel launch: arguments of a call, errors, streams.
//
// A call's arguments are numbers first, then tensors; the outputs are its last tensors. What goes wrong is raised in
// Python as an exception of the kind that a `Failure` names.
//
// nvcc compiles calls and kernels together. With NVRTC, which compiles kernels alone (ESPALIER_IMAGE names a file with
// their machine code), calls are the C++ compiler's, and launch through the driver. Without either a call is emulated.
#pragma once
#ifndef __CUDACC_RTC__
#include <cstdint>
#include <string>

#include <dlpack/dlpack.h>
#include <tvm/ffi/c_api.h>

#include "device.cuh"
#include "failure.hpp"
#include "shared_limit.hpp"
#if defined(__CUDACC__) || defined(ESPALIER_IMAGE)
#define ESPALIER_ON_GPU
#include <tvm/ffi/extra/c_env_api.h>
#endif
#ifdef ESPALIER_IMAGE
#include "driver.hpp"
#endif

namespace espalier {

class Call {
 public:
  Call(const TVMFFIAny* arguments, int32_t count, const char* name) : arguments_(arguments), count_(count), name_(name) {}

  int64_t integer() {
    const TVMFFIAny& one = next();
    if (one.type_index != kTVMFFIInt) throw Failure{"TypeError", name_ + ": expected an integer"};
    return one.v_int64;
  }
  double number() {
    const TVMFFIAny& one = next();
    if (one.type_index == kTVMFFIInt) return double(one.v_int64);
    if (one.type_index != kTVMFFIFloat) throw Failure{"TypeError", name_ + ": expected a number"};
    return one.v_float64;
  }
  // The next tensor's data, or null if it is not `given`.
  void* tensor(bool given = true) {
    if (!given) return nullptr;
    const TVMFFIAny& one = next();
    const DLTensor* found = nullptr;
    if (one.type_index == kTVMFFIDLTensorPtr) found = static_cast<const DLTensor*>(one.v_ptr);
    if (one.type_index == kTVMFFITensor)
      found = reinterpret_cast<const DLTensor*>(reinterpret_cast<const char*>(one.v_obj) + sizeof(TVMFFIObject));
    if (!found) throw Failure{"TypeError", name_ + ": expected a tensor"};
    device_ = found->device.device_id;
#ifdef ESPALIER_ON_GPU
    if (found->device.device_type != kDLCUDA) throw Failure{"ValueError", name_ + ": its tensors are not on a GPU"};
#endif
    return static_cast<char*>(found->data) + found->byte_offset;
  }
  int device() const { return device_; }
  void finish() const {
    if (next_ != count_) throw Failure{"TypeError", name_ + ": got " + std::to_string(count_) + " arguments"};
  }

 private:
  const TVMFFIAny& next() {
    if (next_ == count_) throw Failure{"TypeError", name_ + ": too few arguments"};
    return arguments_[next_++];
  }
  const TVMFFIAny* arguments_;
  int32_t count_, next_ = 0;
  std::string name_;
  int device_ = 0;
};

struct Launch {
  const char* kernel;  // its name in its template
  dim3 grid;
  int threads;
  int shared_bytes = 0;
};

// static, as is all that launches: objects of a library have kernels of the same name, each its own.
template <typename... Params>
static void launch(const Launch& shape, int device, void (*kernel)(Params...), Params... params) {
#ifdef __CUDACC__
  auto check = [](cudaError_t status) {
    if (status == cudaErrorNoKernelImageForDevice) throw Failure{"RuntimeError", NO_CODE};
    if (status != cudaSuccess) throw Failure{"RuntimeError", std::string("CUDA: ") + cudaGetErrorString(status)};
  };
  if (needs_more_shared_memory(shape.shared_bytes))
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shape.shared_bytes));
  auto stream = static_cast<cudaStream_t>(TVMFFIEnvGetStream(kDLCUDA, device));
  void* arguments[] = {static_cast<void*>(&params)...};
  const void* function = reinterpret_cast<const void*>(kernel);
  check(cudaLaunchKernel(function, shape.grid, dim3(shape.threads), arguments, shape.shared_bytes, stream));
#elif defined(ESPALIER_IMAGE)
  (void)kernel;
  void* arguments[] = {static_cast<void*>(&params)...};
  unsigned grid[] = {shape.grid.x, shape.grid.y, shape.grid.z};
  Driver::get().launch(shape.kernel, grid, shape.threads, shape.shared_bytes, device, TVMFFIEnvGetStream(kDLCUDA, device),
                       arguments);
#else
  (void)device;
  emulation::run(shape.grid, shape.threads, shape.shared_bytes, [&] { kernel(params...); });
#endif
}

template <typename Body>
int32_t answer(const char* name, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result, Body body) {
  try {
    Call call(arguments, count, name);
    body(call);
    result->type_index = kTVMFFINone;
    result->zero_padding = 0;
    result->v_int64 = 0;
    return 0;
  } catch (const Failure& failure) {
    TVMFFIErrorSetRaisedFromCStr(failure.kind, failure.message.c_str());
    return -1;
  }
}

}  // namespace espalier

// The function `name` in the library, as TVM finds it; `body` takes a `Call&`.
#define ESPALIER_FUNCTION_(name, body)                                                                           \
  extern "C" int32_t __tvm_ffi_##name(void*, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {     \
    return espalier::answer(#name, arguments, count, result, body);                                              \
  }
#define ESPALIER_FUNCTION(name, body) ESPALIER_FUNCTION_(name, body)
#endif
