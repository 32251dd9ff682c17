// What the calls of layers have in common.
#pragma once
#ifndef __CUDACC_RTC__
#include "call.hpp"
#include "layer.cuh"
#include "requantize.cuh"

namespace espalier {

// Which tensors a call has, and whether channels that a list leaves out are written, too.
enum Given : int { BIAS = 1, RESIDUAL = 2, PI = 4, WINNERS = 8, ACTIVE = 16, FILL_RESTING = 32, OUTSIDE = 64, SUMS = 128 };

inline void read_numbers(Call& call, Epilogue& e) {
  for (int* field : {&e.channels, &e.gate, &e.activation, &e.residual_is_half, &e.y_is_half}) *field = int(call.integer());
  e.low = float(call.number());
  e.high = float(call.number());
}
inline void read_numbers(Call& call, ByteEpilogue& e) {
  for (int* field : {&e.channels, &e.pi_channels, &e.gate, &e.is_real, &e.fused, &e.shift, &e.zero, &e.low, &e.high, &e.lost,
                     &e.residual_zero, &e.own, &e.other, &e.residual_shift, &e.is_limited, &e.least, &e.most, &e.pi_shift})
    *field = int(call.integer());
}

inline void read_numbers(Call& call, ChannelList& list) {
  for (int* field : {&list.count, &list.size, &list.limit}) *field = int(call.integer());
}

// What comes behind the weight.
inline void read_tensors(Call& call, int given, Epilogue& e) {
  e.bias = static_cast<const float*>(call.tensor(given & BIAS));
  e.residual = call.tensor(given & RESIDUAL);
  e.pi = static_cast<const float*>(call.tensor(given & PI));
}
inline void read_tensors(Call& call, int given, ByteEpilogue& e) {
  e.bias = static_cast<const int*>(call.tensor());
  void* factor = call.tensor();
  if (e.is_real || e.fused) e.scale = static_cast<const float*>(factor);
  else e.multiplier = static_cast<const int*>(factor);
  e.residual = static_cast<const unsigned char*>(call.tensor(given & RESIDUAL));
  e.pi = static_cast<const unsigned char*>(call.tensor(given & PI));
}

template <typename End>
static void launch_resting(const End& e, int64_t pixels, int device) {
  constexpr int64_t THREADS = 256, MOST_BLOCKS = 2048;
  int64_t groups = pixels * e.channels / GROUP, blocks = (groups + THREADS - 1) / THREADS;
  launch({"finish_resting", dim3(unsigned(blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS)), int(THREADS)}, device, finish_resting<End>, End(e),
         int64_t(groups));
}

}  // namespace espalier
#endif
