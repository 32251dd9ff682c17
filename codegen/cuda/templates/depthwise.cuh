// Depthwise convolution on [N, H, W, C]: a thread sums the taps of 8 channels for COLUMNS neighbouring output pixels,
// dense or over its input's list.
#pragma once
#include "requantize.cuh"

namespace espalier {

constexpr int DEPTHWISE_THREADS = 128, DEPTHWISE_COLUMNS = 2;

struct Depthwise {
  const void* x;
  const void* weight;  // [taps, channels]
  const int* winners;  // [batch, winners_count] groups of winners_group channels, or null
  int batch, height, width, x_channels, channels, out_height, out_width;  // x_channels: of x as stored
  int taps_down, taps_across, stride_down, stride_across, top, left, dilation_down, dilation_across;
  int winners_count, winners_group, winners_limit, is_half, x_zero;
};

struct RealTaps {
  using Sum = float;
  using End = Epilogue;
  static DEVICE void load_x(float (&out)[GROUP], const Depthwise& p, size_t index) { load_group(out, p.x, p.is_half, index); }
  static DEVICE void load_weight(float (&out)[GROUP], const Depthwise& p, size_t index) {
    load_group(out, p.weight, p.is_half, index);
  }
};
struct ByteTaps {
  using Sum = int;
  using End = ByteEpilogue;
  static DEVICE void load_x(int (&out)[GROUP], const Depthwise& p, size_t index) {
    load_bytes(out, static_cast<const unsigned char*>(p.x) + index);
    UNROLL for (int i = 0; i < GROUP; ++i) out[i] -= p.x_zero;
  }
  static DEVICE void load_weight(int (&out)[GROUP], const Depthwise& p, size_t index) {
    load_bytes(out, static_cast<const unsigned char*>(p.weight) + index);
    UNROLL for (int i = 0; i < GROUP; ++i) out[i] = static_cast<signed char>(out[i]);
  }
};

DEVICE int depthwise_channel(const Depthwise& p, int sample, int number) {
  if (!p.winners) return number * GROUP;
  int groups = p.winners_group / GROUP;
  int listed = clamped(p.winners[sample * p.winners_count + number / groups], p.winners_limit);
  return listed * p.winners_group + number % groups * GROUP;
}

template <typename Taps>
KERNEL void __launch_bounds__(DEPTHWISE_THREADS) depthwise(const Depthwise p, const typename Taps::End e) {
  using Number = typename Taps::Sum;
  const int groups = (p.winners ? p.winners_count * p.winners_group : p.channels) / GROUP;
  const int across = (p.out_width + DEPTHWISE_COLUMNS - 1) / DEPTHWISE_COLUMNS;
  int64_t index = int64_t(blockIdx.x) * DEPTHWISE_THREADS + threadIdx.x;
  if (index >= int64_t(p.batch) * p.out_height * across * groups) return;
  const int number = int(index % groups), column0 = int(index / groups % across) * DEPTHWISE_COLUMNS;
  const int line = int(index / groups / across), sample = line / p.out_height, out_row = line % p.out_height;
  const int channel = depthwise_channel(p, sample, number);
  Number sums[DEPTHWISE_COLUMNS][GROUP] = {};
  for (int down = 0; down < p.taps_down; ++down) {
    int row = out_row * p.stride_down - p.top + down * p.dilation_down;
    if (row < 0 || row >= p.height) continue;
    for (int tap = 0; tap < p.taps_across; ++tap) {
      Number factors[GROUP];
      Taps::load_weight(factors, p, size_t(down * p.taps_across + tap) * p.channels + channel);
      UNROLL for (int i = 0; i < DEPTHWISE_COLUMNS; ++i) {
        int column = (column0 + i) * p.stride_across - p.left + tap * p.dilation_across;
        if (column < 0 || column >= p.width || column0 + i >= p.out_width) continue;
        Number values[GROUP];
        Taps::load_x(values, p, (size_t(sample * p.height + row) * p.width + column) * p.x_channels + channel);
        UNROLL for (int k = 0; k < GROUP; ++k) sums[i][k] += values[k] * factors[k];
      }
    }
  }
  UNROLL for (int i = 0; i < DEPTHWISE_COLUMNS; ++i)
    if (column0 + i < p.out_width) finish_group(e, sums[i], sample, line * p.out_width + column0 + i, channel);
}

}  // namespace espalier
