// One function for each choice of ESPALIER_GATE (RealGate, ByteGate), under the name ESPALIER_NAME. Its arguments are in
// the order of codegen/cuda/kernels/channel_gate.py.
#include "call.hpp"
#include "channel_gate.cuh"
#include "layer_call.hpp"

#ifdef __CUDACC_RTC__
template __global__ void espalier::channel_gate<espalier::ESPALIER_GATE>(espalier::ChannelGate);
#else
namespace {

void channel_gate(espalier::Call& call) {
  espalier::ChannelGate p{};
  for (int* field : {&p.batch, &p.pixels, &p.slots, &p.sum_channels, &p.c_in, &p.channels, &p.granularity, &p.kept,
                     &p.is_select, &p.parts})
    *field = int(call.integer());
  espalier::read_numbers(call, p.active);
  for (int* field : {&p.mean_multiplier, &p.mean_shift, &p.pi_multiplier, &p.pi_shift}) *field = int(call.integer());
  int shared_bytes = int(call.integer());
  p.sums = call.tensor();
  p.phi = call.tensor();
  p.rho = call.tensor();
  p.active.groups = static_cast<const int*>(call.tensor(p.active.count > 0));
  p.arrivals = static_cast<int*>(call.tensor(p.parts > 1));
  p.pi = call.tensor();
  p.winners = static_cast<int*>(call.tensor());
  p.saliency = call.tensor();
  call.finish();
  espalier::Launch shape{"channel_gate", dim3(p.batch, p.parts), espalier::GATE_THREADS, shared_bytes};
  espalier::launch(shape, call.device(), espalier::channel_gate<espalier::ESPALIER_GATE>, espalier::ChannelGate(p));
}

}  // namespace

ESPALIER_FUNCTION(ESPALIER_NAME, channel_gate)
#endif
