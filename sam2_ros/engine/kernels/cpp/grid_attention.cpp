// SPDX-License-Identifier: Apache-2.0
// Softmax attention with implicit keys: to memories of several frames on one square grid, whose keys would be
// projections of few channels, rotated by an axial rotary embedding. Called by cpu.py. Knows pointers and sizes, not
// frames or objects.
//
// The score of a query q, already rotated, and of a memory m in column x and row y of the grid is
//     q . R(x, y) (W m + b) = (A[x] + B[y]) . m + a[x] + b[y]
// since half of the channels rotate with x and the other half with y. Here
//     A[x] = (R(x) W)^T q,   a[x] = R(x) b . q     of the first half of the channels, and B[y], b[y] of the second half
// have as few channels as a memory; R(x) W and R(x) b do not depend on the query; and the memories of all frames at one
// place share the sum A[x] + B[y]. With queries of 256 channels, memories of 64 channels, and 7 frames on 64 x 64 places
// this takes 39 GFLOP; computing keys of 256 channels would take 76.
//
// Each lane holds a query, QUERIES of them at a time; memories are broadcast to all lanes.

#include <algorithm>

#include "common.h"

namespace {

constexpr long QUERIES = TILE_COLUMNS;
constexpr int GROUP = 8;             // channels of an answer at a time
constexpr long COLUMNS_AT_ONCE = 8;  // columns of the grid whose weights fit into the first-level cache

template <typename T>
struct Problem {
  const T *q, *memory, *values;  // [batch or 1, queries, channels], [batch, tokens, dim], likewise
  T* out;                        // [batch, queries, dim]
  // R(x) W and below it R(x) b, channels last: [side, dim + 1, channels / 2]; likewise for y; and not rotated
  // [dim + 1, channels].
  const T *of_x, *of_y, *anywhere;
  const float *cos, *sin;  // of the queries, [queries, channels / 2]
  float scale;             // of scores, to base 2
  long q_batch;            // stride of q from one batch to the next
  long queries, channels, dim, side, frames;
  long loose;  // number of tokens after those of the grid, which are not rotated; even

  long cells() const { return side * side; }
  long tokens() const { return cells() * frames + loose; }
  long row_of(long x, long y, long frame) const { return (frame * side + y) * side + x; }
};

// Packs values in pairs of tokens: first (x, y) and (x, y + 1), y even, then the loose tokens; [pairs][dim][2], or in
// float32, where an instruction takes single numbers, [pairs][2][dim].
template <typename T>
void pair_up(const T* first, const T* second, long dim, T* to) {
  for (long d = 0; d < dim; d++) {
    to[IS_BF16<T> ? 2 * d : d] = first[d];
    to[IS_BF16<T> ? 2 * d + 1 : dim + d] = second[d];
  }
}

template <typename T>
void pair_up_rows(const Problem<T>& p, const T* values, long y, T* pairs) {
  T* to = pairs + y * p.side * p.frames * p.dim;
  for (long x = 0; x < p.side; x++)
    for (long frame = 0; frame < p.frames; frame++, to += 2 * p.dim)
      pair_up(values + p.row_of(x, y, frame) * p.dim, values + p.row_of(x, y + 1, frame) * p.dim, p.dim, to);
}

template <typename T>
void pair_up_loose(const Problem<T>& p, const T* values, T* pairs) {
  for (long token = p.cells() * p.frames; token < p.tokens(); token += 2)
    pair_up(values + token * p.dim, values + (token + 1) * p.dim, p.dim, pairs + token * p.dim);
}

// float32 numbers that `project` writes: QUERIES x DEPTH for each step of DEPTH channels, then the bias.
long projected_size(long dim) { return (dim + 1) * QUERIES; }

// A[x] and a[x] of QUERIES queries, or B[y] and b[y]. In bfloat16 two channels of a query are adjacent.
template <typename T>
__attribute__((noinline)) void project(const T* projection, long channels, long dim, const T* queries, float scale, float* to) {
  const __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  const __m512 factor = _mm512_set1_ps(scale);
  for (long d = 0; d < dim; d += GROUP, projection += GROUP * channels, to += GROUP * QUERIES) {
    Tile<GROUP> tile = {};
    multiply<GROUP>(projection, channels, DEPTH<T>, queries, channels / DEPTH<T>, tile);
#pragma GCC unroll 8
    for (int row = 0; row < GROUP; row++)
      for (int half = 0; half < 2; half++) tile[row][half] = _mm512_mul_ps(tile[row][half], factor);
    if constexpr (IS_BF16<T>) {
#pragma GCC unroll 8
      for (int row = 0; row < GROUP; row += 2)
        for (int half = 0; half < 2; half++)
          store(to + row * QUERIES + half * 2 * LANES, _mm512_permutex2var_ps(tile[row][half], low, tile[row + 1][half]),
                _mm512_permutex2var_ps(tile[row][half], high, tile[row + 1][half]));
    } else {
      store<GROUP>(to, QUERIES, tile);
    }
  }
  Tile<1> bias = {};
  multiply<1>(projection, channels, DEPTH<T>, queries, channels / DEPTH<T>, bias);
  store(to, _mm512_mul_ps(bias[0][0], factor), _mm512_mul_ps(bias[0][1], factor));
}

// The weights of the FRAMES memories at one place, which are `pitch` apart.
template <int FRAMES, typename T>
inline __attribute__((always_inline)) void weigh(const float* of_x, const float* of_y, const T* memory, long pitch,
                                                 long dim, Tile<FRAMES>& tile) {
  const auto sum = [&](long at) { return _mm512_add_ps(_mm512_load_ps(of_x + at), _mm512_load_ps(of_y + at)); };
  const __m512 left_bias = sum(dim * QUERIES), right_bias = sum(dim * QUERIES + LANES);
#pragma GCC unroll 12
  for (int frame = 0; frame < FRAMES; frame++) {
    tile[frame][0] = left_bias;
    tile[frame][1] = right_bias;
  }
  for (long d = 0; d < dim; d += DEPTH<T>, of_x += DEPTH<T> * QUERIES, of_y += DEPTH<T> * QUERIES) {
    __m512i left, right;
    if constexpr (IS_BF16<T>) {
      left = (__m512i)_mm512_cvtne2ps_pbh(sum(LANES), sum(0));
      right = (__m512i)_mm512_cvtne2ps_pbh(sum(3 * LANES), sum(2 * LANES));
    } else {
      left = _mm512_castps_si512(sum(0));
      right = _mm512_castps_si512(sum(LANES));
    }
#pragma GCC unroll 12
    for (int frame = 0; frame < FRAMES; frame++) {
      const __m512i m = everywhere(memory + frame * pitch + d);
      tile[frame][0] = add_products<T>(tile[frame][0], m, left);
      tile[frame][1] = add_products<T>(tile[frame][1], m, right);
    }
  }
#pragma GCC unroll 12
  for (int frame = 0; frame < FRAMES; frame++)
    for (int half = 0; half < 2; half++) tile[frame][half] = power_of_2<T>(tile[frame][half]);
}

// A place of the grid: its memories, and the projections of the queries for its column and row.
template <typename T>
struct Place {
  const float *of_x, *of_y;
  const T* memory;
};

// Weights of two places, packed for `average`, and added to the sums of weights: [QUERIES].
template <int FRAMES, typename T>
__attribute__((noinline)) void weigh_two(const Place<T>& first, const Place<T>& second, long pitch, long dim, float* sums,
                                         T* weights) {
  const __m512i side_by_side = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                                21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  alignas(64) float of_first[FRAMES * QUERIES];
  __m512 left = _mm512_load_ps(sums), right = _mm512_load_ps(sums + LANES);
  Tile<FRAMES> tile;
  weigh<FRAMES>(first.of_x, first.of_y, first.memory, pitch, dim, tile);
  store<FRAMES>(of_first, QUERIES, tile);
#pragma GCC unroll 12
  for (int frame = 0; frame < FRAMES; frame++) {
    left = _mm512_add_ps(left, tile[frame][0]);
    right = _mm512_add_ps(right, tile[frame][1]);
  }
  weigh<FRAMES>(second.of_x, second.of_y, second.memory, pitch, dim, tile);
#pragma GCC unroll 12
  for (int frame = 0; frame < FRAMES; frame++, weights += 2 * QUERIES) {
    const float* kept = of_first + frame * QUERIES;
    if constexpr (IS_BF16<T>) {
      for (int half = 0; half < 2; half++) {
        const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(tile[frame][half], _mm512_load_ps(kept + half * LANES));
        _mm512_storeu_si512(weights + half * QUERIES, _mm512_permutexvar_epi16(side_by_side, both));
      }
    } else {
      store(weights, _mm512_load_ps(kept), _mm512_load_ps(kept + LANES));
      store(weights + QUERIES, tile[frame][0], tile[frame][1]);
    }
    left = _mm512_add_ps(left, tile[frame][0]);
    right = _mm512_add_ps(right, tile[frame][1]);
  }
  store(sums, left, right);
}

template <typename T>
using WeighTwo = void (*)(const Place<T>&, const Place<T>&, long, long, float*, T*);
template <typename T>
constexpr WeighTwo<T> FOR_FRAMES[] = {nullptr,         weigh_two<1, T>, weigh_two<2, T>,  weigh_two<3, T>,  weigh_two<4, T>,
                                      weigh_two<5, T>, weigh_two<6, T>, weigh_two<7, T>,  weigh_two<8, T>,  weigh_two<9, T>,
                                      weigh_two<10, T>, weigh_two<11, T>, weigh_two<12, T>};

// answers [dim][QUERIES] += weights values, of some pairs of tokens.
template <typename T>
__attribute__((noinline)) void average(const T* values, const T* weights, long pairs, long dim, float* answers) {
  for (long d = 0; d < dim; d += GROUP) {
    Tile<GROUP> tile;
    load<GROUP>(tile, answers + d * QUERIES, QUERIES);
    multiply<GROUP>(values + DEPTH<T> * d, DEPTH<T>, DEPTH<T> * dim, weights, 2 * pairs / DEPTH<T>, tile);
    store<GROUP>(answers + d * QUERIES, QUERIES, tile);
  }
}

// Buffers of one thread.
template <typename T>
struct Workspace {
  Buffer<T> queries, weights;                   // [channels / DEPTH][QUERIES][DEPTH], of some pairs of tokens
  Buffer<float> of_x, of_y, anywhere, nothing;  // written by `project`: of all columns, of two rows, of no place; zeros
  Buffer<float> sums, answers;                  // [QUERIES], [dim][QUERIES]

  explicit Workspace(const Problem<T>& p)
      : queries(buffer<T>(p.channels * QUERIES)),
        weights(buffer<T>(std::max(COLUMNS_AT_ONCE * p.frames, p.loose / 2) * 2 * QUERIES)),
        of_x(buffer<float>(p.side * projected_size(p.dim))),
        of_y(buffer<float>(2 * projected_size(p.dim))),
        anywhere(buffer<float>(projected_size(p.dim))),
        nothing(buffer<float>(projected_size(p.dim))),
        sums(buffer<float>(QUERIES)),
        answers(buffer<float>(p.dim * QUERIES)) {
    std::fill_n(nothing.get(), projected_size(p.dim), 0.0f);
  }
};

template <typename T>
void rotate_queries(const Problem<T>& p, const T* q, long begin, T* to) {
  for (long lane = 0; lane < QUERIES; lane++) {
    const long query = std::min(begin + lane, p.queries - 1), angles = query * (p.channels / 2);
    rotate_pairs(q + query * p.channels, p.channels, p.cos + angles, p.sin + angles, [&](long channel, float x) {
      round_to(x, to + channel / DEPTH<T> * DEPTH<T> * QUERIES + lane * DEPTH<T> + channel % DEPTH<T>);
    });
  }
}

template <typename T>
void attend_to_grid(const Problem<T>& p, const T* memory, const T* pairs, Workspace<T>& w) {
  const long half = p.channels / 2, place = projected_size(p.dim), projection = (p.dim + 1) * half;
  const T *of_x_half = w.queries.get(), *of_y_half = of_x_half + half * QUERIES;
  float *upper = w.of_y.get(), *lower = upper + place;
  for (long x = 0; x < p.side; x++)
    project(p.of_x + x * projection, half, p.dim, of_x_half, p.scale, w.of_x.get() + x * place);
  for (long y = 0; y < p.side; y += 2) {
    project(p.of_y + y * projection, half, p.dim, of_y_half, p.scale, upper);
    project(p.of_y + (y + 1) * projection, half, p.dim, of_y_half, p.scale, lower);
    for (long begin = 0; begin < p.side; begin += COLUMNS_AT_ONCE) {
      const long columns = std::min(COLUMNS_AT_ONCE, p.side - begin);
      for (long column = 0; column < columns; column++) {
        const long x = begin + column;
        const float* of_x = w.of_x.get() + x * place;
        FOR_FRAMES<T>[p.frames]({of_x, upper, memory + p.row_of(x, y, 0) * p.dim},
                                {of_x, lower, memory + p.row_of(x, y + 1, 0) * p.dim}, p.cells() * p.dim, p.dim,
                                w.sums.get(), w.weights.get() + column * p.frames * 2 * QUERIES);
      }
      average(pairs + (y * p.side + 2 * begin) * p.frames * p.dim, w.weights.get(), columns * p.frames, p.dim,
              w.answers.get());
    }
  }
}

template <typename T>
void attend_to_loose(const Problem<T>& p, const T* memory, const T* pairs, Workspace<T>& w) {
  if (!p.loose) return;
  const long first = p.cells() * p.frames;
  project(p.anywhere, p.channels, p.dim, w.queries.get(), p.scale, w.anywhere.get());
  for (long token = 0; token < p.loose; token += 2) {
    const T* at = memory + (first + token) * p.dim;
    weigh_two<1, T>({w.anywhere.get(), w.nothing.get(), at}, {w.anywhere.get(), w.nothing.get(), at + p.dim}, 0, p.dim,
                    w.sums.get(), w.weights.get() + token * QUERIES);
  }
  average(pairs + first * p.dim, w.weights.get(), p.loose / 2, p.dim, w.answers.get());
}

// Returns false if a sum of weights is out of range.
template <typename T>
bool attend(const Problem<T>& p, long batch, const T* pairs, long begin, Workspace<T>& w) {
  const T* memory = p.memory + batch * p.tokens() * p.dim;
  rotate_queries(p, p.q + batch * p.q_batch, begin, w.queries.get());
  std::fill_n(w.sums.get(), QUERIES, 0.0f);
  std::fill_n(w.answers.get(), p.dim * QUERIES, 0.0f);
  attend_to_grid(p, memory, pairs, w);
  attend_to_loose(p, memory, pairs, w);

  bool good = true;
  for (long lane = 0; lane < std::min(QUERIES, p.queries - begin); lane++) {
    const float sum = w.sums[lane], share = 1 / sum;
    good &= 1 / SAFE < sum && sum < SAFE;
    T* to = p.out + (batch * p.queries + begin + lane) * p.dim;
    for (long d = 0; d < p.dim; d++) round_to(w.answers[d * QUERIES + lane] * share, to + d);
  }
  return good;
}

template <typename T>
bool attention(const Problem<T>& p, long batches, int threads, Parallel parallel) {
  const Buffer<T> pairs = buffer<T>(p.tokens() * p.dim);
  std::atomic<bool> good{true};
  for (long batch = 0; batch < batches; batch++) {
    const T* values = p.values + batch * p.tokens() * p.dim;
    on_all_threads(parallel, threads, p.side / 2, [&](const auto& take) {
      for (long index = take(); index >= 0; index = take()) pair_up_rows(p, values, 2 * index, pairs.get());
    });
    pair_up_loose(p, values, pairs.get());
    on_all_threads(parallel, threads, (p.queries + QUERIES - 1) / QUERIES, [&](const auto& take) {
      Workspace<T> workspace(p);
      for (long index = take(); index >= 0; index = take())
        if (!attend(p, batch, pairs.get(), index * QUERIES, workspace)) good = false;
    });
  }
  return good;
}

template <typename T>
int run(const void* const* tensors, const float* rope, const long* sizes, float scale, int threads, void* parallel) {
  const auto at = [tensors](int index) { return static_cast<const T*>(tensors[index]); };
  const long queries = sizes[1], channels = sizes[2];
  const Problem<T> p{at(0), at(1), at(2), const_cast<T*>(at(6)), at(3), at(4), at(5), rope, rope + queries * channels / 2,
                     scale, sizes[7], queries, channels, sizes[3], sizes[4], sizes[5], sizes[6]};
  return attention(p, sizes[0], threads, reinterpret_cast<Parallel>(parallel));
}

}  // namespace

// tensors: q, memory, values, of_x, of_y, anywhere, out, as in `Problem`. rope: cosines, then sines of the queries.
// sizes: batch, queries, channels, dim (a multiple of 8), side (even), frames (1 to 12), loose (even), q_batch.
// Returns 0 if a sum of weights is too small or too large for float32: the result must not be used then.
extern "C" int sam2_grid_attention_float32(const void* const* tensors, const float* rope, const long* sizes, float scale,
                                           int threads, void* parallel) {
  return run<float>(tensors, rope, sizes, scale, threads, parallel);
}

extern "C" int sam2_grid_attention_bfloat16(const void* const* tensors, const float* rope, const long* sizes, float scale,
                                            int threads, void* parallel) {
  return run<Bf16>(tensors, rope, sizes, scale, threads, parallel);
}
