// 3x3 convolutions of [N, C, H, W] float32 maps with few channels, and what RAS2S does around them.
//
// A vector holds neighbouring pixels of a row. A block of output channels times PIXELS pixels stays
// in registers while all input channels and taps are added to it, so that every loaded input serves
// all channels of the block, and no lane is wasted on a number of channels that is not a power of 2.
// Before, the inputs of a tile of rows are copied into a frame of zeros: inside, nothing is checked.
// Each result is summed in the same order whatever the number of threads.
// A function returns DONE or what hindered it. What it needs meanwhile is allocated before threads
// start, whose exceptions nobody could catch; what grows with the maps is given back at its end.

#include <omp.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace {

using Index = std::int64_t;

#if defined(__AVX512F__)
constexpr int LANES = 16, BLOCK = 14;  // 32 registers: 2 vectors of pixels x 14 channels
#elif defined(__AVX__)
constexpr int LANES = 8, BLOCK = 6;  // 16 registers
#else
constexpr int LANES = 4, BLOCK = 12;  // 32 registers of NEON
#endif
constexpr int VECTORS = 2, PIXELS = VECTORS * LANES;
constexpr int ROWS = 8, COLUMNS = 128;  // of a tile: with its frame it stays in the second cache

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
typedef float Unaligned __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef std::int32_t Integers __attribute__((vector_size(LANES * sizeof(float))));

inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }

// The first `count` lanes alone; at the end of a row.
inline Vector load(const float* from, Index count) {
  if (count >= LANES) return load(from);
  Vector value = {};
  std::memcpy(&value, from, count * sizeof(float));
  return value;
}
inline void store(float* to, Vector value, Index count) {
  if (count >= LANES) return store(to, value);
  std::memcpy(to, &value, count * sizeof(float));
}

inline float total(Vector value) {
  float lanes[LANES];
  store(lanes, value);
  for (int width = LANES / 2; width; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

enum Outcome : int { DONE, OUT_OF_MEMORY, UNKNOWN };

// Runs a task, which returns an outcome and may find no memory.
template <class Task>
int guarded(const Task& task) {
  try {
    return task();
  } catch (const std::bad_alloc&) {
    return OUT_OF_MEMORY;
  }
}

// Floats for each thread, in pages of its own. What a tile takes, whatever the size of the maps, stays
// for the next call: in another place each time it would not lie in the cache.
class Scratch {
 public:
  Scratch(Index threads, Index floats) {
    static thread_local std::vector<Block> kept;
    if (Index(kept.size()) < threads) kept.resize(threads);
    for (Index thread = 0; thread < threads; ++thread) kept[thread].grow(floats);
    blocks_ = kept.data();
  }
  float* mine() const { return blocks_[omp_get_thread_num()].floats.get(); }

 private:
  static constexpr Index PAGE = 4096;
  struct Release {
    void operator()(float* block) const { ::operator delete(block, std::align_val_t{PAGE}); }
  };
  struct Block {
    std::unique_ptr<float, Release> floats;
    Index size = 0;  // bytes
    void grow(Index count) {
      const Index wanted = (count * sizeof(float) + PAGE - 1) / PAGE * PAGE;
      if (wanted <= size) return;
      size = 0;
      floats.reset();
      floats.reset(static_cast<float*>(::operator new(wanted, std::align_val_t{PAGE})));
      size = wanted;
    }
  };
  const Block* blocks_;
};

inline Vector select(Integers condition, Vector yes, Vector no) { return condition ? yes : no; }

// 1 / x for x >= 1: an estimate and a step of Newton's where a division is slow.
inline Vector reciprocal(Vector x) {
#if defined(__AVX512F__)
  const Vector estimate = (Vector)_mm512_rcp14_ps((__m512)x);
  return estimate * (2.0f - x * estimate);
#else
  return 1.0f / x;
#endif
}

// x, or 87 with its sign where it is further from 0; NaN stays.
inline Vector limited(Vector x) {
#if defined(__AVX512F__)
  return (Vector)_mm512_max_ps(_mm512_set1_ps(-87), _mm512_min_ps(_mm512_set1_ps(87), (__m512)x));
#else
  return select(x > 87.0f, Vector{} + 87.0f, select(x < -87.0f, Vector{} - 87.0f, x));
#endif
}

struct Exponential {
  Vector power, rest;  // e^x = power * (1 + rest), where power is 2^n and |rest| < 0.42
};

// Relative error below 2e-7 of `rest`; |x| is at most 87.
inline Exponential split_exponential(Vector x) {
  const Vector magic = Vector{} + 12582912.0f;  // 1.5 * 2^23 rounds to a whole number
  const Vector shifted = x * 1.44269504f + magic, rounded = shifted - magic;
  const Vector r = (x - rounded * 0.693359375f) + rounded * 2.12194440e-4f;
  Vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const Integers one = reinterpret_cast<Integers>(Vector{} + 1.0f);
  const Integers power = (reinterpret_cast<Integers>(shifted) << 23) + one;
  return {reinterpret_cast<Vector>(power), p * (r * r) + r};
}
inline Vector exponential(Vector x) {
  const Exponential e = split_exponential(x);
  return e.power * e.rest + e.power;
}
inline Vector sigmoid(Vector x) { return reciprocal(1.0f + exponential(limited(-x))); }
inline Vector hyperbolic_tangent(Vector x) {  // accurate near 0 too: (e^2x - 1) / (e^2x + 1)
  const Exponential e = split_exponential(limited(x * 2.0f));
  const Vector less_one = e.power * e.rest + (e.power - 1.0f);
  return less_one * reciprocal(less_one + 2.0f);
}

enum Activation : Index { NONE, RELU, LEAKY_RELU, SIGMOID, TANH };
constexpr float LEAKY_SLOPE = 0.1f;

inline Vector activate(Vector x, Index activation) {
  switch (activation) {
    case RELU: return select(x <= 0.0f, Vector{}, x);  // NaN stays
    case LEAKY_RELU: return select(x > 0.0f, x, x * LEAKY_SLOPE);
    case SIGMOID: return sigmoid(x);
    case TANH: return hyperbolic_tangent(x);
    default: return x;
  }
}

// The derivative of an activation, by its result.
inline Vector derivative(Vector result, Index activation) {
  switch (activation) {
    case RELU: return select(result <= 0.0f, Vector{}, Vector{} + 1.0f);
    case LEAKY_RELU: return select(result > 0.0f, Vector{} + 1.0f, Vector{} + LEAKY_SLOPE);
    case SIGMOID: return result * (1.0f - result);
    case TANH: return 1.0f - result * result;
    default: return Vector{} + 1.0f;
  }
}

// ------------------------------------------------------------------------------ tiles and frames

// Maps [N, channels, H, W]: each sample is contiguous, samples are `batch` floats apart.
struct Maps {
  float* data;
  Index batch;
  float* sample(Index n) const { return data + n * batch; }
  explicit operator bool() const { return data != nullptr; }
};

struct Sizes {
  Index samples, height, width, threads;
  Index pixels() const { return height * width; }
};

struct Tile {
  Index sample, top, left, rows, columns;
};

struct Tiling {
  Index down, across, per_sample, count;
  Sizes sizes;
  explicit Tiling(const Sizes& sizes)
      : down((sizes.height + ROWS - 1) / ROWS), across((sizes.width + COLUMNS - 1) / COLUMNS),
        per_sample(down * across), count(sizes.samples * per_sample), sizes(sizes) {}
  Tile operator[](Index number) const {
    const Index left = number % across * COLUMNS, top = number / across % down * ROWS;
    return {number / per_sample, top, left, std::min<Index>(ROWS, sizes.height - top),
            std::min<Index>(COLUMNS, sizes.width - left)};
  }
};

// What an activation's result does to a gradient that has passed it.
struct Passed {
  Maps result;
  Index activation;
};

// Written out, as rows are short: the last vector may overlap the one before.
inline void copy(float* to, const float* from, Index count) {
  if (count < LANES) return (void)std::memcpy(to, from, count * sizeof(float));
  for (Index i = 0; i + LANES < count; i += LANES) store(to + i, load(from + i));
  store(to + count - LANES, load(from + count - LANES));
}
inline void copy_passed(float* to, const float* from, const float* result, Index activation,
                        Index count) {
  for (Index i = 0; i < count; i += LANES)
    store(to + i,
          load(from + i, count - i) * derivative(load(result + i, count - i), activation),
          count - i);
}

// Tiles of maps in a frame of zeros, a pixel wide, and wider at the right: vectors end within.
constexpr Index FRAME_ROW = COLUMNS + PIXELS + LANES, FRAME_CHANNEL = FRAME_ROW * (ROWS + 2);

// Up to the last vector that has a pixel of [0, end); FRAME_ROW has room for it.
inline void clear(float* row, Index start, Index end) {
  for (; start < end; start += LANES) store(row + start, Vector{});
}

void copy_framed(const Maps& maps, const Passed& passed, Index channels, const Sizes& sizes,
                 const Tile& tile, float* frame) {
  const Index before = tile.left > 0, after = tile.left + tile.columns < sizes.width;
  const Index count = before + tile.columns + after;
  const Index end = (tile.columns + PIXELS - 1) / PIXELS * PIXELS + 2;
  for (Index c = 0; c < channels; ++c)
    for (Index y = -1; y <= tile.rows; ++y) {
      float* row = frame + c * FRAME_CHANNEL + (y + 1) * FRAME_ROW;
      const Index from = tile.top + y;
      if (from < 0 || from >= sizes.height) {
        clear(row, 0, end);
        continue;
      }
      const Index at = c * sizes.pixels() + from * sizes.width + tile.left - before;
      float* inside = row + 1 - before;
      row[0] = 0.0f;
      if (passed.result)
        copy_passed(inside, maps.sample(tile.sample) + at, passed.result.sample(tile.sample) + at,
                    passed.activation, count);
      else
        copy(inside, maps.sample(tile.sample) + at, count);
      clear(row, 1 - before + count, end);
    }
}

// The channels of two maps, one after the other; the second may be absent, with 0 channels.
struct Pair {
  Maps first, second;
  Index first_channels, second_channels;
  Index channels() const { return first_channels + second_channels; }
};

void copy_framed(const Pair& pair, const Passed& passed, const Sizes& sizes, const Tile& tile,
                 float* frame) {
  copy_framed(pair.first, passed, pair.first_channels, sizes, tile, frame);
  copy_framed(pair.second, {}, pair.second_channels, sizes, tile,
              frame + pair.first_channels * FRAME_CHANNEL);
}

// Channels, dealt out evenly to blocks of at most `most`.
struct Blocks {
  Index channels, count;
  Blocks(Index channels, Index most) : channels(channels), count((channels + most - 1) / most) {}
  Index start(Index block) const { return block * channels / count; }
  Index size(Index block) const { return start(block + 1) - start(block); }
};

template <template <int> class Kernel, int... K>
auto pick(Index k, std::integer_sequence<int, K...>) {
  constexpr decltype(&Kernel<1>::run) all[] = {&Kernel<K + 1>::run...};
  return all[k - 1];
}
// Kernel<k>::run, for a k known at run time.
template <template <int> class Kernel, int MOST>
auto pick(Index k) {
  return pick<Kernel>(k, std::make_integer_sequence<int, MOST>{});
}

// ---------------------------------------------------------------------------------- convolutions

// VECTORS of sums [K], each `row` floats long, from C channels, each `channel` floats long; without
// bias; weight [C][taps][K]. With 3 x 3 taps the input is framed.
template <int K, int SIDE, int VECTORS>
inline void sum_taps(const float* input, Index channel, const float* weight, Index C, float* sums,
                     Index row) {
  Vector sum[K][VECTORS] = {};
  for (Index c = 0; c < C; ++c, input += channel) {
    const float* line = input;
#pragma GCC unroll 1
    for (int y = 0; y < SIDE; ++y, line += FRAME_ROW) {
#pragma GCC unroll 3
      for (int x = 0; x < SIDE; ++x, weight += K) {
        Vector in[VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) in[v] = load(line + x + v * LANES);
#pragma GCC unroll 16
        for (int k = 0; k < K; ++k) {
          const Vector w = weight[k] - Vector{};
#pragma GCC unroll 8
          for (int v = 0; v < VECTORS; ++v) sum[k][v] += w * in[v];
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int k = 0; k < K; ++k)
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v) store(sums + k * row + v * LANES, sum[k][v]);
}
template <int K>
struct Taps3x3 {
  static void run(const float* input, const float* weight, Index C, float* sums) {
    sum_taps<K, 3, VECTORS>(input, FRAME_CHANNEL, weight, C, sums, COLUMNS);
  }
};
template <int K>
struct NarrowTaps3x3 {  // for the end of a row
  static void run(const float* input, const float* weight, Index C, float* sums) {
    sum_taps<K, 3, 1>(input, FRAME_CHANNEL, weight, C, sums, COLUMNS);
  }
};
template <int K>
struct Taps1x1 {
  static void run(const float* input, Index channel, const float* weight, Index C, float* sums,
                  Index row) {
    sum_taps<K, 1, VECTORS>(input, channel, weight, C, sums, row);
  }
};

// A weight [K, C, 3, 3], or [K, C] of `taps` 1. Strides are in floats; one weight of all samples has batch 0.
struct Weight {
  const float* data;
  Index batch, output, input, flipped;
};

// Reorders it to [C][taps][k] block after block.
void pack(const Weight& weight, Index sample, Index inputs, Index taps, const Blocks& blocks,
          float* to) {
  const float* data = weight.data + sample * weight.batch;
  for (Index b = 0; b < blocks.count; ++b)
    for (Index c = 0; c < inputs; ++c)
      for (Index tap = 0; tap < taps; ++tap)
        for (Index k = blocks.start(b); k < blocks.start(b + 1); ++k)
          *to++ = data[k * weight.output + c * weight.input +
                       (weight.flipped ? taps - 1 - tap : tap)];
}

// Convolves the input. finish(n, k, pixel, count, sums) takes each piece of a row of the result.
template <class Finish>
void convolve(const Sizes& sizes, const Pair& input, const Passed& passed, const Weight& weight,
              Index outputs, const Finish& finish) {
  const Tiling tiling(sizes);
  const Index inputs = input.channels();
  const Blocks blocks(outputs, BLOCK);
  const Scratch scratch(sizes.threads, inputs * (FRAME_CHANNEL + outputs * 9));
#pragma omp parallel num_threads(sizes.threads)
  {
    float *frame = scratch.mine(), *packed = frame + inputs * FRAME_CHANNEL;
    alignas(64) float sums[BLOCK * COLUMNS];
    Index packed_sample = -1;
#pragma omp for schedule(static)
    for (Index number = 0; number < tiling.count; ++number) {
      const Tile tile = tiling[number];
      const Index sample = weight.batch ? tile.sample : 0;
      if (sample != packed_sample)
        pack(weight, packed_sample = sample, inputs, 9, blocks, packed);
      copy_framed(input, passed, sizes, tile, frame);
      for (Index y = 0; y < tile.rows; ++y)
        for (Index b = 0; b < blocks.count; ++b) {
          const auto wide = pick<Taps3x3, BLOCK>(blocks.size(b));
          const auto narrow = pick<NarrowTaps3x3, BLOCK>(blocks.size(b));
          for (Index x = 0; x < tile.columns; x += PIXELS)
            (tile.columns - x > LANES ? wide : narrow)(
                frame + y * FRAME_ROW + x, packed + blocks.start(b) * inputs * 9, inputs, sums + x);
          for (Index k = 0; k < blocks.size(b); ++k)
            finish(tile.sample, blocks.start(b) + k, (tile.top + y) * sizes.width + tile.left,
                   tile.columns, sums + k * COLUMNS);
        }
    }
  }
}

// Calls each(i, count) for vectors of a piece of a row; `count` is more than LANES but at its end.
template <class Each>
inline void by_vector(Index columns, const Each& each) {
  Index i = 0;
  for (; i + LANES <= columns; i += LANES) each(i, Index{LANES});
  if (i < columns) each(i, columns - i);
}

}  // namespace

extern "C" {

struct Residual {
  Maps maps;      // null if there is none
  Index channel;  // floats between its channels; 0 takes one map for all
};

// output = activation(convolution(input * derivative) + bias) + residuals
struct Convolution {
  Sizes sizes;
  Pair input;
  Passed passed;
  Index outputs;
  Weight weight;
  const float* bias;  // null if there is none
  Index activation;
  Residual residuals[2];
  Maps output;
  Maps second;  // gets the outputs from `first_outputs` on
  Index first_outputs;
};

int convolution(const Convolution* op) {
  const Convolution o = *op;
  return guarded([&] {
    convolve(o.sizes, o.input, o.passed, o.weight, o.outputs,
             [&](Index n, Index k, Index pixel, Index columns, const float* sums) {
               const float bias = o.bias ? o.bias[k] : 0.0f;
               const float* residuals[2];
               for (int r = 0; r < 2; ++r) {
                 const Residual& residual = o.residuals[r];
                 residuals[r] = residual.maps
                                    ? residual.maps.sample(n) + k * residual.channel + pixel
                                    : nullptr;
               }
               const auto [first, second] = residuals;
               float* output =
                   (k < o.first_outputs
                        ? o.output.sample(n) + k * o.sizes.pixels()
                        : o.second.sample(n) + (k - o.first_outputs) * o.sizes.pixels()) +
                   pixel;
               const Index activation = o.activation;
               by_vector(columns, [=, first = first, second = second](Index i, Index count) {
                 Vector value = activate(load(sums + i) + bias, activation);
                 if (first) value += load(first + i, count);
                 if (second) value += load(second + i, count);
                 store(output + i, value, count);
               });
             });
    return DONE;
  });
}
}

namespace {

// Sums `count` numbers over all tiles, in an order that does not hang on the number of threads.
// add(tile, part, parts, scratch, sums) adds a tile's; so that all threads have work, the numbers may
// be divided between `parts` calls, at most `most`, which share no number.
// result is [count], or of each sample.
template <class Add>
void sum_tiles(const Sizes& sizes, Index count, bool by_sample, Index most, Index floats,
               float* result, const Add& add) {
  const Tiling tiling(sizes);
  // Each slot sums some tiles of a sample; the slots are added in order, whoever filled them. What
  // a part leaves to others is zero in it, which changes no sum.
  const Index per_sample = std::min(tiling.per_sample, std::max<Index>(1, 8 / sizes.samples));
  const Index slots = sizes.samples * per_sample;
  const Index parts = std::min(most, (sizes.threads + slots - 1) / slots), tasks = slots * parts;
  const std::unique_ptr<float[]> totals(new float[tasks * count]);
  const Scratch scratch(sizes.threads, floats);
#pragma omp parallel for num_threads(sizes.threads) schedule(static)
  for (Index task = 0; task < tasks; ++task) {
    const Index slot = task / parts;
    const Index first = slot / per_sample * tiling.per_sample, share = slot % per_sample;
    float* own = totals.get() + task * count;
    std::fill(own, own + count, 0.0f);
    for (Index number = first + share * tiling.per_sample / per_sample;
         number < first + (share + 1) * tiling.per_sample / per_sample; ++number)
      add(tiling[number], task % parts, parts, scratch.mine(), own);
  }
  std::fill(result, result + count * (by_sample ? sizes.samples : 1), 0.0f);
  for (Index task = 0; task < tasks; ++task) {
    float* to = result + (by_sample ? task / parts / per_sample * count : 0);
    for (Index i = 0; i < count; ++i) to[i] += totals[task * count + i];
  }
}

// Here a vector holds channels of the gradient: at each pixel it meets the inputs around, one by
// one, so that no sum of a vector's lanes is taken, and sums leave the registers once a tile.
constexpr int REGISTERS = LANES == 8 ? 16 : 32;
constexpr int WIDEST = 3;  // vectors of channels that share an input

template <int V>
struct Correlate {
  // Of neighbouring pixels, whose gradients an input meets while it is in a register.
  static constexpr int AHEAD = REGISTERS == 32 && V < 3 ? 4 - V : 1;
  // Of inputs, each with three sums, beside the gradients and an input.
  static constexpr int LINES = (REGISTERS - 1 - AHEAD * V) / (3 * V);

  // sums[line][x][V] += the products of lines of inputs, shifted by x, with gradients [pixels][V]
  template <int L>
  struct Lines {
    typedef Vector Sums[L][3][V];

    template <int A>
    static inline __attribute__((always_inline)) void add(const float* const* lines, Index at,
                                                          const float* gradient, Sums& sum) {
      asm volatile("" ::: "memory");  // inputs kept for the next pixels would fill the registers
      Vector g[A][V];
#pragma GCC unroll 4
      for (int a = 0; a < A; ++a)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) g[a][v] = load(gradient + (a * V + v) * LANES);
#pragma GCC unroll 9
      for (int l = 0; l < L; ++l)
#pragma GCC unroll 6
        for (int i = 0; i < A + 2; ++i) {
          const Vector in = lines[l][at + i] - Vector{};
#pragma GCC unroll 4
          for (int a = 0; a < A; ++a)
            if (0 <= i - a && i - a < 3)
#pragma GCC unroll 4
              for (int v = 0; v < V; ++v) sum[l][i - a][v] += in * g[a][v];
        }
    }

    static void run(const float* const* lines, const float* gradient, Index rows, Index columns,
                    float* sums) {
      Sums sum;
#pragma GCC unroll 9
      for (int l = 0; l < L; ++l)
#pragma GCC unroll 3
        for (int x = 0; x < 3; ++x)
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sum[l][x][v] = load(sums + ((l * 3 + x) * V + v) * LANES);
      for (Index y = 0; y < rows; ++y, gradient += columns * V * LANES) {
        Index x = 0;
        for (; x + AHEAD <= columns; x += AHEAD)
          add<AHEAD>(lines, y * FRAME_ROW + x, gradient + x * V * LANES, sum);
        for (; x < columns; ++x) add<1>(lines, y * FRAME_ROW + x, gradient + x * V * LANES, sum);
      }
#pragma GCC unroll 9
      for (int l = 0; l < L; ++l)
#pragma GCC unroll 3
        for (int x = 0; x < 3; ++x)
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) store(sums + ((l * 3 + x) * V + v) * LANES, sum[l][x][v]);
    }
  };

  // A part of the lines of all inputs.
  static void run(const float* frame, const float* gradient, const Tile& tile, Index inputs,
                  Index part, Index parts, float* sums) {
    const Blocks blocks(3 * inputs, LINES);
    for (Index b = part; b < blocks.count; b += parts) {
      const float* lines[LINES];
      for (Index line = blocks.start(b); line < blocks.start(b + 1); ++line)
        lines[line - blocks.start(b)] = frame + line / 3 * FRAME_CHANNEL + line % 3 * FRAME_ROW;
      pick<Lines, LINES>(blocks.size(b))(lines, gradient, tile.rows, tile.columns,
                                         sums + blocks.start(b) * 3 * V * LANES);
    }
  }
};

// Turns LANES vectors: vector i becomes what lane i was of all.
template <int STEP, std::size_t... I>
inline void exchange(Vector& low, Vector& high, std::index_sequence<I...>) {
  const Vector a = low, b = high;
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
  low = __builtin_shufflevector(a, b, (I & STEP ? LANES + I - STEP : I)...);
  high = __builtin_shufflevector(a, b, (I & STEP ? LANES + I : I + STEP)...);
#else
  const float low_lanes[] = {(I & STEP ? b[I - STEP] : a[I])...};
  const float high_lanes[] = {(I & STEP ? b[I] : a[I + STEP])...};
  low = load(low_lanes), high = load(high_lanes);
#endif
}
template <int STEP>
inline void transpose(Vector (&rows)[LANES]) {
  if constexpr (STEP > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i)
      if (!(i & STEP)) exchange<STEP>(rows[i], rows[i + STEP], std::make_index_sequence<LANES>{});
    transpose<STEP / 2>(rows);
  }
}

// Writes a tile of maps, from channel `start` on, as [pixels][width], zero beyond the last channel.
void turn(const Maps& maps, const Passed& passed, const Sizes& sizes, const Tile& tile, Index start,
          Index channels, Index width, float* to) {
  for (Index group = 0; group < width; group += LANES)
    for (Index y = 0; y < tile.rows; ++y)
      for (Index x = 0; x < tile.columns; x += LANES) {
        const Index count = std::min<Index>(LANES, tile.columns - x);
        Vector rows[LANES] = {};
        for (Index k = 0; k < LANES && start + group + k < channels; ++k) {
          const Index at = (start + group + k) * sizes.pixels() + (tile.top + y) * sizes.width +
                           tile.left + x;
          rows[k] = load(maps.sample(tile.sample) + at, count);
          if (passed.result)
            rows[k] *= derivative(load(passed.result.sample(tile.sample) + at, count),
                                  passed.activation);
        }
        transpose<LANES / 2>(rows);
        for (Index i = 0; i < count; ++i)
          store(to + (y * tile.columns + x + i) * width + group, rows[i]);
      }
}

// sums[width] += all pixels of [pixels][width].
void add_pixels(const float* turned, Index pixels, Index width, float* sums) {
  for (Index group = 0; group < width; group += LANES) {
    Vector sum = load(sums + group);
    for (Index i = 0; i < pixels; ++i) sum += load(turned + i * width + group);
    store(sums + group, sum);
  }
}

// sums[channels] += all pixels of a framed tile.
void add_framed(const float* frame, const Tile& tile, Index channels, float* sums) {
  for (Index c = 0; c < channels; ++c) {
    Vector sum = {};
    for (Index y = 1; y <= tile.rows; ++y)
      for (Index x = 0; x < tile.columns; x += LANES)
        sum += load(frame + c * FRAME_CHANNEL + y * FRAME_ROW + 1 + x,
                    std::min<Index>(LANES, tile.columns - x));
    sums[c] += total(sum);
  }
}

}  // namespace

extern "C" {

// The gradient of a weight [K, C, 3, 3] and, behind it, of the bias [K]; or of each sample. From
// `early` on the outputs have read `late` in place of the first input; it is null if none have.
struct WeightGradient {
  Sizes sizes;
  Pair input;
  Maps late;
  Index early, outputs;
  Maps gradient;
  Passed passed;
  Index by_sample;
  float* result;
};

int weight_gradient(const WeightGradient* op) {
  const WeightGradient o = *op;
  const Index C = o.input.channels(), K = o.outputs;
  const auto vectors = [](Index channels) { return (channels + LANES - 1) / LANES; };
  // The gradient is turned and the inputs are framed; or the other way round, where that is less.
  const bool inputs_turned = !o.input.second && !o.late && vectors(C) * K < vectors(K) * C;
  const Index turned = inputs_turned ? C : K, framed = inputs_turned ? K : C;
  // Vectors of channels that share an input, and where they begin: [start, stop) of `turned`.
  struct Part {
    Index start, stop, vectors;
  };
  std::vector<Part> parts_turned;
  const auto divide = [&](Index start, Index stop) {
    const Blocks blocks(vectors(stop - start), WIDEST);
    for (Index b = 0; b < blocks.count; ++b)
      parts_turned.push_back({start + blocks.start(b) * LANES,
                              std::min(stop, start + blocks.start(b + 1) * LANES), blocks.size(b)});
  };
  return guarded([&] {
    divide(0, o.late ? o.early : turned);
    if (o.late) divide(o.early, turned);
    Index wide = 0;
    for (const Part& p : parts_turned) wide += p.vectors * LANES;
    const Index weights = framed * 9 * wide, count = weights + (inputs_turned ? K : wide);
    const auto add = [&](const Tile& tile, Index part, Index parts, float* frame, float* sums) {
      float *pixels = frame + framed * FRAME_CHANNEL, *biases = sums + weights;
      if (inputs_turned)
        copy_framed(o.gradient, o.passed, K, o.sizes, tile, frame);
      else
        copy_framed(o.input, {}, o.sizes, tile, frame);
      for (const Part& p : parts_turned) {
        const Index width = p.vectors * LANES;
        if (o.late && p.start == o.early)
          copy_framed(o.late, {}, o.input.first_channels, o.sizes, tile, frame);
        turn(inputs_turned ? o.input.first : o.gradient, inputs_turned ? Passed{} : o.passed,
             o.sizes, tile, p.start, p.stop, width, pixels);
        pick<Correlate, WIDEST>(p.vectors)(frame, pixels, tile, framed, part, parts, sums);
        sums += framed * 9 * width;
        if (inputs_turned || part > 0) continue;
        add_pixels(pixels, tile.rows * tile.columns, width, biases);
        biases += width;
      }
      if (inputs_turned && part == 0) add_framed(frame, tile, K, biases);
    };
    const Index floats = framed * FRAME_CHANNEL + ROWS * COLUMNS * WIDEST * LANES;
    const Index results = o.by_sample ? o.sizes.samples : 1;
    const std::unique_ptr<float[]> sums(new float[results * count]);
    sum_tiles(o.sizes, count, o.by_sample, 3 * framed, floats, sums.get(), add);
    for (Index n = 0; n < results; ++n) {
      const float *from = sums.get() + n * count, *biases = from + weights;
      float *to = o.result + n * (9 * C + 1) * K, *to_bias = to + 9 * C * K;
      if (inputs_turned) copy(to_bias, biases, K);
      for (const Part& p : parts_turned) {
        const Index width = p.vectors * LANES;
        for (Index f = 0; f < framed; ++f)
          for (Index tap = 0; tap < 9; ++tap, from += width)
            for (Index t = p.start; t < p.stop; ++t) {
              const float sum = from[t - p.start];
              if (inputs_turned)
                to[(f * C + t) * 9 + 8 - tap] = sum;
              else
                to[(t * C + f) * 9 + tap] = sum;
            }
        if (inputs_turned) continue;
        copy(to_bias + p.start, biases, p.stop - p.start);
        biases += width;
      }
    }
    return DONE;
  });
}
}

// ------------------------------------------------------------------------------------ gated units

extern "C" {

// A step of a ConvGRU on state and input; weight [3 C, 2 C, 3, 3] of update, reset and candidate.
struct GatedUnit {
  Sizes sizes;
  Index channels;
  Maps state, input;
  Weight weight;
  const float* bias;
  Maps next;
  Maps reset_state;  // reset times state; the forward pass needs room for it
  // For the backward pass; null if nobody wants them: update and reset [N, 2 C, H, W], candidate.
  Maps gates, candidate;
  // Of the backward pass: the gradients of next, of the sums before the activations [N, 3 C, H, W],
  // of state and of input.
  Maps gradient, sums_gradient, state_gradient, input_gradient;
};
}

namespace {

void step_gated_unit(const GatedUnit& o) {
  const Index C = o.channels, pixels = o.sizes.pixels();
  const Maps update = o.gates ? o.gates : o.next;  // which waits there for the candidate
  convolve(o.sizes, {o.state, o.input, C, C}, {}, o.weight, 2 * C,
           [&](Index n, Index k, Index pixel, Index columns, const float* sums) {
             const Index at = k * pixels + pixel;
             const float bias = o.bias[k];
             if (k < C) {
               float* to = update.sample(n) + at;
               by_vector(columns, [=](Index i, Index count) {
                 store(to + i, sigmoid(load(sums + i) + bias), count);
               });
             } else {
               const float* state = o.state.sample(n) + at - C * pixels;
               float* to = o.reset_state.sample(n) + at - C * pixels;
               float* kept = o.gates ? o.gates.sample(n) + at : nullptr;
               by_vector(columns, [=](Index i, Index count) {
                 const Vector reset = sigmoid(load(sums + i) + bias);
                 if (kept) store(kept + i, reset, count);
                 store(to + i, reset * load(state + i, count), count);
               });
             }
           });
  Weight weight = o.weight;
  weight.data += 2 * C * weight.output;
  convolve(o.sizes, {o.reset_state, o.input, C, C}, {}, weight, C,
           [&](Index n, Index k, Index pixel, Index columns, const float* sums) {
             const Index at = k * pixels + pixel;
             const float bias = o.bias[2 * C + k];
             const float *state = o.state.sample(n) + at, *gate = update.sample(n) + at;
             float* candidate = o.candidate ? o.candidate.sample(n) + at : nullptr;
             float* next = o.next.sample(n) + at;
             by_vector(columns, [=](Index i, Index count) {
               const Vector value = hyperbolic_tangent(load(sums + i) + bias);
               const Vector before = load(state + i, count);
               if (candidate) store(candidate + i, value, count);
               store(next + i, before + load(gate + i, count) * (value - before), count);
             });
           });
}

void gated_unit_gradients(const GatedUnit& o) {
  const Index C = o.channels, pixels = o.sizes.pixels();
#pragma omp parallel for num_threads(o.sizes.threads) collapse(2) schedule(static)
  for (Index n = 0; n < o.sizes.samples; ++n)
    for (Index k = 0; k < C; ++k) {
      const Index at = k * pixels;
      const float *gradient = o.gradient.sample(n) + at, *state = o.state.sample(n) + at;
      const float *update = o.gates.sample(n) + at, *candidate = o.candidate.sample(n) + at;
      float* to_update = o.sums_gradient.sample(n) + at;
      float* to_candidate = to_update + 2 * C * pixels;
      float* to_state = o.state_gradient.sample(n) + at;
      by_vector(pixels, [=](Index i, Index count) {
        const Vector g = load(gradient + i, count), u = load(update + i, count);
        const Vector c = load(candidate + i, count), h = load(state + i, count);
        store(to_update + i, g * (c - h) * derivative(u, SIGMOID), count);
        store(to_candidate + i, g * u * derivative(c, TANH), count);
        store(to_state + i, g * (1.0f - u), count);
      });
    }
  Weight weight = o.weight;
  std::swap(weight.output, weight.input);
  weight.flipped = 1;
  Weight of_candidate = weight;
  of_candidate.data += 2 * C * o.weight.output;
  const Maps to_candidate = {o.sums_gradient.data + 2 * C * pixels, o.sums_gradient.batch};
  convolve(o.sizes, {to_candidate, {}, C, 0}, {}, of_candidate, 2 * C,
           [&](Index n, Index k, Index pixel, Index columns, const float* sums) {
             const Index at = k * pixels + pixel;
             if (k >= C) return copy(o.input_gradient.sample(n) + at - C * pixels, sums, columns);
             float* to = o.state_gradient.sample(n) + at;
             const float *state = o.state.sample(n) + at;
             const float *reset = o.gates.sample(n) + C * pixels + at;
             float* reset_state = o.reset_state.sample(n) + at;
             float* to_reset = o.sums_gradient.sample(n) + C * pixels + at;
             by_vector(columns, [=](Index i, Index count) {
               const Vector g = load(sums + i), r = load(reset + i, count);
               const Vector h = load(state + i, count);
               store(reset_state + i, r * h, count);
               store(to_reset + i, g * h * derivative(r, SIGMOID), count);
               store(to + i, load(to + i, count) + g * r, count);
             });
           });
  convolve(o.sizes, {o.sums_gradient, {}, 2 * C, 0}, {}, weight, 2 * C,
           [&](Index n, Index k, Index pixel, Index columns, const float* sums) {
             float* to = (k < C ? o.state_gradient.sample(n) + k * pixels
                                : o.input_gradient.sample(n) + (k - C) * pixels) +
                         pixel;
             by_vector(columns, [=](Index i, Index count) {
               store(to + i, load(to + i, count) + load(sums + i), count);
             });
           });
}

}  // namespace

extern "C" {

int gated_unit(const GatedUnit* op) {
  return guarded([&] {
    step_gated_unit(*op);
    return DONE;
  });
}
int gated_unit_backward(const GatedUnit* op) {
  return guarded([&] {
    gated_unit_gradients(*op);
    return DONE;
  });
}
}

// ------------------------------------------------------------------------------ between channels

namespace {

constexpr Index CHUNK = 1024;  // pixels whose channels are worked on together

template <int K>
struct Dots {  // dots[K] += of one row and K others
  static void run(const float* one, const float* others, Index pixels, float* dots) {
    Vector sum[K] = {};
    for (Index i = 0; i < pixels; i += LANES) {
      const Vector a = load(one + i);
#pragma GCC unroll 16
      for (int k = 0; k < K; ++k) sum[k] += a * load(others + k * CHUNK + i);
    }
    for (int k = 0; k < K; ++k) dots[k] += total(sum[k]);
  }
};

struct Chunks {
  Index pixels, per_sample, count;
  explicit Chunks(const Sizes& sizes)
      : pixels(sizes.pixels()), per_sample((pixels + CHUNK - 1) / CHUNK),
        count(sizes.samples * per_sample) {}
  Index sample(Index number) const { return number / per_sample; }
  Index start(Index number) const { return number % per_sample * CHUNK; }
  Index size(Index number) const { return std::min(CHUNK, pixels - start(number)); }
};

constexpr Index whole(Index pixels) { return (pixels + PIXELS - 1) / PIXELS * PIXELS; }

void copy_chunk(const Maps& maps, Index channels, const Chunks& chunks, Index number, float* to) {
  const Index size = chunks.size(number);
  for (Index c = 0; c < channels; ++c, to += CHUNK) {
    copy(to, maps.sample(chunks.sample(number)) + c * chunks.pixels + chunks.start(number), size);
    std::fill(to + size, to + whole(size), 0.0f);
  }
}

// output[outputs][CHUNK] = weight, packed, times input[inputs][CHUNK] + bias; null is no bias
void linear(const float* input, Index inputs, const float* packed, const Blocks& blocks,
            const float* bias, Index pixels, float* output) {
  for (Index b = 0; b < blocks.count; ++b) {
    const auto sum = pick<Taps1x1, BLOCK>(blocks.size(b));
    const float* weight = packed + blocks.start(b) * inputs;
    float* to = output + blocks.start(b) * CHUNK;
    for (Index i = 0; i < pixels; i += PIXELS) sum(input + i, CHUNK, weight, inputs, to + i, CHUNK);
  }
  if (bias)
    for (Index k = 0; k < blocks.channels; ++k)
      for (Index i = 0; i < pixels; i += LANES)
        store(output + k * CHUNK + i, load(output + k * CHUNK + i) + bias[k]);
}

}  // namespace

extern "C" {

// A linear layer at each pixel; weight [outputs, inputs], contiguous.
struct Linear {
  Sizes sizes;
  Index inputs, outputs;
  Maps input;
  const float* weight;
  const float* bias;
  Maps output;
};

int linear_layer(const Linear* op) {
  const Linear o = *op;
  const Chunks chunks(o.sizes);
  const Blocks blocks(o.outputs, BLOCK);
  return guarded([&] {
    std::vector<float> packed(o.outputs * o.inputs);
    pack({o.weight, 0, o.inputs, 1, 0}, 0, o.inputs, 1, blocks, packed.data());
    const Scratch scratch(o.sizes.threads, (o.inputs + o.outputs) * CHUNK);
#pragma omp parallel for num_threads(o.sizes.threads) schedule(static)
    for (Index number = 0; number < chunks.count; ++number) {
      float *input = scratch.mine(), *output = input + o.inputs * CHUNK;
      const Index size = chunks.size(number);
      copy_chunk(o.input, o.inputs, chunks, number, input);
      linear(input, o.inputs, packed.data(), blocks, o.bias, size, output);
      for (Index k = 0; k < o.outputs; ++k)
        copy(o.output.sample(chunks.sample(number)) + k * chunks.pixels + chunks.start(number),
             output + k * CHUNK, size);
    }
    return DONE;
  });
}

// Attention between the channels of queries and of a state, in heads; softmax of cosines.
// The key is weight[:C] state + bias[:C], the value the other half.
struct Compensation {
  Sizes sizes;
  Index channels, heads;
  Maps queries, state;
  const float* weight;  // [2 C, C]
  const float* bias;    // [2 C]
  Maps output;
  // For the backward pass, null if nobody wants them: of each sample, the products of each query with
  // the keys of its head, [C, C / heads], and the squares of both, [2 C].
  float* products;
  // Of the backward pass: the gradients of output, queries and state, and of weight and, behind it,
  // bias.
  Maps gradient, queries_gradient, state_gradient;
  float* weight_gradient;
};
}

namespace {

constexpr double LEAST_NORM = 1e-12;

// The attention of a query to the keys of its head, [D], and their cosines.
template <class Number>
void attend_keys(const Number* products, Index C, Index D, Index c, double* shares,
                 double* cosines) {
  const Number* norms = products + C * D;
  double total = 0;
  for (Index d = 0; d < D; ++d) {
    const double own = std::max(std::sqrt(double(norms[c])), LEAST_NORM);
    const double other = std::max(std::sqrt(double(norms[C + c / D * D + d])), LEAST_NORM);
    cosines[d] = products[c * D + d] / (own * other);
    total += shares[d] = std::exp(cosines[d]);
  }
  for (Index d = 0; d < D; ++d) shares[d] /= total;
}

void compensate(const Compensation& o) {
  const Index C = o.channels, D = C / o.heads, N = o.sizes.samples;
  const Chunks chunks(o.sizes);
  const Blocks blocks(C, BLOCK), in_head(D, BLOCK);
  // Of each chunk: the products of each query with the keys of its head, and both's squares.
  const Index all = C * D + 2 * C;
  std::vector<float> dots(chunks.count * all), mix(N * C * C), mixing(N * C * C), offset(N * C),
      keys(C * C);
  std::vector<double> sums(N * all), shares(N * 2 * D);
  pack({o.weight, 0, C, 1, 0}, 0, C, 1, blocks, keys.data());
  const Scratch scratch(o.sizes.threads, 3 * C * CHUNK);
#pragma omp parallel num_threads(o.sizes.threads)
  {
    float *query = scratch.mine(), *state = query + C * CHUNK, *made = state + C * CHUNK;
#pragma omp for schedule(static)
    for (Index number = 0; number < chunks.count; ++number) {
      const Index size = chunks.size(number), padded = whole(size);
      copy_chunk(o.queries, C, chunks, number, query);
      copy_chunk(o.state, C, chunks, number, state);
      linear(state, C, keys.data(), blocks, o.bias, size, made);
      float* to = dots.data() + number * all;
      for (Index c = 0; c < C; ++c) {
        const float *q = query + c * CHUNK, *head = made + c / D * D * CHUNK;
        float* k = made + c * CHUNK;
        std::fill(k + size, k + padded, 0.0f);
        for (Index b = 0; b < in_head.count; ++b)
          pick<Dots, BLOCK>(in_head.size(b))(q, head + in_head.start(b) * CHUNK, padded,
                                             to + c * D + in_head.start(b));
        Dots<1>::run(q, q, padded, to + C * D + c);
        Dots<1>::run(k, k, padded, to + C * D + C + c);
      }
    }
#pragma omp for schedule(static)
    for (Index n = 0; n < N; ++n) {
      double *sum = sums.data() + n * all, *share = shares.data() + n * 2 * D;
      float* own = mix.data() + n * C * C;
      for (Index number = n * chunks.per_sample; number < (n + 1) * chunks.per_sample; ++number)
        for (Index i = 0; i < all; ++i) sum[i] += dots[number * all + i];
      if (o.products) std::copy(sum, sum + all, o.products + n * all);
      for (Index c = 0; c < C; ++c) {
        double bias = 0;
        attend_keys(sum, C, D, c, share, share + D);
        for (Index d = 0; d < D; ++d) {
          const Index value = C + c / D * D + d;
          bias += share[d] * o.bias[value];
          for (Index i = 0; i < C; ++i) own[c * C + i] += share[d] * o.weight[value * C + i];
        }
        offset[n * C + c] = bias;
      }
      pack({own, 0, C, 1, 0}, 0, C, 1, blocks, mixing.data() + n * C * C);
    }
#pragma omp for schedule(static)
    for (Index number = 0; number < chunks.count; ++number) {
      const Index n = chunks.sample(number), size = chunks.size(number);
      copy_chunk(o.state, C, chunks, number, state);
      linear(state, C, mixing.data() + n * C * C, blocks, offset.data() + n * C, size, made);
      for (Index c = 0; c < C; ++c)
        copy(o.output.sample(n) + c * chunks.pixels + chunks.start(number), made + c * CHUNK, size);
    }
  }
}

// With keys and values linear in the state, all gradients are linear in queries, state and gradient
// at each pixel, by matrices that follow from the products of these three with the state.
void compensation_gradients(const Compensation& o) {
  const Index C = o.channels, D = C / o.heads, N = o.sizes.samples, P = o.sizes.pixels();
  const Chunks chunks(o.sizes);
  const Blocks states(C, BLOCK), results(2 * C, BLOCK);
  const Index all = 3 * C * C + 3 * C, weights = 2 * C * (C + 1);  // products, then sums of pixels
  std::vector<float> dots(chunks.count * all), matrix(6 * C * C), packed(N * 6 * C * C),
      offset(N * 2 * C), ones(CHUNK, 1.0f);
  std::vector<double> sums(all), to_weight(weights), attention(3 * C * D + 2 * C);
  const Scratch scratch(o.sizes.threads, 5 * C * CHUNK);
  const auto gather = [&](Index number, float* rows) {  // queries, state, gradient
    copy_chunk(o.queries, C, chunks, number, rows);
    copy_chunk(o.state, C, chunks, number, rows + C * CHUNK);
    copy_chunk(o.gradient, C, chunks, number, rows + 2 * C * CHUNK);
  };
#pragma omp parallel for num_threads(o.sizes.threads) schedule(static)
  for (Index number = 0; number < chunks.count; ++number) {
    float *rows = scratch.mine(), *to = dots.data() + number * all;
    const Index padded = whole(chunks.size(number));
    gather(number, rows);
    for (Index r = 0; r < 3 * C; ++r) {
      for (Index b = 0; b < states.count; ++b)
        pick<Dots, BLOCK>(states.size(b))(rows + r * CHUNK, rows + (C + states.start(b)) * CHUNK,
                                          padded, to + r * C + states.start(b));
      Dots<1>::run(rows + r * CHUNK, ones.data(), padded, to + 3 * C * C + r);
    }
  }
  const float *keys = o.weight, *values = o.weight + C * C;
  const float *of_keys = o.bias, *of_values = o.bias + C;
  for (Index n = 0; n < N; ++n) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (Index number = n * chunks.per_sample; number < (n + 1) * chunks.per_sample; ++number)
      for (Index i = 0; i < all; ++i) sums[i] += dots[number * all + i];
    const double *by_query = sums.data(), *by_state = by_query + C * C, *by_gradient = by_state + C * C;
    const double *queries = by_gradient + C * C, *state = queries + C, *gradient = state + C;
    const float *products = o.products + n * (C * D + 2 * C), *squares = products + C * D;
    // Of each query and key of its head: the share, the gradient of the product of both; and what
    // their norms take off.
    double *shares = attention.data(), *cosines = shares + C * D, *to_product = cosines + C * D;
    double *off_query = to_product + C * D, *off_key = off_query + C;
    std::fill(off_query, off_query + 2 * C, 0.0);
    for (Index c = 0; c < C; ++c) {
      double *share = shares + c * D, *cosine = cosines + c * D, *to = to_product + c * D;
      attend_keys(products, C, D, c, share, cosine);
      double mean = 0;
      for (Index d = 0; d < D; ++d) {
        const Index k = c / D * D + d;
        to[d] = gradient[c] * of_values[k];
        for (Index i = 0; i < C; ++i) to[d] += by_gradient[c * C + i] * values[k * C + i];
        mean += share[d] * to[d];
      }
      for (Index d = 0; d < D; ++d) {
        const Index k = c / D * D + d;
        const double own = std::sqrt(double(squares[c])), other = std::sqrt(double(squares[C + k]));
        const double to_cosine = share[d] * (to[d] - mean);
        if (own > LEAST_NORM) off_query[c] += to_cosine * cosine[d] / squares[c];
        if (other > LEAST_NORM) off_key[k] += to_cosine * cosine[d] / squares[C + k];
        to[d] = to_cosine / (std::max(own, LEAST_NORM) * std::max(other, LEAST_NORM));
      }
    }
    // Rows: the gradients of queries and state; columns: queries, state, gradient.
    std::fill(matrix.begin(), matrix.end(), 0.0f);
    float* shift = offset.data() + n * 2 * C;
    for (Index k = 0; k < C; ++k) {  // a key, and its value
      const Index head = k / D * D;
      double *key_weight = to_weight.data() + k * C, *value_weight = key_weight + C * C;
      double *key_bias = to_weight.data() + 2 * C * C + k, *value_bias = key_bias + C;
      for (Index c = head; c < head + D; ++c) {
        const double to = to_product[c * D + k - head], share = shares[c * D + k - head];
        shift[c] += to * of_keys[k];
        *key_bias += to * queries[c];
        *value_bias += share * gradient[c];
        for (Index i = 0; i < C; ++i) {
          matrix[c * 3 * C + C + i] += to * keys[k * C + i];
          matrix[(C + i) * 3 * C + c] += to * keys[k * C + i];
          matrix[(C + i) * 3 * C + 2 * C + c] += share * values[k * C + i];
          key_weight[i] += to * by_query[c * C + i];
          value_weight[i] += share * by_gradient[c * C + i];
        }
      }
      matrix[k * 3 * C + k] -= off_query[k];
      *key_bias -= off_key[k] * P * of_keys[k];
      for (Index i = 0; i < C; ++i) {
        const double less = off_key[k] * keys[k * C + i];
        shift[C + i] -= less * of_keys[k];
        *key_bias -= less * state[i];
        key_weight[i] -= off_key[k] * of_keys[k] * state[i];
        for (Index j = 0; j < C; ++j) {
          matrix[(C + j) * 3 * C + C + i] -= less * keys[k * C + j];
          key_weight[j] -= less * by_state[i * C + j];
        }
      }
    }
    pack({matrix.data(), 0, 3 * C, 1, 0}, 0, 3 * C, 1, results, packed.data() + n * 6 * C * C);
  }
  std::copy(to_weight.begin(), to_weight.end(), o.weight_gradient);
#pragma omp parallel for num_threads(o.sizes.threads) schedule(static)
  for (Index number = 0; number < chunks.count; ++number) {
    float *rows = scratch.mine(), *made = rows + 3 * C * CHUNK;
    const Index n = chunks.sample(number), size = chunks.size(number);
    gather(number, rows);
    linear(rows, 3 * C, packed.data() + n * 6 * C * C, results, offset.data() + n * 2 * C, size,
           made);
    for (Index c = 0; c < C; ++c) {
      const Index at = c * P + chunks.start(number);
      copy(o.queries_gradient.sample(n) + at, made + c * CHUNK, size);
      copy(o.state_gradient.sample(n) + at, made + (C + c) * CHUNK, size);
    }
  }
}

}  // namespace

extern "C" {

int compensation(const Compensation* op) {
  return guarded([&] {
    compensate(*op);
    return DONE;
  });
}
int compensation_backward(const Compensation* op) {
  return guarded([&] {
    compensation_gradients(*op);
    return DONE;
  });
}
}

// ---------------------------------------------------------------------------------- adjacent bands

extern "C" {

// Softmax attention of a state over a window, by a 3 x 3 x 3 convolution over channels and pixels.
struct Attention {
  Sizes sizes;
  Index channels, length;
  Maps state;
  const Maps* window;   // [length]
  const float* weight;  // [length, 1 + length, 3, 3, 3], contiguous
  const float* bias;    // [length]
  Maps output;
  // For the backward pass, which is null if nobody wants it: tanh of the convolution, [N, L C, H, W].
  Maps logits;
  // Of the backward pass: the gradients of output, of the convolution [N, L C, H, W], of the state
  // and the window, and of weight and, behind it, bias.
  Maps gradient, sums_gradient, state_gradient;
  const Maps* window_gradient;
  float* weight_gradient;
};
}

namespace {

constexpr int CORRELATED = 7;  // channels of the gradient that share registers with 3 taps

// sums[k * stride + x] += the products of K rows of gradients with a framed row, shifted by x.
template <int K>
struct CorrelateRows {
  static void run(const float* input, const float* gradient, Index rows, Index columns,
                  float* sums, Index stride) {
    Vector sum[K][3] = {};
    for (Index y = 0; y < rows; ++y, input += FRAME_ROW, gradient += COLUMNS)
      for (Index i = 0; i < columns; i += LANES) {
        const Vector in[3] = {load(input + i), load(input + i + 1), load(input + i + 2)};
#pragma GCC unroll 16
        for (int k = 0; k < K; ++k) {
          const Vector g = load(gradient + k * ROWS * COLUMNS + i);
#pragma GCC unroll 3
          for (int x = 0; x < 3; ++x) sum[k][x] += g * in[x];
        }
      }
#pragma GCC unroll 16
    for (int k = 0; k < K; ++k)
#pragma GCC unroll 3
      for (int x = 0; x < 3; ++x) {
        float* to = sums + (k * stride + x) * LANES;
        store(to, load(to) + sum[k][x]);
      }
  }
};

// Copies a tile of a map into rows of COLUMNS, as far as whole vectors reach, and adds its sum.
void copy_gradient(const Maps& maps, const Sizes& sizes, const Tile& tile, Index channel, float* to,
                   float* lanes) {
  const Index columns = (tile.columns + LANES - 1) / LANES * LANES;
  Vector sum = {};
  for (Index y = 0; y < tile.rows; ++y, to += COLUMNS) {
    const Index at = channel * sizes.pixels() + (tile.top + y) * sizes.width + tile.left;
    copy(to, maps.sample(tile.sample) + at, tile.columns);
    std::fill(to + tile.columns, to + columns, 0.0f);
    for (Index i = 0; i < columns; i += LANES) sum += load(to + i);
  }
  store(lanes, load(lanes) + sum);
}

// A 3 x 3 x 3 convolution of volumes [C, H, W] to K volumes.
template <int K>
struct Volumes {
  static constexpr int WIDTH = 3 * K * VECTORS <= 2 * BLOCK ? VECTORS : 1;  // in vectors

  // Adds what a channel of all sources gives to the channels before it, at it and behind it.
  __attribute__((noinline)) static void add_channel(const float* line, Index sources, Index next,
                                                    const float* weight,
                                                    Vector* const (&sums)[3]) {
    Vector sum[3][K][WIDTH];
    for (int s = 0; s < 3; ++s) std::memcpy(sum[s], sums[s], sizeof(sum[s]));
    for (Index source = 0; source < sources; ++source, line += next)
#pragma GCC unroll 1
      for (int y = 0; y < 3; ++y)
#pragma GCC unroll 3
        for (int x = 0; x < 3; ++x, weight += 3 * K) {
          Vector in[WIDTH];
#pragma GCC unroll 8
          for (int v = 0; v < WIDTH; ++v) in[v] = load(line + y * FRAME_ROW + x + v * LANES);
#pragma GCC unroll 3
          for (int depth = 0; depth < 3; ++depth)
#pragma GCC unroll 16
            for (int k = 0; k < K; ++k) {
              const Vector w = weight[depth * K + k] - Vector{};
#pragma GCC unroll 8
              for (int v = 0; v < WIDTH; ++v) sum[2 - depth][k][v] += w * in[v];
            }
        }
    for (int s = 0; s < 3; ++s) std::memcpy(sums[s], sum[s], sizeof(sum[s]));
  }

  // A row, from frames [sources][C]; weight [sources][taps][depth][K].
  // finish(c, pixel, count, sums, step) takes vectors: sums[k * step] of K.
  template <class Finish>
  static void run(const float* frames, Index sources, Index C, const float* weight, Index columns,
                  const Finish& finish) {
    for (Index x = 0; x < columns; x += WIDTH * LANES) {
      Vector first[K * WIDTH] = {}, second[K * WIDTH] = {}, third[K * WIDTH];
      Vector* sums[3] = {first, second, third};  // of the channels c - 1, c and c + 1
      for (Index c = 0; c <= C; ++c) {
        std::fill(sums[2], sums[2] + K * WIDTH, Vector{});
        if (c < C)
          add_channel(frames + c * FRAME_CHANNEL + x, sources, C * FRAME_CHANNEL, weight, sums);
        for (int v = 0; c > 0 && v < WIDTH && x + v * LANES < columns; ++v)
          finish(c - 1, x + v * LANES, columns - x - v * LANES, sums[0] + v, WIDTH);
        std::rotate(sums, sums + 1, sums + 3);
      }
    }
  }
};

template <int L>
struct Attend {
  // weight [L, 1 + L, 3, 3, 3] -> [1 + L][taps][depth][L], or its transpose
  // [L][taps][depth][1 + L], with which gradients go back.
  static std::vector<float> packed(const float* weight, bool transposed) {
    std::vector<float> to((1 + L) * 27 * L);
    for (Index l = 0; l < L; ++l)
      for (Index source = 0; source <= L; ++source)
        for (Index depth = 0; depth < 3; ++depth)
          for (Index tap = 0; tap < 9; ++tap) {
            const Index forward = ((source * 9 + tap) * 3 + depth) * L + l;
            const Index back = ((l * 9 + 8 - tap) * 3 + 2 - depth) * (1 + L) + source;
            to[transposed ? back : forward] = *weight++;
          }
    return to;
  }

  static void copy_sources(const Attention& o, const Tile& tile, float* frames) {
    for (Index source = 0; source <= L; ++source)
      copy_framed(source ? o.window[source - 1] : o.state, {}, o.channels, o.sizes, tile,
                  frames + source * o.channels * FRAME_CHANNEL);
  }

  static void forward(const Attention& o) {
    const Index C = o.channels;
    const std::vector<float> weight = packed(o.weight, false);
    const Tiling tiling(o.sizes);
    const Scratch scratch(o.sizes.threads, (1 + L) * C * FRAME_CHANNEL);
#pragma omp parallel num_threads(o.sizes.threads)
    {
      float* frames = scratch.mine();
#pragma omp for schedule(static)
      for (Index number = 0; number < tiling.count; ++number) {
        const Tile tile = tiling[number];
        copy_sources(o, tile, frames);
        for (Index y = 0; y < tile.rows; ++y) {
          const Index start = (tile.top + y) * o.sizes.width + tile.left;
          const float* centres = frames + C * FRAME_CHANNEL + (y + 1) * FRAME_ROW + 1;
          Volumes<L>::run(
              frames + y * FRAME_ROW, 1 + L, C, weight.data(), tile.columns,
              [&](Index c, Index pixel, Index count, const Vector* sums, Index step) {
                const Index at = c * o.sizes.pixels() + start + pixel;
                Vector attended = {}, shares = {};
                for (int l = 0; l < L; ++l) {
                  const Vector logit = hyperbolic_tangent(sums[l * step] + o.bias[l]);
                  if (o.logits)
                    store(o.logits.sample(tile.sample) + l * C * o.sizes.pixels() + at, logit,
                          count);
                  const Vector share = exponential(logit);
                  shares += share;
                  attended += share * load(centres + (l * C + c) * FRAME_CHANNEL + pixel);
                }
                store(o.output.sample(tile.sample) + at, attended / shares, count);
              });
        }
      }
    }
  }

  // The gradients of the convolution's sums, and what goes straight to the window.
  static void through_softmax(const Attention& o) {
    const Index C = o.channels, pixels = o.sizes.pixels();
#pragma omp parallel for num_threads(o.sizes.threads) collapse(2) schedule(static)
    for (Index n = 0; n < o.sizes.samples; ++n)
      for (Index c = 0; c < C; ++c)
        by_vector(pixels, [&](Index i, Index count) {
          const Index at = c * pixels + i;
          const Vector g = load(o.gradient.sample(n) + at, count);
          Vector logit[L], share[L], gain[L], shares = {}, gains = {};
          for (int l = 0; l < L; ++l) {
            logit[l] = load(o.logits.sample(n) + l * C * pixels + at, count);
            share[l] = exponential(logit[l]);
            gain[l] = g * load(o.window[l].sample(n) + at, count);
            shares += share[l];
          }
          for (int l = 0; l < L; ++l) gains += (share[l] /= shares) * gain[l];
          for (int l = 0; l < L; ++l) {
            store(o.sums_gradient.sample(n) + l * C * pixels + at,
                  share[l] * (gain[l] - gains) * derivative(logit[l], TANH), count);
            store(o.window_gradient[l].sample(n) + at, share[l] * g, count);
          }
        });
  }

  static void to_sources(const Attention& o) {
    const Index C = o.channels;
    const std::vector<float> weight = packed(o.weight, true);
    const Tiling tiling(o.sizes);
    const Scratch scratch(o.sizes.threads, L * C * FRAME_CHANNEL);
#pragma omp parallel num_threads(o.sizes.threads)
    {
      float* frames = scratch.mine();
#pragma omp for schedule(static)
      for (Index number = 0; number < tiling.count; ++number) {
        const Tile tile = tiling[number];
        copy_framed(o.sums_gradient, {}, L * C, o.sizes, tile, frames);
        for (Index y = 0; y < tile.rows; ++y) {
          const Index start = (tile.top + y) * o.sizes.width + tile.left;
          Volumes<1 + L>::run(
              frames + y * FRAME_ROW, L, C, weight.data(), tile.columns,
              [&](Index c, Index pixel, Index count, const Vector* sums, Index step) {
                const Index at = c * o.sizes.pixels() + start + pixel;
                store(o.state_gradient.sample(tile.sample) + at, sums[0], count);
                for (int l = 0; l < L; ++l) {
                  float* to = o.window_gradient[l].sample(tile.sample) + at;
                  store(to, load(to, count) + sums[(1 + l) * step], count);
                }
              });
        }
      }
    }
  }

  static void to_weight(const Attention& o) {
    const Index C = o.channels, weights = L * (1 + L) * 27;
    const Blocks blocks(L, CORRELATED);
    const auto add = [&](const Tile& tile, Index part, Index parts, float* frames, float* sums) {
      float* gradient = frames + (1 + L) * C * FRAME_CHANNEL;
      copy_sources(o, tile, frames);
      for (Index c = 0; c < C; ++c) {
        alignas(64) float of_bias[L * LANES] = {};
        for (Index l = 0; l < L; ++l)
          copy_gradient(o.sums_gradient, o.sizes, tile, l * C + c, gradient + l * ROWS * COLUMNS,
                        of_bias + l * LANES);
        for (Index i = 0; i < L * LANES && part == 0; ++i) sums[weights * LANES + i] += of_bias[i];
        for (Index b = 0; b < blocks.count; ++b) {
          const auto correlate = pick<CorrelateRows, CORRELATED>(blocks.size(b));
          for (Index source = part; source <= L; source += parts)
            for (Index depth = 0; depth < 3; ++depth)
              for (Index y = 0; y < 3 && 0 <= c + depth - 1 && c + depth - 1 < C; ++y)
                correlate(frames + (source * C + c + depth - 1) * FRAME_CHANNEL + y * FRAME_ROW,
                          gradient + blocks.start(b) * ROWS * COLUMNS, tile.rows, tile.columns,
                          sums + (blocks.start(b) * (1 + L) * 27 + (source * 3 + depth) * 9 + y * 3) *
                                     LANES,
                          (1 + L) * 27);
        }
      }
    };
    const Index floats = (1 + L) * C * FRAME_CHANNEL + L * ROWS * COLUMNS;
    std::vector<float> sums((weights + L) * LANES);
    sum_tiles(o.sizes, sums.size(), false, 1 + L, floats, sums.data(), add);
    for (Index i = 0; i < weights + L; ++i) o.weight_gradient[i] = total(load(&sums[i * LANES]));
  }

  static void backward(const Attention& o) {
    through_softmax(o);
    to_sources(o);
    to_weight(o);
  }
};

}  // namespace

extern "C" {

// For windows of 1, 3, 5, 7 and 9.
int attention(const Attention* op) {
  return guarded([&] {
    switch (op->length) {
      case 1: return Attend<1>::forward(*op), DONE;
      case 3: return Attend<3>::forward(*op), DONE;
      case 5: return Attend<5>::forward(*op), DONE;
      case 7: return Attend<7>::forward(*op), DONE;
      case 9: return Attend<9>::forward(*op), DONE;
      default: return UNKNOWN;
    }
  });
}
int attention_backward(const Attention* op) {
  return guarded([&] {
    switch (op->length) {
      case 1: return Attend<1>::backward(*op), DONE;
      case 3: return Attend<3>::backward(*op), DONE;
      case 5: return Attend<5>::backward(*op), DONE;
      case 7: return Attend<7>::backward(*op), DONE;
      case 9: return Attend<9>::backward(*op), DONE;
      default: return UNKNOWN;
    }
  });
}
}

// ----------------------------------------------------------------------------------------- regions

extern "C" {

// Each pixel by the filter of the region whose guide is highest (the first of equals).
struct RegionFilter {
  Sizes sizes;
  Index channels, regions, guides;
  Maps input;
  Weight filters;  // [N, regions C, C, 3, 3]
  const Maps* guide;  // [guides], each [N, regions, H, W]
  Maps output;        // [N, guides C, H, W]
  // For the backward pass, null if nobody wants it: what all filters give, [N, regions C, H, W].
  Maps candidates;
  // Of the backward pass: the gradients of output, candidates and guides.
  Maps gradient, candidates_gradient;
  const Maps* guide_gradient;
};

}

namespace {

void filter_regions(const RegionFilter& o) {
  const Index C = o.channels, pixels = o.sizes.pixels();
  convolve(o.sizes, {o.input, {}, C, 0}, {}, o.filters, o.regions * C,
           [&](Index n, Index k, Index pixel, Index columns, const float* sums) {
             const Index region = k / C;
             if (o.candidates)
               copy(o.candidates.sample(n) + k * pixels + pixel, sums, columns);
             for (Index number = 0; number < o.guides; ++number) {
               const float* guide = o.guide[number].sample(n) + pixel;
               float* output = o.output.sample(n) + (number * C + k % C) * pixels + pixel;
               const Index regions = o.regions;
               by_vector(columns, [=](Index i, Index count) {
                 Vector value = load(sums + i);
                 if (region > 0) {  // which come in order
                   const Vector own = load(guide + region * pixels + i, count);
                   Integers highest = ~Integers{};
                   for (Index other = 0; other < regions; ++other) {
                     const Vector its = load(guide + other * pixels + i, count);
                     if (other < region) highest &= own > its;
                     if (other > region) highest &= own >= its;
                   }
                   value = select(highest, value, load(output + i, count));
                 }
                 store(output + i, value, count);
               });
             }
           });
}

// The candidates get the gradient where they were chosen, the guides as if the choice were softmax.
void region_gradients(const RegionFilter& o) {
  const Index C = o.channels, R = o.regions, pixels = o.sizes.pixels();
  const Index rows = o.sizes.samples * o.sizes.height, width = o.sizes.width;
  const Scratch scratch(o.sizes.threads, 3 * R * LANES);
#pragma omp parallel for num_threads(o.sizes.threads) schedule(static)
  for (Index row = 0; row < rows; ++row) {
    const Index n = row / o.sizes.height, start = row % o.sizes.height * width;
    float *shares = scratch.mine(), *gains = shares + R * LANES, *chosen = gains + R * LANES;
    by_vector(width, [=, &o](Index i, Index count) {
      const Index at = start + i;
      for (Index number = 0; number < o.guides; ++number) {
        const float* guide = o.guide[number].sample(n) + at;
        Vector highest = load(guide, count), total = {}, mean = {};
        for (Index r = 1; r < R; ++r) {
          const Vector logit = load(guide + r * pixels, count);
          highest = select(logit > highest, logit, highest);
        }
        Integers free = ~Integers{};  // where no region has been chosen yet
        for (Index r = 0; r < R; ++r) {
          const Vector logit = load(guide + r * pixels, count);
          const Integers here = free & (logit == highest);
          free &= ~here;
          store(chosen + r * LANES, select(here, Vector{} + 1.0f, Vector{}));
          const Vector share = exponential(limited(logit - highest));
          store(shares + r * LANES, share);
          store(gains + r * LANES, Vector{});
          total += share;
        }
        const float* gradient = o.gradient.sample(n) + number * C * pixels + at;
        for (Index c = 0; c < C; ++c) {
          const Vector g = load(gradient + c * pixels, count);
          for (Index r = 0; r < R; ++r) {
            const Index k = (r * C + c) * pixels + at;
            float* to = o.candidates_gradient.sample(n) + k;
            const Vector own = g * load(chosen + r * LANES);
            store(to, number ? load(to, count) + own : own, count);
            store(gains + r * LANES, load(gains + r * LANES) +
                                         g * load(o.candidates.sample(n) + k, count));
          }
        }
        for (Index r = 0; r < R; ++r) {
          const Vector share = load(shares + r * LANES) / total;
          store(shares + r * LANES, share);
          mean += share * load(gains + r * LANES);
        }
        for (Index r = 0; r < R; ++r)
          store(o.guide_gradient[number].sample(n) + r * pixels + at,
                load(shares + r * LANES) * (load(gains + r * LANES) - mean), count);
      }
    });
  }
}

}  // namespace

extern "C" {

int region_filter(const RegionFilter* op) {
  return guarded([&] {
    filter_regions(*op);
    return DONE;
  });
}
int region_filter_backward(const RegionFilter* op) {
  return guarded([&] {
    region_gradients(*op);
    return DONE;
  });
}

// The sizes of the structures, in the order of structures.py, which must have the same.
extern const Index structure_sizes[];
const Index structure_sizes[] = {
    sizeof(Convolution),  sizeof(WeightGradient), sizeof(GatedUnit),    sizeof(Linear),
    sizeof(Compensation), sizeof(Attention),      sizeof(RegionFilter),
};
}

// ------------------------------------------------------------------------------------------ memory

extern "C" {
// Large blocks ask for large pages, whose addresses are found faster and which come at once.
void* allocate(std::size_t bytes) {
  void* memory = std::malloc(bytes);
#if defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t page = 1 << 21;
  const std::uintptr_t start = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t from = (start + page - 1) / page * page, to = (start + bytes) / page * page;
  if (memory && from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#endif
  return memory;
}
void release(void* memory) { std::free(memory); }
}
