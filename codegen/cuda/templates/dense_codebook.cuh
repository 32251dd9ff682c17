// A dense layer of bytes whose weights are 4-bit codes of a table of 16 levels, decoded in registers.
//
// A warp computes ROWS output channels; a lane takes 32 neighbouring codes of each at a time, 16 bytes. x lies in shared
// memory, first halves of all chunks before second halves: what 8 lanes load at once lies in different banks. A code selects one of 16 bytes by three byte permutations for four codes: of the lower table, of the upper
// one, and between the two by the code's highest bit.
#pragma once
#include "requantize.cuh"

namespace espalier {

constexpr int CODES = 32, CODEBOOK_THREADS = 256, CODEBOOK_ROWS = 4, CODEBOOK_WARPS = CODEBOOK_THREADS / 32;

struct DenseCodebook {
  const unsigned char* x;   // [batch, depth]
  const uint4* codes;       // [channels, chunks]: code k of a chunk in bits 4k
  const int* table;         // [4]: 16 levels, s8
  const int* bias;          // [channels], the input's zero point folded in
  const int* multiplier;    // [channels], or null
  const float* scale;       // [channels], or null
  void* y;                  // [batch, channels], float with `scale`, else u8
  int batch, depth, chunks, channels, shift, zero, low, high;
};

DEVICE uint32_t levels_of(const int (&table)[4], uint32_t codes) {  // four codes in the lower 16 bits
  uint32_t within = codes & 0x7777u;
  uint32_t lower = select_bytes(table[0], table[1], within), upper = select_bytes(table[2], table[3], within);
  return select_bytes(lower, upper, 0x3210u + (codes >> 1 & 0x4444u));
}

// Where byte i of x lies.
DEVICE constexpr int place_of_byte(int i, int chunks) {
  constexpr int HALF = CODES / 2;
  return (i / HALF % 2 * chunks + i / CODES) * HALF + i % HALF;
}

// x up to `depth`, zeros from there to the end of the last chunk.
DEVICE void load_row(unsigned char* x, const unsigned char* from, int depth, int chunks) {
  constexpr int WIDE = sizeof(uint4);
  const int end = chunks * CODES;
  if ((reinterpret_cast<uintptr_t>(from) | depth) % WIDE == 0) {
    for (int i = threadIdx.x * WIDE; i < end; i += CODEBOOK_THREADS * WIDE)
      *reinterpret_cast<uint4*>(x + place_of_byte(i, chunks)) =
          i < depth ? *reinterpret_cast<const uint4*>(from + i) : uint4{0, 0, 0, 0};
  } else {
    for (int i = threadIdx.x; i < end; i += CODEBOOK_THREADS) x[place_of_byte(i, chunks)] = i < depth ? from[i] : 0;
  }
}

KERNEL void __launch_bounds__(CODEBOOK_THREADS) dense_codebook(const DenseCodebook p) {
  unsigned char* x = shared_memory();
  const int sample = blockIdx.x, lane = threadIdx.x % 32;
  load_row(x, p.x + size_t(sample) * p.depth, p.depth, p.chunks);
  const int table[4] = {p.table[0], p.table[1], p.table[2], p.table[3]};
  synchronize();
  const int first = (blockIdx.y * CODEBOOK_WARPS + threadIdx.x / 32) * CODEBOOK_ROWS;
  int sums[CODEBOOK_ROWS] = {};
  for (int chunk = lane; chunk < p.chunks; chunk += 32) {
    uint4 left = *reinterpret_cast<const uint4*>(x + place_of_byte(chunk * CODES, p.chunks));
    uint4 right = *reinterpret_cast<const uint4*>(x + place_of_byte(chunk * CODES + CODES / 2, p.chunks));
    const uint32_t bytes[8] = {left.x, left.y, left.z, left.w, right.x, right.y, right.z, right.w};
    uint4 codes[CODEBOOK_ROWS];
    UNROLL for (int row = 0; row < CODEBOOK_ROWS; ++row) {
      int channel = first + row < p.channels ? first + row : p.channels - 1;
      codes[row] = load_streaming(p.codes + size_t(channel) * p.chunks + chunk);
    }
    UNROLL for (int row = 0; row < CODEBOOK_ROWS; ++row) {
      const uint32_t words[4] = {codes[row].x, codes[row].y, codes[row].z, codes[row].w};
      UNROLL for (int i = 0; i < 4; ++i) {
        sums[row] = dot_u8_s8(bytes[2 * i], levels_of(table, words[i]), sums[row]);
        sums[row] = dot_u8_s8(bytes[2 * i + 1], levels_of(table, words[i] >> 16), sums[row]);
      }
    }
  }
  UNROLL for (int row = 0; row < CODEBOOK_ROWS; ++row) {
    int sum = sum_over_warp(sums[row]), channel = first + row;
    if (lane || channel >= p.channels) continue;
    sum += p.bias[channel];
    size_t index = size_t(sample) * p.channels + channel;
    if (p.scale) {
      static_cast<float*>(p.y)[index] = float(sum) * p.scale[channel];
    } else {
      int64_t total = rescaled(sum, p.multiplier[channel], p.shift) + p.zero;
      static_cast<unsigned char*>(p.y)[index] =
          static_cast<unsigned char>(total < p.low ? p.low : total > p.high ? p.high : total);
    }
  }
}

}  // namespace espalier
