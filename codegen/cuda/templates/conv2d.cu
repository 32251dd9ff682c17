// One function for each choice of ESPALIER_NUMBERS (Half, RoundedFloat, SplitFloat, Bytes<...>) and ESPALIER_TILE, under
// the name ESPALIER_NAME. Its arguments are in the order of codegen/cuda/kernels/conv2d.py.
#include "call.hpp"
#include "conv2d.cuh"
#include "layer_call.hpp"

namespace {

using ThisTile = espalier::Tile<ESPALIER_TILE>;
using Numbers = espalier::ESPALIER_NUMBERS;

}  // namespace

#ifdef __CUDACC_RTC__
template __global__ void espalier::conv2d<Numbers, ThisTile>(espalier::Convolution, Numbers::End);
template __global__ void espalier::finish_resting<Numbers::End>(Numbers::End, int64_t);
#else
namespace {

void conv2d(espalier::Call& call) {
  espalier::Convolution p{};
  Numbers::End e{};
  int given = int(call.integer());
  for (int* field : {&p.batch, &p.height, &p.width, &p.x_chunks, &p.out_height, &p.out_width, &p.out_channels,
                     &p.taps_down, &p.taps_across, &p.stride_down, &p.stride_across, &p.top, &p.left, &p.dilation_down,
                     &p.dilation_across, &p.winners_count, &p.winners_group, &p.winners_limit, &p.active_count,
                     &p.active_group_pieces, &p.active_limit, &p.splits})
    *field = int(call.integer());
  espalier::read_numbers(call, e);
  p.x = static_cast<const unsigned char*>(call.tensor());
  p.weight = static_cast<const unsigned char*>(call.tensor());
  espalier::read_tensors(call, given, e);
  p.winners = static_cast<const int*>(call.tensor(given & espalier::WINNERS));
  p.active = static_cast<const int*>(call.tensor(given & espalier::ACTIVE));
  p.outside = static_cast<const unsigned char*>(call.tensor(given & espalier::OUTSIDE));
  p.arrivals = static_cast<int*>(call.tensor(p.splits > 1));
  e.y = call.tensor();
  p.partial = call.tensor(p.splits > 1);
  p.sums = call.tensor(given & espalier::SUMS);
  call.finish();

  auto tiles = [](int size, int tile) { return (size + tile - 1) / tile; };
  int pixels = p.out_height * p.out_width, columns = p.winners ? p.winners_count * p.winners_group : p.out_channels;
  p.tiles_across = tiles(columns, ThisTile::COLUMNS), p.tiles_of_sample = tiles(pixels, ThisTile::ROWS);
  int tile_rows = p.winners || p.active || p.sums ? p.tiles_of_sample * p.batch : tiles(pixels * p.batch, ThisTile::ROWS);
  if (given & espalier::FILL_RESTING) espalier::launch_resting(e, int64_t(pixels) * p.batch, call.device());
  dim3 grid(p.tiles_across * tile_rows, p.splits);
  espalier::launch({"conv2d", grid, ThisTile::THREADS, ThisTile::SHARED_BYTES}, call.device(),
                   espalier::conv2d<Numbers, ThisTile>, espalier::Convolution(p), Numbers::End(e));
}

}  // namespace

ESPALIER_FUNCTION(ESPALIER_NAME, conv2d)
#endif
