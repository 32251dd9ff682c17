// The names of device.cuh on a CPU: every thread of a block is a coroutine. As they are numbered, threads run one after
// the other up to where they wait, blocks one after the other, and copies to shared memory arrive as late as the program
// allows: what a kernel forgets to wait for is missing here, not only on some days on a GPU. `espalier_emulated_order`
// chooses other orders, under which a kernel has to give the same.
#pragma once
#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>
#include <ucontext.h>

#include "failure.hpp"

#define KERNEL static
#define DEVICE inline
#define UNROLL
#define __restrict__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace espalier::emulation {

constexpr size_t STACK_BYTES = 64 << 10;
constexpr unsigned char POISON = 0xA5;  // what is not written is not zero
constexpr unsigned MOST_BLOCKS_DOWN = 65535, MOST_THREADS = 1024, MOST_SHARED_BYTES = 227 << 10;  // of any GPU

// NUMBERED: see above. REVERSED: the other way round, each warp goes as far ahead of the others as it can, and copies
// arrive at once. From SHUFFLED on a seed: blocks run some at a time, warps go ahead in any order, and so do their lanes;
// each copy arrives at once or late.
enum Order : unsigned { NUMBERED = 0, REVERSED = 1, SHUFFLED = 2 };
constexpr size_t BLOCKS_AT_ONCE = 3;  // shuffled
inline unsigned order = NUMBERED;
inline std::mt19937 random;
inline size_t steps = 0;  // that threads took: from one meeting to the next, or to their end

struct Copy { void* target; const void* source; int size; bool valid; };
struct Collective { int arrived = 0, generation = 0; void* deposits[1024]; };
struct Block {
  std::vector<unsigned char> storage;
  unsigned char* shared = nullptr;
  dim3 index;
  Collective all;
  std::vector<Collective> warps;
  bool flag = false;
};
struct Thread {
  ucontext_t context;
  std::unique_ptr<unsigned char[]> stack;
  Block* block = nullptr;
  unsigned number = 0;
  bool started = false, done = false;
  jmp_buf point;  // where it goes on; jumps, unlike swapcontext, make no system call
  std::vector<Copy> open;
  std::vector<std::vector<Copy>> committed;
};

inline Thread* current = nullptr;
inline jmp_buf scheduler;
inline const std::function<void()>* body = nullptr;
inline int block_threads = 0;

inline void yield() {
  if (!_setjmp(current->point)) _longjmp(scheduler, 1);
}
__attribute__((noinline)) inline void resume(Thread& thread) {
  if (_setjmp(scheduler)) return;
  if (thread.started) _longjmp(thread.point, 1);
  thread.started = true;
  setcontext(&thread.context);
}

// All `expected` threads deposit a pointer; the last one runs `combine` over the deposits, then all go on.
template <typename Combine>
inline void meet(Collective& place, int position, int expected, void* deposit, Combine combine) {
  int generation = place.generation;
  place.deposits[position] = deposit;
  if (++place.arrived == expected) {
    combine(place.deposits);
    place.arrived = 0;
    ++place.generation;
  } else {
    while (place.generation == generation) yield();
  }
  ++steps;
}
template <typename Combine>
inline void meet_warp(void* deposit, Combine combine) {
  meet(current->block->warps[current->number / 32], current->number % 32, 32, deposit, combine);
}

inline void land(const Copy& one) {
  if (one.valid) std::memcpy(one.target, one.source, one.size);
  else std::memset(one.target, 0, one.size);
}
inline void land(std::vector<Copy>& copies) {
  for (const Copy& one : copies) land(one);
  copies.clear();
}

inline void enter() {
  (*body)();
  land(current->open);
  current->done = true;
  ++steps;
  _longjmp(scheduler, 1);
}

inline void start(Thread& thread, Block& block, unsigned number) {
  thread.block = &block;
  thread.number = number;
  thread.started = thread.done = false;
  thread.open.clear();
  thread.committed.clear();
  if (!thread.stack) thread.stack.reset(new unsigned char[STACK_BYTES]);
  getcontext(&thread.context);
  thread.context.uc_stack.ss_sp = thread.stack.get();
  thread.context.uc_stack.ss_size = STACK_BYTES;
  thread.context.uc_link = nullptr;
  makecontext(&thread.context, reinterpret_cast<void (*)()>(enter), 0);
}

inline void prepare(Block& block, unsigned linear, size_t shared_bytes) {
  block.storage.assign(shared_bytes + 128, POISON);
  auto address = reinterpret_cast<uintptr_t>(block.storage.data());
  block.shared = block.storage.data() + (128 - address % 128) % 128;
  block.index = dim3(linear % gridDim.x, linear / gridDim.x % gridDim.y, linear / gridDim.x / gridDim.y);
  block.warps.assign((block_threads + 31) / 32, Collective());
}

inline std::vector<unsigned> numbers_in_order(size_t count) {
  std::vector<unsigned> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0u);
  if (order == REVERSED) std::reverse(numbers.begin(), numbers.end());
  if (order >= SHUFFLED) std::shuffle(numbers.begin(), numbers.end(), random);
  return numbers;
}

inline void run_warp(Thread* lanes) {
  for (unsigned lane : numbers_in_order(32)) {
    Thread& thread = lanes[lane];
    if (thread.done) continue;
    current = &thread;
    threadIdx = dim3(thread.number);
    blockIdx = thread.block->index;
    resume(thread);
  }
}

inline void run_together(std::vector<Thread>& threads, size_t count) {
  auto has_ended = [](const Thread& thread) { return thread.done; };
  while (!std::all_of(threads.begin(), threads.begin() + count, has_ended)) {
    const size_t before = steps;
    for (unsigned warp : numbers_in_order(count / 32)) {
      size_t last;
      do {
        last = steps;
        run_warp(&threads[warp * 32]);
      } while (order != NUMBERED && steps != last);
    }
    if (steps == before) throw Failure{"RuntimeError", "threads wait for each other"};
  }
}

// Refuses what no GPU launches.
inline void check_launch(dim3 grid, int threads_of_block, size_t shared_bytes) {
  const bool fits = grid.x && grid.y && grid.z && grid.y <= MOST_BLOCKS_DOWN && grid.z <= MOST_BLOCKS_DOWN;
  if (!fits || threads_of_block < 1 || threads_of_block > int(MOST_THREADS) || shared_bytes > MOST_SHARED_BYTES)
    throw Failure{"RuntimeError", "no GPU launches " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " +
                                      std::to_string(grid.z) + " blocks of " + std::to_string(threads_of_block) +
                                      " threads and " + std::to_string(shared_bytes) + " bytes"};
}

inline void run(dim3 grid, int threads_of_block, size_t shared_bytes, const std::function<void()>& kernel) {
  check_launch(grid, threads_of_block, shared_bytes);
  gridDim = grid;
  blockDim = dim3(threads_of_block);
  block_threads = threads_of_block;
  body = &kernel;
  random.seed(order);
  const std::vector<unsigned> numbers = numbers_in_order(size_t(grid.x) * grid.y * grid.z);
  const size_t together = std::min(order >= SHUFFLED ? BLOCKS_AT_ONCE : 1, numbers.size());
  std::vector<Block> blocks(together);
  std::vector<Thread> threads(together * threads_of_block);
  for (size_t first = 0; first < numbers.size(); first += together) {
    const size_t count = std::min(together, numbers.size() - first);
    for (size_t i = 0; i < count; ++i) {
      prepare(blocks[i], numbers[first + i], shared_bytes);
      for (int t = 0; t < threads_of_block; ++t) start(threads[i * threads_of_block + t], blocks[i], t);
    }
    run_together(threads, count * threads_of_block);
  }
}

}  // namespace espalier::emulation

// The order in which kernels run from now on, an `Order`.
extern "C" __attribute__((used, weak)) void espalier_emulated_order(unsigned order) { espalier::emulation::order = order; }

namespace espalier {

using half_t = _Float16;
DEVICE float to_float(half_t value) { return float(value); }
DEVICE half_t to_half(float value) { return half_t(value); }

DEVICE float multiply_add(float a, float b, float c) { return std::fma(a, b, c); }
DEVICE int bits_of(float value) {
  int bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

DEVICE unsigned char* shared_memory() { return emulation::current->block->shared; }

DEVICE void synchronize() {
  emulation::Thread& me = *emulation::current;
  emulation::meet(me.block->all, me.number, emulation::block_threads, nullptr, [](void**) {});
}

#ifdef ESPALIER_COPIES_WAIT
constexpr bool COPIES_ASYNC = false;
#else
constexpr bool COPIES_ASYNC = true;
#endif
template <int Size>
DEVICE void copy_async(void* target, const void* source, bool valid) {
  const emulation::Copy copy{target, source, Size, valid};
  const unsigned order = emulation::order;
  if (order == emulation::REVERSED || (order >= emulation::SHUFFLED && emulation::random() % 2)) emulation::land(copy);
  else emulation::current->open.push_back(copy);
}
DEVICE void commit_copies() {
  emulation::Thread& me = *emulation::current;
  me.committed.push_back(std::move(me.open));
  me.open.clear();
}
template <int Pending>
DEVICE void wait_for_copies() {
  auto& groups = emulation::current->committed;
  while (int(groups.size()) > Pending) {
    emulation::land(groups.front());
    groups.erase(groups.begin());
  }
}

template <typename Address>
DEVICE void load_matrices(uint32_t (&out)[4], Address address_of) {
  int lane = threadIdx.x & 31;
  for (int m = 0; m < 4; ++m) {
    const unsigned char* row = reinterpret_cast<const unsigned char*>(address_of(8 * m + lane / 4));
    std::memcpy(&out[m], row + 4 * (lane % 4), 4);
  }
}

struct HalfProducts {
  using Sum = float;
  static constexpr int AT_ONCE = 8;  // products that are added in one go
  using Operand = half_t;
  using Weight = half_t;
  static float value(half_t one) { return float(one); }
};
struct Tf32Products {
  using Sum = float;
  static constexpr int AT_ONCE = 4;
  using Operand = uint32_t;
  using Weight = uint32_t;
  static uint32_t rounded(uint32_t bits) { return (bits + 0x1000u) & ~0x1FFFu; }
  static float value(uint32_t bits) {  // the tensor cores read 10 bits of the fraction
    bits &= ~0x1FFFu;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
  }
};
struct ByteProducts {
  using Sum = int;
  static constexpr int AT_ONCE = 32;
  using Operand = uint8_t;
  using Weight = int8_t;
  template <typename T>
  static int value(T one) { return one; }
};

namespace emulation {

inline float toward_zero(double value) {
  float rounded = float(value);
  return std::abs(double(rounded)) > std::abs(value) ? std::nextafter(rounded, 0.f) : rounded;
}

// Adds COUNT products, which are exact, to sums of 8 columns as tensor cores do: all addends of a sum are aligned to the
// largest one and cut to 24 bits, and so is the total (Fasi, Higham, Mikaitis and Pranesh, Numerical behavior of NVIDIA
// tensor cores, 2021; a V100's: the later ones keep a bit or more besides).
template <int COUNT>
void add_products(float (&sums)[8], const float* left, const float (*right)[8]) {
  for (int column = 0; column < 8; ++column) {
    double addends[COUNT + 1], largest = std::abs(addends[COUNT] = sums[column]), total = 0;
    for (int k = 0; k < COUNT; ++k) {
      addends[k] = double(left[k]) * right[k][column];
      largest = std::max(largest, std::abs(addends[k]));
    }
    if (largest == 0 || !std::isfinite(largest)) {
      for (double one : addends) total += one;
      sums[column] = float(total);
      continue;
    }
    const double unit = std::ldexp(1.0, std::ilogb(largest) - 23), inverse = 1 / unit;
    for (double one : addends) total += std::trunc(one * inverse);
    sums[column] = toward_zero(total * unit);
  }
}
template <int COUNT>
void add_products(int (&sums)[8], const int* left, const int (*right)[8]) {
  for (int k = 0; k < COUNT; ++k)
    for (int column = 0; column < 8; ++column) sums[column] += left[k] * right[k][column];
}

// One 16 x 8 tile for all lanes at once: element (row, k) of A lies in register 2 (k / half) + row / 8 of a lane.
template <typename Products>
void multiply_tile(typename Products::Sum* const (&c)[32], const uint32_t* const (&a)[32], const uint32_t* const (&b)[32]) {
  using Sum = typename Products::Sum;
  constexpr int SIZE = sizeof(typename Products::Operand), K = 32 / SIZE;
  Sum left[16][K], right[K][8];
  for (int k = 0; k < K; ++k) {
    int second = k >= K / 2, byte = k * SIZE % 16, lane = byte / 4, rest = byte % 4;
    for (int row = 0; row < 16; ++row) {
      typename Products::Operand one;
      const uint32_t* from = &a[row % 8 * 4 + lane][2 * second + row / 8];
      std::memcpy(&one, reinterpret_cast<const unsigned char*>(from) + rest, SIZE);
      left[row][k] = Products::value(one);
    }
    for (int column = 0; column < 8; ++column) {
      typename Products::Weight one;
      std::memcpy(&one, reinterpret_cast<const unsigned char*>(&b[column * 4 + lane][second]) + rest, SIZE);
      right[k][column] = Products::value(one);
    }
  }
  for (int row = 0; row < 16; ++row) {
    Sum sums[8];
    for (int column = 0; column < 8; ++column) sums[column] = c[row % 8 * 4 + column / 2][row / 8 * 2 + column % 2];
    for (int k = 0; k < K; k += Products::AT_ONCE) add_products<Products::AT_ONCE>(sums, left[row] + k, right + k);
    for (int column = 0; column < 8; ++column) c[row % 8 * 4 + column / 2][row / 8 * 2 + column % 2] = sums[column];
  }
}

}  // namespace emulation

template <typename Products, int Rows, int Columns>
DEVICE void multiply_tiles(typename Products::Sum (&c)[Rows][Columns][4], const uint32_t (&a)[Rows][4],
                           const uint32_t (&b)[Columns][2]) {
  struct Deposit { typename Products::Sum (*c)[Columns][4]; const uint32_t (*a)[4]; const uint32_t (*b)[2]; } mine{c, a, b};
  emulation::meet_warp(&mine, [](void** deposits) {
    typename Products::Sum* cs[32];
    const uint32_t *as[32], *bs[32];
    for (int i = 0; i < Rows; ++i)
      for (int j = 0; j < Columns; ++j) {
        for (int lane = 0; lane < 32; ++lane) {
          auto* one = static_cast<Deposit*>(deposits[lane]);
          cs[lane] = one->c[i][j], as[lane] = one->a[i], bs[lane] = one->b[j];
        }
        emulation::multiply_tile<Products>(cs, as, bs);
      }
  });
}

template <typename Number>
DEVICE Number sum_over_warp(Number value) {
  emulation::meet_warp(&value, [](void** deposits) {
    Number sums[32];
    for (int lane = 0; lane < 32; ++lane) sums[lane] = *static_cast<Number*>(deposits[lane]);
    for (int apart = 16; apart; apart /= 2) {
      Number before[32];
      std::memcpy(before, sums, sizeof sums);
      for (int lane = 0; lane < 32; ++lane) sums[lane] = before[lane] + before[lane ^ apart];
    }
    for (int lane = 0; lane < 32; ++lane) *static_cast<Number*>(deposits[lane]) = sums[lane];
  });
  return value;
}

DEVICE int dot_u8_s8(uint32_t unsigned_bytes, uint32_t signed_bytes, int sum) {
  for (int i = 0; i < 32; i += 8) sum += int(unsigned_bytes >> i & 255) * int8_t(signed_bytes >> i);
  return sum;
}
DEVICE uint32_t select_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  uint64_t both = uint64_t(b) << 32 | a;
  uint32_t out = 0;
  for (int i = 0; i < 4; ++i) out |= uint32_t(both >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
  return out;
}
DEVICE uint4 load_streaming(const uint4* source) { return *source; }

DEVICE bool is_last_block(int* arrivals, int expected) {
  emulation::Block& block = *emulation::current->block;
  synchronize();
  if (threadIdx.x == 0) {
    block.flag = ++*arrivals == expected;
    if (block.flag) *arrivals = 0;
  }
  synchronize();
  return block.flag;
}

}  // namespace espalier
