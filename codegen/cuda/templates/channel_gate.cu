// One function for each choice of ESPALIER_GATE (RealGate, ByteGate), under the name ESPALIER_NAME. Its arguments are in
// the order of codegen/cuda/kernels/channel_gate.py.
#include "call.hpp"
#include "channel_gate.cuh"

#ifdef __CUDACC_RTC__
template __global__ void espalier::channel_gate<espalier::ESPALIER_GATE>(espalier::ChannelGate);
#else
namespace {

void channel_gate(espalier::Call& call) {
  espalier::ChannelGate p{};
  for (int* field : {&p.batch, &p.pixels, &p.x_channels, &p.c_in, &p.channels, &p.granularity, &p.kept, &p.is_select,
                     &p.x_is_half, &p.parts, &p.active_count, &p.active_group, &p.active_limit, &p.x_zero,
                     &p.mean_multiplier, &p.mean_shift, &p.pi_multiplier, &p.pi_shift})
    *field = int(call.integer());
  int shared_bytes = int(call.integer());
  p.x = call.tensor();
  p.phi = call.tensor();
  p.rho = call.tensor();
  p.active = static_cast<const int*>(call.tensor(p.active_count > 0));
  p.counters = static_cast<int*>(call.tensor());
  p.pi = call.tensor();
  p.winners = static_cast<int*>(call.tensor());
  p.scratch = call.tensor();
  call.finish();
  espalier::Launch shape{"channel_gate", dim3(p.parts, p.batch), espalier::GATE_THREADS, shared_bytes, true};
  espalier::launch(shape, call.device(), espalier::channel_gate<espalier::ESPALIER_GATE>, espalier::ChannelGate(p));
}

}  // namespace

ESPALIER_FUNCTION(ESPALIER_NAME, channel_gate)
#endif
