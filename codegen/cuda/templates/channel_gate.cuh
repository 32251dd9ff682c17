// A channel gate in one launch: means of |x|, predictor, k winners (core/layers.py, ChannelGateSpec; in integers,
// core/integer.py, GateArithmetic).
//
// The blocks of a sample first share its pixels, then its output channels; the last one picks the winners. They wait for
// each other in between, so the launch is cooperative. Sums are in a fixed order: the same input gives the same winners.
#pragma once
#include "requantize.cuh"

namespace espalier {

constexpr int GATE_THREADS = 256, GATE_WARPS = GATE_THREADS / 32;

struct ChannelGate {
  const void* x;        // [batch, pixels, x_channels]
  const void* phi;      // [channels, c_in], transposed, so that a warp reads along c_in; float or s8
  const void* rho;      // [channels], float or int
  const int* active;    // [batch, active_count] groups of active_group channels of x, or null
  int* counters;        // [3, batch]: arrivals and generation of the barrier, arrivals at the end; zero before
  void* pi;             // [batch, channels], float or u8
  int* winners;         // [batch, kept], ascending
  void* scratch;        // [batch, parts * c_in + channels] sums
  int batch, pixels, x_channels, c_in, channels, granularity, kept, is_select, x_is_half, parts;
  int active_count, active_group, active_limit;
  int x_zero, mean_multiplier, mean_shift, pi_multiplier, pi_shift;  // of integers
};

struct RealGate {
  using Sum = float;
  using Weight = float;
  using Pi = float;
  static DEVICE void load_distances(float (&out)[GROUP], const ChannelGate& p, size_t index) {
    load_group(out, p.x, p.x_is_half, index);
    UNROLL for (int i = 0; i < GROUP; ++i) out[i] = out[i] < 0.f ? -out[i] : out[i];
  }
  static DEVICE float mean(const ChannelGate& p, float total) { return total / float(p.pixels); }
  static DEVICE float boost(const ChannelGate& p, float saliency) { return saliency; }
};
struct ByteGate {
  using Sum = int;
  using Weight = signed char;
  using Pi = unsigned char;
  static DEVICE void load_distances(int (&out)[GROUP], const ChannelGate& p, size_t index) {
    load_bytes(out, static_cast<const unsigned char*>(p.x) + index);
    UNROLL for (int i = 0; i < GROUP; ++i) out[i] = out[i] < p.x_zero ? p.x_zero - out[i] : out[i] - p.x_zero;
  }
  static DEVICE int limited(int64_t value) { return int(value > 255 ? 255 : value); }
  static DEVICE int mean(const ChannelGate& p, int total) {
    return limited(rescaled(total, p.mean_multiplier, p.mean_shift));
  }
  static DEVICE int boost(const ChannelGate& p, int saliency) {
    return limited(rescaled(saliency, p.pi_multiplier, p.pi_shift));
  }
};

// The first channel of group `number` among those that are read.
DEVICE int read_channel(const ChannelGate& p, int sample, int number) {
  if (!p.active) return number * GROUP;
  int groups = p.active_group / GROUP, listed = p.active[sample * p.active_count + number / groups];
  listed = listed < 0 ? 0 : listed >= p.active_limit ? p.active_limit - 1 : listed;
  return listed * p.active_group + number % groups * GROUP;
}

// Sums of |x| over this block's pixels to sums[c_in], which is zero where nothing is read.
template <typename Gate, typename Sum = typename Gate::Sum>
DEVICE void sum_pixels(const ChannelGate& p, int sample, Sum* sums, Sum* shared) {
  const int groups = p.active ? p.active_count * p.active_group / GROUP : p.x_channels / GROUP;
  const int first = int(int64_t(p.pixels) * blockIdx.x / p.parts), last = int(int64_t(p.pixels) * (blockIdx.x + 1) / p.parts);
  for (int i = threadIdx.x; i < p.c_in; i += GATE_THREADS) sums[i] = 0;
  const int together = groups < GATE_THREADS ? groups : GATE_THREADS, lanes = GATE_THREADS / together;
  for (int group0 = 0; group0 < groups; group0 += together) {
    int group = group0 + threadIdx.x % together, lane = threadIdx.x / together;
    bool reads = group < groups && lane < lanes;
    int channel = reads ? read_channel(p, sample, group) : 0;
    Sum mine[GROUP] = {};
    for (int pixel = first + lane; reads && pixel < last; pixel += lanes) {
      Sum values[GROUP];
      Gate::load_distances(values, p, (size_t(sample) * p.pixels + pixel) * p.x_channels + channel);
      UNROLL for (int i = 0; i < GROUP; ++i) mine[i] += values[i];
    }
    UNROLL for (int i = 0; i < GROUP; ++i) shared[threadIdx.x * GROUP + i] = mine[i];
    synchronize();
    if (reads && lane == 0)
      UNROLL for (int i = 0; i < GROUP; ++i) {
        Sum total = 0;
        for (int other = 0; other < lanes; ++other) total += shared[(other * together + threadIdx.x) * GROUP + i];
        if (channel + i < p.c_in) sums[channel + i] = total;
      }
    synchronize();
  }
}

// relu(mean|x| phi + rho) for this block's share of the output channels; `means` is shared memory of c_in sums.
template <typename Gate, typename Sum = typename Gate::Sum>
DEVICE void predict(const ChannelGate& p, const Sum* parts, Sum* saliency, Sum* means) {
  const typename Gate::Weight* phi = static_cast<const typename Gate::Weight*>(p.phi);
  for (int i = threadIdx.x; i < p.c_in; i += GATE_THREADS) {
    Sum total = 0;
    for (int part = 0; part < p.parts; ++part) total += parts[size_t(part) * p.c_in + i];
    means[i] = Gate::mean(p, total);
  }
  synchronize();
  for (int channel = blockIdx.x * GATE_WARPS + threadIdx.x / 32; channel < p.channels; channel += p.parts * GATE_WARPS) {
    Sum sum = 0;
    for (int i = threadIdx.x % 32; i < p.c_in; i += 32) sum += means[i] * phi[size_t(channel) * p.c_in + i];
    sum = sum_over_warp(sum) + static_cast<const Sum*>(p.rho)[channel];
    if (threadIdx.x % 32 == 0) saliency[channel] = sum > 0 ? sum : 0;
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
  const int sample = blockIdx.y;
  Sum* shared = reinterpret_cast<Sum*>(shared_memory());
  Sum* parts = static_cast<Sum*>(p.scratch) + size_t(sample) * (size_t(p.parts) * p.c_in + p.channels);
  Sum* saliency = parts + size_t(p.parts) * p.c_in;
  sum_pixels<Gate>(p, sample, parts + size_t(blockIdx.x) * p.c_in, shared);
  synchronize_grid(p.counters + sample, p.counters + p.batch + sample, p.parts);
  predict<Gate>(p, parts, saliency, shared);
  if (!is_last_block(p.counters + 2 * p.batch + sample, p.parts)) return;
  const int groups = p.channels / p.granularity;
  pick_winners<Gate>(p, sample, saliency, shared, reinterpret_cast<int*>(shared + groups));
}

}  // namespace espalier
