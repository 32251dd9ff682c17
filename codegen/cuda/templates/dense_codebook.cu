// The function ESPALIER_NAME. Its arguments are in the order of codegen/cuda/kernels/dense_codebook.py.
#include "call.hpp"
#include "dense_codebook.cuh"

#ifndef __CUDACC_RTC__
namespace {

void dense_codebook(espalier::Call& call) {
  espalier::DenseCodebook p{};
  bool is_scaled = call.integer();
  for (int* field : {&p.batch, &p.depth, &p.chunks, &p.channels, &p.shift, &p.zero, &p.low, &p.high})
    *field = int(call.integer());
  p.x = static_cast<const unsigned char*>(call.tensor());
  p.codes = static_cast<const uint4*>(call.tensor());
  p.table = static_cast<const int*>(call.tensor());
  p.bias = static_cast<const int*>(call.tensor());
  if (is_scaled) p.scale = static_cast<const float*>(call.tensor());
  else p.multiplier = static_cast<const int*>(call.tensor());
  p.y = call.tensor();
  call.finish();
  constexpr int ROWS = espalier::CODEBOOK_WARPS * espalier::CODEBOOK_ROWS;
  espalier::Launch shape{"dense_codebook", dim3(p.batch, (p.channels + ROWS - 1) / ROWS), espalier::CODEBOOK_THREADS,
                         p.chunks * espalier::CODES};
  espalier::launch(shape, call.device(), espalier::dense_codebook, espalier::DenseCodebook(p));
}

}  // namespace

ESPALIER_FUNCTION(ESPALIER_NAME, dense_codebook)
#endif
