// A channel gate in one launch: means of |x|, predictor, k winners (core/layers.py, ChannelGateSpec).
//
// The blocks of a sample first share its pixels, then its output channels; the last one picks the winners. They wait for
// each other in between, so the launch is cooperative. Sums are in a fixed order: the same input gives the same winners.
#pragma once
#include "layer.cuh"

namespace espalier {

constexpr int GATE_THREADS = 256, GATE_WARPS = GATE_THREADS / 32;

struct ChannelGate {
  const void* x;        // [batch, pixels, x_channels]
  const float* phi;     // [channels, c_in], transposed, so that a warp reads along c_in
  const float* rho;     // [channels]
  const int* active;    // [batch, active_count] groups of active_group channels of x, or null
  int* counters;        // [3, batch]: arrivals and generation of the barrier, arrivals at the end; zero before
  float* pi;            // [batch, channels]
  int* winners;         // [batch, kept], ascending
  float* scratch;       // [batch, parts * c_in + channels]
  int batch, pixels, x_channels, c_in, channels, granularity, kept, is_select, x_is_half, parts;
  int active_count, active_group, active_limit;
};

// The first channel of group `number` among those that are read.
DEVICE int read_channel(const ChannelGate& p, int sample, int number) {
  if (!p.active) return number * GROUP;
  int groups = p.active_group / GROUP, listed = p.active[sample * p.active_count + number / groups];
  listed = listed < 0 ? 0 : listed >= p.active_limit ? p.active_limit - 1 : listed;
  return listed * p.active_group + number % groups * GROUP;
}

// Sums of |x| over this block's pixels to sums[c_in], which is zero where nothing is read.
DEVICE void sum_pixels(const ChannelGate& p, int sample, float* sums, float* shared) {
  const int groups = p.active ? p.active_count * p.active_group / GROUP : p.x_channels / GROUP;
  const int first = int(int64_t(p.pixels) * blockIdx.x / p.parts), last = int(int64_t(p.pixels) * (blockIdx.x + 1) / p.parts);
  for (int i = threadIdx.x; i < p.c_in; i += GATE_THREADS) sums[i] = 0.f;
  const int together = groups < GATE_THREADS ? groups : GATE_THREADS, lanes = GATE_THREADS / together;
  for (int group0 = 0; group0 < groups; group0 += together) {
    int group = group0 + threadIdx.x % together, lane = threadIdx.x / together;
    bool reads = group < groups && lane < lanes;
    int channel = reads ? read_channel(p, sample, group) : 0;
    float mine[GROUP] = {};
    for (int pixel = first + lane; reads && pixel < last; pixel += lanes) {
      float values[GROUP];
      load_group(values, p.x, p.x_is_half, (size_t(sample) * p.pixels + pixel) * p.x_channels + channel);
      UNROLL for (int i = 0; i < GROUP; ++i) mine[i] += values[i] < 0.f ? -values[i] : values[i];
    }
    UNROLL for (int i = 0; i < GROUP; ++i) shared[threadIdx.x * GROUP + i] = mine[i];
    synchronize();
    if (reads && lane == 0)
      UNROLL for (int i = 0; i < GROUP; ++i) {
        float total = 0.f;
        for (int other = 0; other < lanes; ++other) total += shared[(other * together + threadIdx.x) * GROUP + i];
        if (channel + i < p.c_in) sums[channel + i] = total;
      }
    synchronize();
  }
}

// relu(mean|x| phi + rho) for this block's share of the output channels; `means` is shared memory of c_in floats.
DEVICE void predict(const ChannelGate& p, const float* parts, float* saliency, float* means) {
  for (int i = threadIdx.x; i < p.c_in; i += GATE_THREADS) {
    float total = 0.f;
    for (int part = 0; part < p.parts; ++part) total += parts[size_t(part) * p.c_in + i];
    means[i] = total / float(p.pixels);
  }
  synchronize();
  for (int channel = blockIdx.x * GATE_WARPS + threadIdx.x / 32; channel < p.channels; channel += p.parts * GATE_WARPS) {
    float sum = 0.f;
    for (int i = threadIdx.x % 32; i < p.c_in; i += 32) sum += means[i] * p.phi[size_t(channel) * p.c_in + i];
    sum = sum_over_warp(sum) + p.rho[channel];
    if (threadIdx.x % 32 == 0) saliency[channel] = sum > 0.f ? sum : 0.f;
  }
}

// The groups with the largest sums; a tie goes to the lower number.
DEVICE void pick_winners(const ChannelGate& p, int sample, const float* saliency, float* score, int* keeps) {
  const int groups = p.channels / p.granularity;
  for (int group = threadIdx.x; group < groups; group += GATE_THREADS) {
    float total = 0.f;
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
    float factor = p.is_select ? 1.f : saliency[channel];
    p.pi[size_t(sample) * p.channels + channel] = keeps[channel / p.granularity] ? factor : 0.f;
  }
}

KERNEL void __launch_bounds__(GATE_THREADS) channel_gate(const ChannelGate p) {
  const int sample = blockIdx.y;
  float* shared = reinterpret_cast<float*>(shared_memory());
  float* parts = p.scratch + size_t(sample) * (size_t(p.parts) * p.c_in + p.channels);
  float* saliency = parts + size_t(p.parts) * p.c_in;
  sum_pixels(p, sample, parts + size_t(blockIdx.x) * p.c_in, shared);
  synchronize_grid(p.counters + sample, p.counters + p.batch + sample, p.parts);
  predict(p, parts, saliency, shared);
  if (!is_last_block(p.counters + 2 * p.batch + sample, p.parts)) return;
  const int groups = p.channels / p.granularity;
  pick_winners(p, sample, saliency, shared, reinterpret_cast<int*>(shared + groups));
}

}  // namespace espalier
