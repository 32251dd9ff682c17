// What the kernels need of a GPU, by name. Compiled by nvcc or NVRTC it is PTX; compiled by a C++ compiler it is
// emulation.hpp, so that index arithmetic and numerics can be tested without a device.
//
// A fragment is what one lane holds of a matrix tile, in 32-bit registers. For 16-bit, 32-bit and 8-bit operands alike a
// tile of A is 16 rows of 32 bytes (4 registers), one of B 8 columns of 32 bytes (2), one of C 16 x 8 values (4): see the
// PTX ISA, "Matrix fragments for mma.m16n8k16", "m16n8k8" (tf32) and "m16n8k32" (s8). Below compute capability 8.0 the
// same fragments are multiplied by two or four smaller instructions.
#pragma once
#ifdef __CUDACC_RTC__
#include <cuda/std/cstdint>
using cuda::std::int8_t, cuda::std::int64_t, cuda::std::uint8_t, cuda::std::uint32_t, cuda::std::uint64_t;
using cuda::std::uintptr_t;
#else
#include <cstdint>
#include <cstring>
#endif

#ifndef __CUDACC__
#include "emulation.hpp"
#else
#include <cuda_fp16.h>

#ifdef __CUDACC_RTC__
#define KERNEL __global__
#else
#include <cuda_runtime.h>
#define KERNEL static __global__  // static: several objects of a library have the same ones
#endif
#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll")

namespace espalier {

using half_t = __half;
DEVICE float to_float(half_t value) { return __half2float(value); }
DEVICE half_t to_half(float value) { return __float2half_rn(value); }

DEVICE float multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE int bits_of(float value) { return __float_as_int(value); }

DEVICE unsigned char* shared_memory() {
  extern __shared__ __align__(128) unsigned char bytes[];
  return bytes;
}

DEVICE void synchronize() { __syncthreads(); }

// Starts a copy of 16 or 8 bytes to shared memory; zeros if it is not `valid`. `source` is then not read.
template <int Size>
DEVICE void copy_async(void* target, const void* source, bool valid) {
  unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(target));
  if constexpr (Size == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(source), "r"(valid ? 16 : 0));
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(address), "l"(source), "r"(valid ? 8 : 0));
}
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool COPIES_ASYNC = false;  // copies go through registers: fetched before products, put down behind them
#else
constexpr bool COPIES_ASYNC = true;
#endif
DEVICE void commit_copies() {
  if constexpr (COPIES_ASYNC) asm volatile("cp.async.commit_group;");
}
// Waits until at most `Pending` of this thread's committed groups are under way.
template <int Pending>
DEVICE void wait_for_copies() {
  if constexpr (COPIES_ASYNC) asm volatile("cp.async.wait_group %0;" ::"n"(Pending));
}

// Four 8 x 16-byte matrices; `address_of(lane)` is where the row for this lane begins.
template <typename Address>
DEVICE void load_matrices(uint32_t (&out)[4], Address address_of) {
  unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(address_of(threadIdx.x & 31)));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address));
}

struct HalfProducts {
  using Sum = float;
  static DEVICE void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t* b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    UNROLL for (int half = 0; half < 2; ++half)  // of the depth
      asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                   : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                   : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
  }
};

struct Tf32Products {
  using Sum = float;
  static DEVICE uint32_t rounded(uint32_t bits) {
    uint32_t out;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(out) : "f"(__uint_as_float(bits)));
    return out;
  }
  static DEVICE void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t* b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
};

struct ByteProducts {  // u8 activations, s8 weights
  using Sum = int;
  static DEVICE void multiply(int (&c)[4], const uint32_t (&a)[4], const uint32_t* b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    UNROLL for (int part = 0; part < 4; ++part)  // upper and lower rows, for each half of the depth
      asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
                   : "+r"(c[part % 2 * 2]), "+r"(c[part % 2 * 2 + 1])
                   : "r"(a[part]), "r"(b[part / 2]));
#else
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
  }
};

// Products of a warp: C[i][j] += A[i] B[j].
template <typename Products, int Rows, int Columns>
DEVICE void multiply_tiles(typename Products::Sum (&c)[Rows][Columns][4], const uint32_t (&a)[Rows][4],
                           const uint32_t (&b)[Columns][2]) {
  UNROLL for (int i = 0; i < Rows; ++i)
    UNROLL for (int j = 0; j < Columns; ++j) Products::multiply(c[i][j], a[i], b[j]);
}

DEVICE float sum_over_warp(float value) {
  UNROLL for (int apart = 16; apart; apart /= 2) value += __shfl_xor_sync(~0u, value, apart);
  return value;
}
DEVICE int sum_over_warp(int value) {
  UNROLL for (int apart = 16; apart; apart /= 2) value += __shfl_xor_sync(~0u, value, apart);
  return value;
}
// Four products of a u8 and an s8, added to `sum`.
DEVICE int dot_u8_s8(uint32_t unsigned_bytes, uint32_t signed_bytes, int sum) {
  asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(unsigned_bytes), "r"(signed_bytes));
  return sum;
}
// Byte i of the result is the byte that nibble i of `selector` names, of a (0..3) and b (4..7).
DEVICE uint32_t select_bytes(uint32_t a, uint32_t b, uint32_t selector) { return __byte_perm(a, b, selector); }

// Data that is read once does not push other data out of the L1 cache.
DEVICE uint4 load_streaming(const uint4* source) { return __ldcs(source); }

// Counts this block in, once everything that it wrote can be seen; true in the last of `expected`, which resets the count.
DEVICE bool is_last_block(int* arrivals, int expected) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(arrivals, 1) == expected - 1;
    if (last) *arrivals = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}

}  // namespace espalier
#endif
