// Convolution as an implicit matrix product on the tensor cores, dense or over channel lists, dense layers included.
//
// Rows are output pixels, columns output channels, the depth is every tap times every (listed) input channel in chunks
// of 16 bytes, which is what one thread copies to shared memory at a time. x lies as [N, H, W, C], the weight as
// [C_out, R, S, C]; C is padded so that a pixel is whole chunks. Bytes may be copied in pieces of 8, so that lists of 8
// channels can be followed, too. With lists, every sample has its own: a block takes its
// rows from one sample, chunks go through that sample's list of input channels, weight rows through its winners.
// At small batches the depth is cut among blockIdx.y; the last block to arrive adds the parts up in a fixed order.
// blockIdx.x counts tiles, those of the same rows first: a grid is as long as need be, but no higher than 65535.
// For a gate that reads y, a block leaves behind what its pixels add to the sum of each of its channels' distances.
#pragma once
#include "requantize.cuh"

namespace espalier {

constexpr int CHUNK = 16;          // bytes
constexpr int DEPTH_CHUNKS = 8;    // of a row of a tile: 128 bytes, all banks of shared memory
constexpr int MOST_PIECES = 1024;  // of one tap: what is copied at a time, a chunk or half of one
constexpr unsigned short NOTHING = 0xFFFF;
constexpr int NOWHERE = -(1 << 30);  // a row that no tap brings into an image

struct Convolution {
  const unsigned char* x;
  const unsigned char* weight;
  const int* winners;  // [batch, winners_count] groups of winners_group channels, or null
  const int* active;   // [batch, active_count] groups of active_group channels, or null
  const unsigned char* outside;  // a chunk of what surrounds the image, or null for zeros
  void* partial;       // sums [tiles, splits, rows * columns] of a tile, if splits > 1
  int* arrivals;       // [tiles], zero before and after
  void* sums;          // [batch, tiles_of_sample, out_channels] sums of distances from zero, or null
  int batch, height, width, x_chunks;  // of the input; chunks of a pixel
  int out_height, out_width, out_channels;
  int taps_down, taps_across, stride_down, stride_across, top, left, dilation_down, dilation_across;
  int winners_count, winners_group, winners_limit;  // limit: groups of the layer
  int active_count, active_group_pieces, active_limit;
  int splits, tiles_across, tiles_of_sample;
};

template <int Rows_, int Columns_, int WarpsDown_, int WarpsAcross_, int Stages_>
struct Tile {
  static constexpr int ROWS = Rows_, COLUMNS = Columns_, DOWN = WarpsDown_, ACROSS = WarpsAcross_, STAGES = Stages_;
  static constexpr int THREADS = 32 * DOWN * ACROSS;
  static constexpr int STAGE_BYTES = (ROWS + COLUMNS) * DEPTH_CHUNKS * CHUNK;
  static constexpr int SUM_STRIDE = COLUMNS + 8;  // floats; the padding spreads 4 rows of 4 pairs over all banks
  static constexpr int PIPELINE_BYTES = STAGES * STAGE_BYTES, SUM_BYTES = ROWS * SUM_STRIDE * 4;
  static constexpr int TABLE_BYTES = MOST_PIECES * 2;
  static_assert(THREADS % (COLUMNS / GROUP) == 0, "a thread finishes the same channels of several pixels");
  static_assert(THREADS * GROUP * 4 <= SUM_BYTES, "the sums of every thread have room");
  static constexpr int SHARED_BYTES = (PIPELINE_BYTES > SUM_BYTES ? PIPELINE_BYTES : SUM_BYTES) + TABLE_BYTES;
};

// Where chunk `chunk` of row `row` of a tile lies: rotated, so that 8 rows of one chunk lie in different banks.
DEVICE int place(int row, int chunk) { return (row * DEPTH_CHUNKS + (chunk ^ (row % DEPTH_CHUNKS))) * CHUNK; }

DEVICE bool within(int index, int limit) { return unsigned(index) < unsigned(limit); }

// Output channel of column `column` among those that run, -1 beyond the last one.
DEVICE int channel_of(const Convolution& p, int sample, int column) {
  if (!p.winners) return column < p.out_channels ? column : -1;
  int position = column / p.winners_group;
  if (position >= p.winners_count) return -1;
  int group = clamped(p.winners[sample * p.winners_count + position], p.winners_limit);
  return group * p.winners_group + column % p.winners_group;
}

template <typename Numbers, typename T>
struct TileLoader {
  static constexpr int PIECE = Numbers::PIECE, PIECES = CHUNK / PIECE;  // of a chunk
  static constexpr int A_COPIES = T::ROWS * DEPTH_CHUNKS / T::THREADS, B_COPIES = T::COLUMNS * DEPTH_CHUNKS / T::THREADS;
  static constexpr int STEP = T::THREADS / DEPTH_CHUNKS;  // rows between two copies of a thread
  static constexpr int STEP_BYTES = STEP * DEPTH_CHUNKS * CHUNK;
  static_assert(STEP % DEPTH_CHUNKS == 0, "chunks of all rows of a thread are rotated alike");

  const Convolution& p;
  const unsigned short* table;
  int chunk, listed, position, down, across;  // the chunk of the tap (down, across) that is loaded next
  int first_row[A_COPIES], first_column[A_COPIES];  // input pixel of tap (0, 0); far above where there is no output
  int first_chunk[A_COPIES];                        // of x, in that pixel
  int weight_chunk[B_COPIES];                       // the first one of a channel's weight, -1 where there is no channel
  uint4 held[COPIES_ASYNC ? 1 : A_COPIES + B_COPIES];  // what was fetched and is not put down yet

  DEVICE TileLoader(const Convolution& p, const unsigned short* table, int listed, int first_pixel, int last_pixel,
                    int sample, int column0, int depth0)
      : p(p), table(table), chunk(threadIdx.x % DEPTH_CHUNKS), listed(listed) {
    int start = depth0 * DEPTH_CHUNKS + chunk, tap = start / listed;
    position = start % listed, down = tap / p.taps_across, across = tap % p.taps_across;
    UNROLL for (int i = 0; i < A_COPIES; ++i) {
      int row = threadIdx.x / DEPTH_CHUNKS + i * STEP, number = first_pixel + row;
      bool valid = number < last_pixel;
      number = valid ? number : 0;
      int of_sample = p.out_height * p.out_width, n = number / of_sample, rest = number % of_sample;
      int line = rest / p.out_width * p.stride_down - p.top;
      first_row[i] = valid ? line : NOWHERE;
      first_column[i] = rest % p.out_width * p.stride_across - p.left;
      first_chunk[i] = ((n * p.height + line) * p.width + first_column[i]) * p.x_chunks;
    }
    UNROLL for (int i = 0; i < B_COPIES; ++i) {
      int channel = channel_of(p, sample, column0 + threadIdx.x / DEPTH_CHUNKS + i * STEP);
      weight_chunk[i] = channel < 0 ? -1 : channel * p.taps_down * p.taps_across * p.x_chunks;
    }
  }

  // Copies a piece of chunk `number` of this thread, or fetches it.
  DEVICE void copy(int number, unsigned char* to, int piece, const unsigned char* from, bool valid) {
    if constexpr (COPIES_ASYNC) {
      copy_async<PIECE>(to + piece * PIECE, from, valid);
    } else if constexpr (PIECES == 1) {
      held[number] = valid ? *reinterpret_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
    } else {
      uint2 half = valid ? *reinterpret_cast<const uint2*>(from) : uint2{0, 0};
      if (piece == 0) held[number].x = half.x, held[number].y = half.y;
      else held[number].z = half.x, held[number].w = half.y;
    }
  }

  // Puts down what `load` fetched for this stage, where copies are not asynchronous.
  DEVICE void put_down(unsigned char* stage) {
    if constexpr (!COPIES_ASYNC) {
      const int row0 = threadIdx.x / DEPTH_CHUNKS;
      UNROLL for (int i = 0; i < A_COPIES + B_COPIES; ++i) {
        int row = row0 + (i < A_COPIES ? i : i - A_COPIES) * STEP;
        unsigned char* side = stage + (i < A_COPIES ? 0 : T::ROWS * DEPTH_CHUNKS * CHUNK);
        *reinterpret_cast<uint4*>(side + place(row, chunk)) = held[i];
      }
    }
  }

  // Starts the copies of one tile of the depth and moves on to the next.
  DEVICE void load(unsigned char* stage) {
    bool inside = down < p.taps_down, exists[PIECES];
    int numbers[PIECES], rows = down * p.dilation_down, columns = across * p.dilation_across;
    int moved = (rows * p.width + columns) * p.x_chunks, tap = (down * p.taps_across + across) * p.x_chunks;
    unsigned char* to = stage + place(threadIdx.x / DEPTH_CHUNKS, chunk);
    UNROLL for (int k = 0; k < PIECES; ++k) {
      int number = inside ? table[position * PIECES + k] : NOTHING;
      exists[k] = number != NOTHING;
      numbers[k] = exists[k] ? number : 0;
    }
    UNROLL for (int i = 0; i < A_COPIES; ++i) {
      bool valid = inside && within(first_row[i] + rows, p.height) && within(first_column[i] + columns, p.width);
      const bool replaced = Numbers::SURROUNDED && p.outside && !valid;
      UNROLL for (int k = 0; k < PIECES; ++k) {  // what meets no weight does not matter; what is not valid is not read
        const unsigned char* from = p.x + int64_t((first_chunk[i] + moved) * PIECES + numbers[k]) * PIECE;
        copy(i, to + i * STEP_BYTES, k, replaced ? p.outside : from, valid || replaced);
      }
    }
    to += T::ROWS * DEPTH_CHUNKS * CHUNK;
    UNROLL for (int i = 0; i < B_COPIES; ++i)
      UNROLL for (int k = 0; k < PIECES; ++k) {
        const unsigned char* from = p.weight + int64_t((weight_chunk[i] + tap) * PIECES + numbers[k]) * PIECE;
        copy(A_COPIES + i, to + i * STEP_BYTES, k, from, exists[k] && weight_chunk[i] >= 0);
      }
    commit_copies();
    for (position += DEPTH_CHUNKS; position >= listed; position -= listed)
      if (++across == p.taps_across) across = 0, ++down;
  }
};

// float32 by three products of tf32 numbers: x = high + low, and low * low is dropped. Tensor cores round what they add to
// an accumulator toward zero, which would grow with the depth: each instruction's depth is summed from zero, the small
// products first, and added to the sums by ordinary adds, which round to nearest (Ootomo and Yokota, Recovering single
// precision accuracy from Tensor Cores, 2022). One row of tiles at a time, so that few registers hold partial sums.
struct SplitFloat {
  using Products = Tf32Products;
  using End = Epilogue;
  static constexpr int PIECE = CHUNK;
  static constexpr bool SURROUNDED = false;
  template <int Rows, int Columns>
  static DEVICE void multiply(float (&c)[Rows][Columns][4], uint32_t (&a)[Rows][4], uint32_t (&b)[Columns][2]) {
    uint32_t b_low[Columns][2];
    UNROLL for (int j = 0; j < Columns; ++j) UNROLL for (int k = 0; k < 2; ++k) split(b[j][k], b_low[j][k]);
    UNROLL for (int i = 0; i < Rows; ++i) {
      uint32_t high[1][4], low[1][4];
      float part[1][Columns][4] = {};
      UNROLL for (int k = 0; k < 4; ++k) high[0][k] = a[i][k], split(high[0][k], low[0][k]);
      multiply_tiles<Products>(part, low, b);
      multiply_tiles<Products>(part, high, b_low);
      multiply_tiles<Products>(part, high, b);
      UNROLL for (int j = 0; j < Columns; ++j) UNROLL for (int k = 0; k < 4; ++k) c[i][j][k] += part[0][j][k];
    }
  }
  static DEVICE void split(uint32_t& high, uint32_t& low) {
    float whole, part;
    memcpy(&whole, &high, 4);
    high = Tf32Products::rounded(high);
    memcpy(&part, &high, 4);
    part = whole - part;
    memcpy(&low, &part, 4);
    low = Tf32Products::rounded(low);
  }
};
// Weights are tf32 numbers already, activations are rounded here.
struct RoundedFloat {
  using Products = Tf32Products;
  using End = Epilogue;
  static constexpr int PIECE = CHUNK;
  static constexpr bool SURROUNDED = false;
  template <int Rows, int Columns>
  static DEVICE void multiply(float (&c)[Rows][Columns][4], uint32_t (&a)[Rows][4], uint32_t (&b)[Columns][2]) {
    UNROLL for (int i = 0; i < Rows; ++i) UNROLL for (int j = 0; j < 4; ++j) a[i][j] = Tf32Products::rounded(a[i][j]);
    multiply_tiles<Products>(c, a, b);
  }
};
struct Half {
  using Products = HalfProducts;
  using End = Epilogue;
  static constexpr int PIECE = CHUNK;
  static constexpr bool SURROUNDED = false;
  template <int Rows, int Columns>
  static DEVICE void multiply(float (&c)[Rows][Columns][4], uint32_t (&a)[Rows][4], uint32_t (&b)[Columns][2]) {
    multiply_tiles<Products>(c, a, b);
  }
};

// u8 activations, s8 weights; Piece_: bytes that are copied at a time.
template <int Piece_>
struct Bytes {
  using Products = ByteProducts;
  using End = ByteEpilogue;
  static constexpr int PIECE = Piece_;
  static constexpr bool SURROUNDED = true;  // by a zero point
  template <int Rows, int Columns>
  static DEVICE void multiply(int (&c)[Rows][Columns][4], uint32_t (&a)[Rows][4], uint32_t (&b)[Columns][2]) {
    multiply_tiles<Products>(c, a, b);
  }
};

// The products of a tile of the depth. Two chunks, 32 bytes, are the depth of one matrix instruction.
template <typename Numbers, typename T, int Rows, int Columns>
DEVICE void multiply_stage(typename Numbers::Products::Sum (&sums)[Rows][Columns][4], const unsigned char* stage,
                           int warp_row, int warp_column) {
  const unsigned char* right = stage + T::ROWS * DEPTH_CHUNKS * CHUNK;
  UNROLL for (int step = 0; step < DEPTH_CHUNKS; step += 2) {
    uint32_t a[Rows][4], b[Columns][2];
    UNROLL for (int i = 0; i < Rows; ++i)
      load_matrices(a[i], [&](int lane) { return stage + place(warp_row + 16 * i + lane % 16, step + lane / 16); });
    UNROLL for (int j = 0; j < Columns; j += 2) {
      uint32_t both[4];
      load_matrices(both, [&](int lane) {
        return right + place(warp_column + 8 * j + lane / 16 * 8 + lane % 8, step + lane / 8 % 2);
      });
      b[j][0] = both[0], b[j][1] = both[1], b[j + 1][0] = both[2], b[j + 1][1] = both[3];
    }
    Numbers::multiply(sums, a, b);
  }
}

// Sums of a tile's rows, channel by channel, from those of its threads, in a fixed order; `shared` is free by then.
template <typename T, typename Sum>
DEVICE void store_distances(const Convolution& p, const Sum (&own)[GROUP], Sum* shared, int sample, int tile_row, int column0) {
  synchronize();
  UNROLL for (int i = 0; i < GROUP; ++i) shared[threadIdx.x * GROUP + i] = own[i];
  synchronize();
  for (int column = threadIdx.x; column < T::COLUMNS; column += T::THREADS) {
    int channel = channel_of(p, sample, column0 + column);
    if (channel < 0) continue;
    Sum total = 0;
    UNROLL for (int row = 0; row < T::THREADS * GROUP / T::COLUMNS; ++row) total += shared[row * T::COLUMNS + column];
    static_cast<Sum*>(p.sums)[size_t(tile_row) * p.out_channels + channel] = total;  // tile by tile of each sample
  }
}

template <typename Numbers, typename T>
KERNEL void __launch_bounds__(T::THREADS) conv2d(const Convolution p, const typename Numbers::End e) {
  using Sum = typename Numbers::Products::Sum;
  constexpr int PIECES = CHUNK / Numbers::PIECE;
  constexpr int ROWS = T::ROWS / T::DOWN / 16, COLUMNS = T::COLUMNS / T::ACROSS / 8;
  unsigned char* shared = shared_memory();
  unsigned short* table = reinterpret_cast<unsigned short*>(shared + T::SHARED_BYTES - T::TABLE_BYTES);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_row = warp / T::ACROSS * ROWS * 16, warp_column = warp % T::ACROSS * COLUMNS * 8;
  // the rows of this block: of one sample if there are lists or sums, else of the whole batch
  const bool by_sample = p.winners || p.active || p.sums;
  const int tile_row = blockIdx.x / p.tiles_across, column0 = blockIdx.x % p.tiles_across * T::COLUMNS;
  const int of_sample = p.out_height * p.out_width, sample = by_sample ? tile_row / p.tiles_of_sample : 0;
  const int first = sample * of_sample + (tile_row - sample * p.tiles_of_sample) * T::ROWS;
  const int last = by_sample ? (sample + 1) * of_sample : p.batch * of_sample;
  const int pieces = p.active ? p.active_count * p.active_group_pieces : p.x_chunks * PIECES;
  const int listed = (pieces + PIECES - 1) / PIECES;  // chunks
  for (int i = threadIdx.x; i < listed * PIECES; i += T::THREADS) {
    int piece = i;
    if (p.active && i < pieces) {
      int group = clamped(p.active[sample * p.active_count + i / p.active_group_pieces], p.active_limit);
      piece = group * p.active_group_pieces + i % p.active_group_pieces;
    }
    table[i] = i < pieces ? static_cast<unsigned short>(piece) : NOTHING;
  }
  synchronize();

  const int depth = (p.taps_down * p.taps_across * listed + DEPTH_CHUNKS - 1) / DEPTH_CHUNKS;
  const int split = blockIdx.y, depth0 = int(int64_t(depth) * split / p.splits);
  const int count = int(int64_t(depth) * (split + 1) / p.splits) - depth0;
  TileLoader<Numbers, T> loader(p, table, listed, first, last, sample, column0, depth0);
  Sum sums[ROWS][COLUMNS][4] = {};
  UNROLL for (int stage = 0; stage < T::STAGES - 1; ++stage) {
    if (stage < count) {
      loader.load(shared + stage * T::STAGE_BYTES);
      loader.put_down(shared + stage * T::STAGE_BYTES);
    } else {
      commit_copies();
    }
  }
  for (int step = 0; step < count; ++step) {
    wait_for_copies<T::STAGES - 2>();
    synchronize();  // the tile is there for all threads, and all have left the one that is overwritten next
    int next = step + T::STAGES - 1;
    unsigned char* free = shared + next % T::STAGES * T::STAGE_BYTES;
    if (next < count) loader.load(free);
    else commit_copies();
    multiply_stage<Numbers, T>(sums, shared + step % T::STAGES * T::STAGE_BYTES, warp_row, warp_column);
    if (next < count) loader.put_down(free);
  }
  wait_for_copies<0>();
  synchronize();

  // through shared memory, so that every thread finishes 8 neighbouring channels
  Sum* tile = reinterpret_cast<Sum*>(shared);
  UNROLL for (int i = 0; i < ROWS; ++i)
    UNROLL for (int j = 0; j < COLUMNS; ++j)
      UNROLL for (int half = 0; half < 2; ++half) {
        int row = warp_row + 16 * i + 8 * half + lane / 4, column = warp_column + 8 * j + lane % 4 * 2;
        store_pair(tile + row * T::SUM_STRIDE + column, sums[i][j][2 * half], sums[i][j][2 * half + 1]);
      }
  synchronize();
  constexpr int GROUPS = T::COLUMNS / GROUP, TILE = T::ROWS * T::COLUMNS;
  Sum* parts = static_cast<Sum*>(p.partial) + size_t(blockIdx.x) * p.splits * TILE;
  if (p.splits > 1) {
    for (int i = threadIdx.x; i < T::ROWS * GROUPS; i += T::THREADS) {
      const uint4* from = reinterpret_cast<const uint4*>(tile + i / GROUPS * T::SUM_STRIDE + i % GROUPS * GROUP);
      uint4* to = reinterpret_cast<uint4*>(parts + size_t(split) * TILE + i * GROUP);
      to[0] = from[0], to[1] = from[1];
    }
    if (!is_last_block(p.arrivals + blockIdx.x, p.splits)) return;
  }
  Sum distances[GROUP] = {};
  for (int i = threadIdx.x; i < T::ROWS * GROUPS; i += T::THREADS) {
    int row = i / GROUPS, pixel = first + row, channel = channel_of(p, sample, column0 + i % GROUPS * GROUP);
    if (pixel >= last || channel < 0) continue;
    Sum values[GROUP];
    load_sums(values, p.splits > 1 ? parts + size_t(i) * GROUP : tile + row * T::SUM_STRIDE + i % GROUPS * GROUP);
    for (int s = 1; s < p.splits; ++s) {
      Sum part[GROUP];
      load_sums(part, parts + size_t(s) * TILE + size_t(i) * GROUP);
      UNROLL for (int k = 0; k < GROUP; ++k) values[k] += part[k];
    }
    finish_group(e, values, pixel / of_sample, pixel, channel);
    if (p.sums) add_distances(e, distances, values);
  }
  if (p.sums) store_distances<T>(p, distances, tile, sample, tile_row, column0);
}

}  // namespace espalier
