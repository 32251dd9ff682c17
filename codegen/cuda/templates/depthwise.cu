// The function ESPALIER_NAME. Its arguments are in the order of codegen/cuda/kernels/depthwise.py.
#include "depthwise.cuh"
#include "layer_call.hpp"

namespace {

void depthwise(espalier::Call& call) {
  espalier::Depthwise p{};
  espalier::Epilogue e{};
  int given = int(call.integer());
  for (int* field : {&p.batch, &p.height, &p.width, &p.channels, &p.out_height, &p.out_width, &p.taps_down, &p.taps_across,
                     &p.stride_down, &p.stride_across, &p.top, &p.left, &p.dilation_down, &p.dilation_across,
                     &p.winners_count, &p.winners_group, &p.winners_limit, &p.is_half, &e.gate, &e.activation,
                     &e.residual_is_half, &e.y_is_half})
    *field = int(call.integer());
  e.low = float(call.number());
  e.high = float(call.number());
  e.channels = p.channels;
  p.x = call.tensor();
  p.weight = call.tensor();
  e.bias = static_cast<const float*>(call.tensor(given & espalier::BIAS));
  e.residual = call.tensor(given & espalier::RESIDUAL);
  e.pi = static_cast<const float*>(call.tensor(given & espalier::PI));
  p.winners = static_cast<const int*>(call.tensor(given & espalier::WINNERS));
  e.y = call.tensor();
  call.finish();
  if (given & espalier::FILL_RESTING)
    espalier::launch_resting(e, int64_t(p.batch) * p.out_height * p.out_width, call.device());
  int64_t across = (p.out_width + espalier::DEPTHWISE_COLUMNS - 1) / espalier::DEPTHWISE_COLUMNS;
  int64_t groups = (p.winners ? p.winners_count * p.winners_group : p.channels) / espalier::GROUP;
  int64_t threads = across * groups * p.batch * p.out_height;
  dim3 grid(unsigned((threads + espalier::DEPTHWISE_THREADS - 1) / espalier::DEPTHWISE_THREADS));
  espalier::launch({grid, espalier::DEPTHWISE_THREADS}, call.device(), espalier::depthwise, espalier::Depthwise(p),
                   espalier::Epilogue(e));
}

}  // namespace

ESPALIER_FUNCTION(ESPALIER_NAME, depthwise)
