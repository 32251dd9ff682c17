// What a channel gate reads of its input, where no kernel left it behind: for each channel, how far the values of a
// sample are from zero, summed. A block sums a share of a sample's pixels, in a fixed order. It takes several rounds only
// where a round has one lane for each group, whose thread then reads nothing but its own sums.
#pragma once
#include "requantize.cuh"

namespace espalier {

constexpr int SUMS_THREADS = 256;

struct ChannelSums {
  const void* x;       // [batch, pixels, x_channels]
  ChannelList active;  // of x, in whole groups of 8
  void* sums;          // [batch, slots, channels]; what is not listed is not written
  int batch, pixels, x_channels, channels, slots, x_zero;
};

template <bool IsHalf>
struct RealDistances {
  using Sum = float;
  static DEVICE void load(float (&out)[GROUP], const ChannelSums& p, size_t index) {
    load_group(out, p.x, IsHalf, index);
    UNROLL for (int i = 0; i < GROUP; ++i) out[i] = out[i] < 0.f ? -out[i] : out[i];
  }
};
using HalfDistances = RealDistances<true>;
using FloatDistances = RealDistances<false>;
struct ByteDistances {
  using Sum = int;
  static DEVICE void load(int (&out)[GROUP], const ChannelSums& p, size_t index) {
    load_bytes(out, static_cast<const unsigned char*>(p.x) + index);
    UNROLL for (int i = 0; i < GROUP; ++i) out[i] = out[i] < p.x_zero ? p.x_zero - out[i] : out[i] - p.x_zero;
  }
};

template <typename Distances>
KERNEL void __launch_bounds__(SUMS_THREADS) channel_sums(const ChannelSums p) {
  using Sum = typename Distances::Sum;
  Sum* shared = reinterpret_cast<Sum*>(shared_memory());
  const int sample = blockIdx.x, slot = blockIdx.y;
  const int groups = (p.active.groups ? p.active.count * p.active.size : p.channels) / GROUP;
  const int first = int(int64_t(p.pixels) * slot / p.slots), last = int(int64_t(p.pixels) * (slot + 1) / p.slots);
  const int together = groups < SUMS_THREADS ? groups : SUMS_THREADS, lanes = SUMS_THREADS / together;
  const int lane = threadIdx.x / together;
  for (int group0 = 0; group0 < groups; group0 += together) {
    int group = group0 + threadIdx.x % together;
    bool reads = group < groups && lane < lanes;
    int channel = reads ? listed_channel(p.active, sample, group * GROUP) : 0;
    Sum mine[GROUP] = {};
    for (int pixel = first + lane; reads && pixel < last; pixel += lanes) {
      Sum values[GROUP];
      Distances::load(values, p, (size_t(sample) * p.pixels + pixel) * p.x_channels + channel);
      UNROLL for (int i = 0; i < GROUP; ++i) mine[i] += values[i];
    }
    UNROLL for (int i = 0; i < GROUP; ++i) shared[threadIdx.x * GROUP + i] = mine[i];
    synchronize();
    if (reads && lane == 0) {
      Sum* out = static_cast<Sum*>(p.sums) + (size_t(sample) * p.slots + slot) * p.channels + channel;
      UNROLL for (int i = 0; i < GROUP; ++i) {
        Sum total = 0;
        for (int other = 0; other < lanes; ++other) total += shared[(other * together + threadIdx.x) * GROUP + i];
        out[i] = total;
      }
    }
  }
}

}  // namespace espalier
