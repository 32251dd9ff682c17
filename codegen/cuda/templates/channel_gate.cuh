// A channel gate from sums: means of |x|, predictor, k winners (core/layers.py, ChannelGateSpec; in integers,
// core/integer.py, GateArithmetic).
//
// The sums are those that the kernels that wrote x left behind for each of its parts, or channel_sums.cuh's. The blocks
// of a sample share its output channels, and the last one to arrive picks the winners. All sums are in a fixed order:
// the same input gives the same winners.
#pragma once
#include "requantize.cuh"

namespace espalier {

constexpr int GATE_THREADS = 256;
constexpr int LOADS_AT_ONCE = 8;  // that a thread has under way

struct ChannelGate {
  const void* sums;    // [batch, slots, sum_channels], float or int
  const void* phi;     // [c_in, channels], so that neighbouring threads read neighbours; float or s8
  const void* rho;     // [channels], float or int
  ChannelList active;  // of the channels of x
  int* arrivals;       // [batch], zero before and after; null if parts is 1
  void* pi;            // [batch, channels], float or u8
  int* winners;        // [batch, kept], ascending
  void* saliency;      // [batch, channels], scratch space
  int batch, pixels, slots, sum_channels, c_in, channels, granularity, kept, is_select, parts;
  int mean_multiplier, mean_shift, pi_multiplier, pi_shift;  // of integers
};

struct RealGate {
  using Sum = float;
  using Weight = float;
  using Pi = float;
  static DEVICE float mean(const ChannelGate& p, float total) { return total / float(p.pixels); }
  static DEVICE float boost(const ChannelGate& p, float saliency) { return saliency; }
};
struct ByteGate {
  using Sum = int;
  using Weight = signed char;
  using Pi = unsigned char;
  static DEVICE int limited(int64_t value) { return int(value > 255 ? 255 : value); }
  static DEVICE int mean(const ChannelGate& p, int total) {
    return limited(rescaled(total, p.mean_multiplier, p.mean_shift));
  }
  static DEVICE int boost(const ChannelGate& p, int saliency) {
    return limited(rescaled(saliency, p.pi_multiplier, p.pi_shift));
  }
};

// Of the `count` things that the threads of a block share, `together` are worked on at a time, each by `lanes` threads.
struct Shares {
  int together, lanes, lane;
  DEVICE explicit Shares(int count)
      : together(count < GATE_THREADS ? count : GATE_THREADS), lanes(GATE_THREADS / together), lane(threadIdx.x / together) {}
  // The total of all lanes, in the first one; `shared` has room for GATE_THREADS sums. With several lanes, everything is
  // worked on at once: nobody reads what an earlier call left there.
  template <typename Sum>
  DEVICE Sum total(Sum mine, Sum* shared) const {
    shared[threadIdx.x] = mine;
    synchronize();
    Sum all = mine;
    if (lane == 0)
      for (int other = 1; other < lanes; ++other) all += shared[other * together + threadIdx.x];
    return all;
  }
};

// Means of the channels that are read, and which they are.
template <typename Gate, typename Sum = typename Gate::Sum>
DEVICE void find_means(const ChannelGate& p, int sample, int count, Sum* means, int* channels, Sum* shared) {
  const Sum* sums = static_cast<const Sum*>(p.sums) + size_t(sample) * p.slots * p.sum_channels;
  const Shares shares(count);
  for (int first = 0; first < count; first += shares.together) {
    int position = first + threadIdx.x % shares.together;
    bool works = position < count && shares.lane < shares.lanes;
    int channel = works ? listed_channel(p.active, sample, position) : 0;
    Sum mine = 0;
    for (int start = shares.lane; works && start < p.slots; start += LOADS_AT_ONCE * shares.lanes) {
      Sum values[LOADS_AT_ONCE];
      UNROLL for (int i = 0; i < LOADS_AT_ONCE; ++i) {
        int slot = start + i * shares.lanes;
        values[i] = slot < p.slots ? sums[size_t(slot) * p.sum_channels + channel] : Sum(0);
      }
      UNROLL for (int i = 0; i < LOADS_AT_ONCE; ++i) mine += values[i];
    }
    Sum total = shares.total(mine, shared);
    if (works && shares.lane == 0) means[position] = Gate::mean(p, total), channels[position] = channel;
  }
  synchronize();
}

// relu(mean|x| phi + rho) for this block's share of the output channels.
template <typename Gate, typename Sum = typename Gate::Sum>
DEVICE void predict(const ChannelGate& p, int count, const Sum* means, const int* channels, Sum* saliency, Sum* shared) {
  using Weight = typename Gate::Weight;
  const int begin = p.channels * int(blockIdx.y) / p.parts, end = p.channels * (int(blockIdx.y) + 1) / p.parts;
  const Shares shares(end - begin);
  for (int first = begin; first < end; first += shares.together) {
    int channel = first + threadIdx.x % shares.together;
    bool works = channel < end && shares.lane < shares.lanes;
    const Weight* column = static_cast<const Weight*>(p.phi) + channel;
    Sum mine = 0;
    for (int start = shares.lane; works && start < count; start += LOADS_AT_ONCE * shares.lanes) {
      Weight weights[LOADS_AT_ONCE];
      UNROLL for (int i = 0; i < LOADS_AT_ONCE; ++i) {
        int position = start + i * shares.lanes;
        weights[i] = position < count ? column[size_t(channels[position]) * p.channels] : Weight(0);
      }
      UNROLL for (int i = 0; i < LOADS_AT_ONCE; ++i) {
        int position = start + i * shares.lanes;
        if (position < count) mine += means[position] * weights[i];
      }
    }
    Sum total = shares.total(mine, shared);
    if (works && shares.lane == 0) {
      total += static_cast<const Sum*>(p.rho)[channel];
      saliency[channel] = total > 0 ? total : 0;
    }
  }
}

// The groups with the largest sums; a tie goes to the lower number.
template <typename Gate, typename Sum = typename Gate::Sum>
DEVICE void pick_winners(const ChannelGate& p, int sample, const Sum* saliency, Sum* score, int* keeps) {
  const int groups = p.channels / p.granularity;
  for (int group = threadIdx.x; group < groups; group += GATE_THREADS) {
    Sum total = 0;
    for (int i = 0; i < p.granularity; ++i) total += saliency[group * p.granularity + i];
    score[group] = total;
  }
  synchronize();
  for (int group = threadIdx.x; group < groups; group += GATE_THREADS) {
    int better = 0;
    for (int other = 0; other < groups; ++other)
      better += score[other] > score[group] || (score[other] == score[group] && other < group);
    keeps[group] = better < p.kept;
  }
  synchronize();
  for (int group = threadIdx.x; group < groups; group += GATE_THREADS) {
    int before = 0;
    for (int other = 0; other < group; ++other) before += keeps[other];
    if (keeps[group]) p.winners[sample * p.kept + before] = group;
  }
  for (int channel = threadIdx.x; channel < p.channels; channel += GATE_THREADS) {
    Sum factor = p.is_select ? 1 : Gate::boost(p, saliency[channel]);
    static_cast<typename Gate::Pi*>(p.pi)[size_t(sample) * p.channels + channel] =
        keeps[channel / p.granularity] ? typename Gate::Pi(factor) : 0;
  }
}

template <typename Gate>
KERNEL void __launch_bounds__(GATE_THREADS) channel_gate(const ChannelGate p) {
  using Sum = typename Gate::Sum;
  const int sample = blockIdx.x, count = p.active.groups ? p.active.count * p.active.size : p.c_in;
  Sum* shared = reinterpret_cast<Sum*>(shared_memory());
  Sum* means = shared + GATE_THREADS;
  int* channels = reinterpret_cast<int*>(means + count);
  Sum* saliency = static_cast<Sum*>(p.saliency) + size_t(sample) * p.channels;
  find_means<Gate>(p, sample, count, means, channels, shared);
  predict<Gate>(p, count, means, channels, saliency, shared);
  if (p.parts > 1 && !is_last_block(p.arrivals + sample, p.parts)) return;
  synchronize();  // what this block wrote and read last
  pick_winners<Gate>(p, sample, saliency, shared, reinterpret_cast<int*>(shared) + p.channels / p.granularity);
}

}  // namespace espalier
