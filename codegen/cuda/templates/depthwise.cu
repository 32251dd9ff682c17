// One function for each choice of ESPALIER_TAPS (RealTaps, ByteTaps), under the name ESPALIER_NAME. Its arguments are in
// the order of codegen/cuda/kernels/depthwise.py.
#include "depthwise.cuh"
#include "layer_call.hpp"

namespace {

using Taps = espalier::ESPALIER_TAPS;

}  // namespace

#ifdef __CUDACC_RTC__
template __global__ void espalier::depthwise<Taps>(espalier::Depthwise, Taps::End);
template __global__ void espalier::finish_resting<Taps::End>(Taps::End, int64_t);
#else
namespace {

void depthwise(espalier::Call& call) {
  espalier::Depthwise p{};
  Taps::End e{};
  int given = int(call.integer());
  for (int* field : {&p.batch, &p.height, &p.width, &p.x_channels, &p.channels, &p.out_height, &p.out_width, &p.taps_down,
                     &p.taps_across, &p.stride_down, &p.stride_across, &p.top, &p.left, &p.dilation_down,
                     &p.dilation_across, &p.winners_count, &p.winners_group, &p.winners_limit, &p.is_half, &p.x_zero})
    *field = int(call.integer());
  espalier::read_numbers(call, e);
  p.x = call.tensor();
  p.weight = call.tensor();
  espalier::read_tensors(call, given, e);
  p.winners = static_cast<const int*>(call.tensor(given & espalier::WINNERS));
  e.y = call.tensor();
  call.finish();
  if (given & espalier::FILL_RESTING)
    espalier::launch_resting(e, int64_t(p.batch) * p.out_height * p.out_width, call.device());
  int64_t across = (p.out_width + espalier::DEPTHWISE_COLUMNS - 1) / espalier::DEPTHWISE_COLUMNS;
  int64_t groups = (p.winners ? p.winners_count * p.winners_group : p.channels) / espalier::GROUP;
  int64_t threads = across * groups * p.batch * p.out_height;
  dim3 grid(unsigned((threads + espalier::DEPTHWISE_THREADS - 1) / espalier::DEPTHWISE_THREADS));
  espalier::launch({"depthwise", grid, espalier::DEPTHWISE_THREADS}, call.device(), espalier::depthwise<Taps>,
                   espalier::Depthwise(p), Taps::End(e));
}

}  // namespace

ESPALIER_FUNCTION(ESPALIER_NAME, depthwise)
#endif
