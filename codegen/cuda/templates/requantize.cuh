// What follows the int32 sums of a quantized layer, as core/integer.py defines it, for 8 neighbouring output channels of
// a pixel; every integer is the reference's, bit for bit.
#pragma once
#include "layer.cuh"

namespace espalier {

struct ByteEpilogue {
  const int* bias;                // [channels], the input's zero point folded in where the kernel sums x itself
  const int* multiplier;          // [channels], or null if `scale` takes its place
  const float* scale;             // [channels]: of real numbers, or multiplier / 2^shift of a `fused` layer
  const unsigned char* pi;        // [batch, pi_channels], or null
  const unsigned char* residual;  // as y, or null
  void* y;                        // [batch, height, width, channels], bytes, or float if `is_real`
  int channels, pi_channels, gate;
  int is_real, fused;  // fused: one multiply-add in float32 rounds to the same integer (see kernels/epilogue.py)
  int shift, zero, low, high, lost;  // lost: what a channel that rests has, but for a residual
  int residual_zero, own, other, residual_shift, is_limited, least, most, pi_shift;
};

// v * m / 2^s to the nearest integer, ties to even (core/integer.py).
DEVICE int64_t rescaled(int64_t v, int64_t m, int s) {
  int64_t product = v * m;
  if (s == 0) return product;
  return (product + ((int64_t(1) << (s - 1)) - 1) + (product >> s & 1)) >> s;
}

DEVICE bool boosts_inside(const ByteEpilogue& e) { return e.pi && (e.gate == BRANCH || !e.residual); }

// The rescaled sum with the residual, boosted, and within its limits.
DEVICE int joined(const ByteEpilogue& e, int64_t total, int pi, int residual) {
  if (e.residual) {
    if (e.is_limited) total = total < e.least ? e.least : total > e.most ? e.most : total;
    total = rescaled(total * e.own + int64_t(residual - e.residual_zero) * e.other, 1, e.residual_shift);
    if (e.pi && e.gate == OUTPUT) total = rescaled(total > 0 ? total : 0, pi, e.pi_shift);
  }
  total += e.zero;
  return int(total < e.low ? e.low : total > e.high ? e.high : total);
}

// The sum times an exact factor, rounded once: added to 1.5 * 2^23, its last bit counts ones and ties go to even. What
// is far outside of the limits is cut, so that no later sum overflows.
DEVICE int rounded_by_addition(int sum, float factor) {
  constexpr int MAGIC_BITS = 0x4B400000, MOST = 1 << 21;
  int bits = bits_of(multiply_add(float(sum), factor, 12582912.f));
  return (bits < MAGIC_BITS - MOST ? MAGIC_BITS - MOST : bits > MAGIC_BITS + MOST ? MAGIC_BITS + MOST : bits) - MAGIC_BITS;
}

DEVICE void load_bytes(int (&out)[GROUP], const unsigned char* source) {
  uint2 raw = *reinterpret_cast<const uint2*>(source);
  UNROLL for (int i = 0; i < GROUP; ++i) out[i] = int((i < 4 ? raw.x : raw.y) >> 8 * (i % 4) & 255);
}
DEVICE void store_bytes(const int (&values)[GROUP], unsigned char* target) {
  uint2 raw{0, 0};
  UNROLL for (int i = 0; i < GROUP; ++i) (i < 4 ? raw.x : raw.y) |= uint32_t(values[i]) << 8 * (i % 4);
  *reinterpret_cast<uint2*>(target) = raw;
}

// sums: of the products, for channels channel .. channel + 7 of pixel `pixel` (counted over the batch).
DEVICE void finish_group(const ByteEpilogue& e, int (&sums)[GROUP], int sample, int pixel, int channel) {
  size_t index = size_t(pixel) * e.channels + channel;
  int start[GROUP], pi[GROUP], residual[GROUP];
  load_sums(start, e.bias + channel);
  UNROLL for (int i = 0; i < GROUP; ++i) sums[i] += start[i], pi[i] = 1, residual[i] = e.residual_zero;
  if (e.pi) load_bytes(pi, e.pi + size_t(sample) * e.pi_channels + channel);
  if (e.residual) load_bytes(residual, e.residual + index);
  const bool boosts = boosts_inside(e);
  if (e.scale) {
    float scale[GROUP];
    load_sums(scale, e.scale + channel);
    if (e.is_real) {
      float real[GROUP];
      UNROLL for (int i = 0; i < GROUP; ++i) real[i] = float(sums[i]) * scale[i];
      store_group(real, e.y, false, index);
      return;
    }
    UNROLL for (int i = 0; i < GROUP; ++i) sums[i] = rounded_by_addition(sums[i], boosts ? scale[i] * pi[i] : scale[i]);
    UNROLL for (int i = 0; i < GROUP; ++i) sums[i] = joined(e, sums[i], pi[i], residual[i]);
  } else {
    int factor[GROUP];
    load_sums(factor, e.multiplier + channel);
    UNROLL for (int i = 0; i < GROUP; ++i)
      sums[i] = joined(e, rescaled(sums[i], factor[i] * (boosts ? pi[i] : 1), e.shift), pi[i], residual[i]);
  }
  store_bytes(sums, static_cast<unsigned char*>(e.y) + index);
}

// Adds how far the bytes of a finished group are from their zero point.
DEVICE void add_distances(const ByteEpilogue& e, int (&total)[GROUP], const int (&values)[GROUP]) {
  UNROLL for (int i = 0; i < GROUP; ++i) total[i] += values[i] < e.zero ? e.zero - values[i] : values[i] - e.zero;
}

DEVICE void finish_resting_group(const ByteEpilogue& e, int64_t group) {
  int values[GROUP];
  UNROLL for (int i = 0; i < GROUP; ++i) values[i] = e.lost;
  if (e.residual && e.gate == BRANCH) {
    load_bytes(values, e.residual + group * GROUP);
    UNROLL for (int i = 0; i < GROUP; ++i) values[i] = joined(e, 0, 0, values[i]);
  }
  store_bytes(values, static_cast<unsigned char*>(e.y) + group * GROUP);
}

}  // namespace espalier
