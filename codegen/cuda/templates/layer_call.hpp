// What the calls of layers have in common.
#pragma once
#include "call.hpp"
#include "layer.cuh"

namespace espalier {

// Which tensors a call has, and whether channels that a list leaves out are written, too.
enum Given : int { BIAS = 1, RESIDUAL = 2, PI = 4, WINNERS = 8, ACTIVE = 16, FILL_RESTING = 32 };

inline void launch_resting(const Epilogue& e, int64_t pixels, int device) {
  constexpr int64_t THREADS = 256, MOST_BLOCKS = 2048;
  int64_t groups = pixels * e.channels / GROUP, blocks = (groups + THREADS - 1) / THREADS;
  launch({dim3(unsigned(blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS)), int(THREADS)}, device, finish_resting, Epilogue(e),
         int64_t(groups));
}

}  // namespace espalier
