// One function for each choice of ESPALIER_DISTANCES (HalfDistances, FloatDistances, ByteDistances), under the name
// ESPALIER_NAME. Its arguments are in the order of codegen/cuda/kernels/channel_sums.py.
#include "call.hpp"
#include "channel_sums.cuh"
#include "layer_call.hpp"

#ifdef __CUDACC_RTC__
template __global__ void espalier::channel_sums<espalier::ESPALIER_DISTANCES>(espalier::ChannelSums);
#else
namespace {

void channel_sums(espalier::Call& call) {
  espalier::ChannelSums p{};
  for (int* field : {&p.batch, &p.pixels, &p.x_channels, &p.channels, &p.slots, &p.x_zero})
    *field = int(call.integer());
  espalier::read_numbers(call, p.active);
  p.x = call.tensor();
  p.active.groups = static_cast<const int*>(call.tensor(p.active.count > 0));
  p.sums = call.tensor();
  call.finish();
  constexpr int SHARED_BYTES = espalier::SUMS_THREADS * espalier::GROUP * 4;
  espalier::Launch shape{"channel_sums", dim3(p.batch, p.slots), espalier::SUMS_THREADS, SHARED_BYTES};
  espalier::launch(shape, call.device(), espalier::channel_sums<espalier::ESPALIER_DISTANCES>, espalier::ChannelSums(p));
}

}  // namespace

ESPALIER_FUNCTION(ESPALIER_NAME, channel_sums)
#endif
