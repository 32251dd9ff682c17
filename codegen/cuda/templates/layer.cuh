// What follows the products of a layer, as core/layers.py defines it, for 8 neighbouring output channels of a pixel.
#pragma once
#include "device.cuh"

namespace espalier {

constexpr int GROUP = 8;  // channels that a thread finishes at once: 16 bytes in half precision

enum Gate : int { NO_GATE = 0, BRANCH = 1, OUTPUT = 2 };
enum Activation : int { LINEAR = 0, RELU = 1, CLIP = 2 };

struct Epilogue {
  const float* bias;     // [channels], or null
  const float* pi;       // [batch, channels], or null
  const void* residual;  // as y, of residual_is_half, or null
  void* y;               // [batch, height, width, channels]
  int channels;          // of y as stored
  int gate, activation;
  float low, high;
  int residual_is_half, y_is_half;
};

DEVICE void load_group(float (&out)[GROUP], const void* source, bool is_half, size_t index) {
  if (is_half) {
    uint4 raw = *reinterpret_cast<const uint4*>(static_cast<const half_t*>(source) + index);
    const half_t* values = reinterpret_cast<const half_t*>(&raw);
    UNROLL for (int i = 0; i < GROUP; ++i) out[i] = to_float(values[i]);
  } else {
    const float4* from = reinterpret_cast<const float4*>(static_cast<const float*>(source) + index);
    float4 first = from[0], second = from[1];
    out[0] = first.x, out[1] = first.y, out[2] = first.z, out[3] = first.w;
    out[4] = second.x, out[5] = second.y, out[6] = second.z, out[7] = second.w;
  }
}

DEVICE void store_group(const float (&values)[GROUP], void* target, bool is_half, size_t index) {
  if (is_half) {
    uint4 raw;
    half_t* out = reinterpret_cast<half_t*>(&raw);
    UNROLL for (int i = 0; i < GROUP; ++i) out[i] = to_half(values[i]);
    *reinterpret_cast<uint4*>(static_cast<half_t*>(target) + index) = raw;
  } else {
    float4* out = reinterpret_cast<float4*>(static_cast<float*>(target) + index);
    out[0] = float4{values[0], values[1], values[2], values[3]};
    out[1] = float4{values[4], values[5], values[6], values[7]};
  }
}

template <typename Number>
DEVICE void load_sums(Number (&out)[GROUP], const Number* source) {  // 4 bytes each
  UNROLL for (int i = 0; i < GROUP; i += 4) {
    uint4 raw = *reinterpret_cast<const uint4*>(source + i);
    memcpy(out + i, &raw, sizeof raw);
  }
}

template <typename Number>
DEVICE void store_pair(Number* target, Number first, Number second) {  // 4 bytes each, in one store
  uint2 raw;
  memcpy(&raw.x, &first, 4), memcpy(&raw.y, &second, 4);
  *reinterpret_cast<uint2*>(target) = raw;
}

DEVICE int clamped(int index, int limit) { return index < 0 ? 0 : index >= limit ? limit - 1 : index; }

// Channels of a tensor that are read, for each sample: groups of neighbours, or all channels.
struct ChannelList {
  const int* groups;       // [batch, count], or null for all channels
  int count, size, limit;  // size: channels of a group; limit: groups of the tensor
};

// The channel at a position of a sample's list. A number that is no group's is never followed.
DEVICE int listed_channel(const ChannelList& list, int sample, int position) {
  if (!list.groups) return position;
  int group = clamped(list.groups[sample * list.count + position / list.size], list.limit);
  return group * list.size + position % list.size;
}

DEVICE float activated(const Epilogue& e, float value) {
  if (e.activation == RELU) return value > 0.f ? value : 0.f;
  if (e.activation == CLIP) return value < e.low ? e.low : value > e.high ? e.high : value;
  return value;
}

// sums: of the products, for channels channel .. channel + 7 of pixel `pixel` (counted over the batch).
DEVICE void finish_group(const Epilogue& e, float (&sums)[GROUP], int sample, int pixel, int channel) {
  size_t index = size_t(pixel) * e.channels + channel;
  float other[GROUP], factor[GROUP];
  if (e.bias) {
    load_group(other, e.bias, false, channel);
    UNROLL for (int i = 0; i < GROUP; ++i) sums[i] += other[i];
  }
  if (e.pi) load_group(factor, e.pi, false, size_t(sample) * e.channels + channel);
  if (e.gate == BRANCH) UNROLL for (int i = 0; i < GROUP; ++i) sums[i] *= factor[i];
  if (e.residual) {
    load_group(other, e.residual, e.residual_is_half, index);
    UNROLL for (int i = 0; i < GROUP; ++i) sums[i] += other[i];
  }
  UNROLL for (int i = 0; i < GROUP; ++i) sums[i] = activated(e, sums[i]);
  if (e.gate == OUTPUT) UNROLL for (int i = 0; i < GROUP; ++i) sums[i] *= factor[i];
  store_group(sums, e.y, e.y_is_half, index);
}

// Adds how far the values of a finished group are from zero, as they are stored.
DEVICE void add_distances(const Epilogue& e, float (&total)[GROUP], const float (&values)[GROUP]) {
  UNROLL for (int i = 0; i < GROUP; ++i) {
    float stored = e.y_is_half ? to_float(to_half(values[i])) : values[i];
    total[i] += stored < 0.f ? -stored : stored;
  }
}

// What the channels have that a list leaves out: act(residual) if the gate is on the branch that is added, else zeros.
DEVICE void finish_resting_group(const Epilogue& e, int64_t group) {
  float values[GROUP] = {};
  if (e.residual && e.gate == BRANCH) {
    load_group(values, e.residual, e.residual_is_half, group * GROUP);
    UNROLL for (int k = 0; k < GROUP; ++k) values[k] = activated(e, values[k]);
  }
  store_group(values, e.y, e.y_is_half, group * GROUP);
}

template <typename End>
KERNEL void __launch_bounds__(256) finish_resting(const End e, int64_t groups) {
  for (int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x; i < groups; i += int64_t(gridDim.x) * 256)
    finish_resting_group(e, i);
}

}  // namespace espalier
