// SPDX-License-Identifier: Apache-2.0
// Softmax attention for x86 CPUs with AVX-512, in float32 and bfloat16. Called by cpu.py, built by setup.py.
//
// Knows pointers, strides and sizes. Does not check whether the CPU can run it.
//
// Processes some queries and BLOCK keys at a time, so that all data stay in a core's second-level cache:
//     weights  = 2 ^ (scale * queries keys^T - shift)     powers are computed while a tile of scores is in registers
//     answers += weights values,   sums += weights        in float32
// The result of a softmax does not depend on the shift, which keeps powers in the range of float32. The shift is 0 at
// first, so that no tile depends on another. If a sum is out of range, the rows are computed again, shifted by their
// largest score. Answers may also be left undivided by `sums`; the shift is 0 then. Rotary embedding, if any, is applied
// while queries and keys are packed for the tiles.

#include <algorithm>
#include <limits>

#include "common.h"
#include "packing.h"

namespace {

constexpr int TILE_ROWS = 12;               // of two registers each: 24 of the 32 registers hold sums
constexpr int FEW_ROWS = 4;                 // of the tiles for the remaining rows
constexpr long BLOCK = 256;                 // keys at a time
constexpr long SMALL_HEAD_BYTES = 400'000;  // keys and values of a head that fit into a core's cache

// A tensor [batch, head, token, channel]; strides in numbers, not bytes.
template <typename T>
struct View {
  T* first;
  const long* strides;

  T* head(long batch, long head) const { return first + batch * strides[0] + head * strides[1]; }
  long token() const { return strides[2]; }
  long channel() const { return strides[3]; }
};

// The tokens of a head: consecutive, or at the indices `rows`; a negative index is padding, the token `filling`.
template <typename T>
struct Tokens {
  const T* first;
  long pitch;
  const int32_t* rows;
  const T* filling;

  const T* operator[](long token) const {
    if (!rows) return first + token * pitch;
    return rows[token] < 0 ? filling : first + rows[token] * pitch;
  }
};

// Windows of a map whose tokens are the rows of all views: the row indices of each window, and the padding tokens.
struct Windows {
  const int32_t *query_rows, *key_rows;   // [batch, queries], [batch, keys]; null: no windows
  const void *no_query, *no_key, *no_value;  // [head, channel]
};

// Angles by which adjacent channels are rotated: of queries [queries, channels / 2], of keys [channels / 2, cells].
struct Rope {
  const float *query_cos, *query_sin, *key_cos, *key_sin;  // null: no rotation
  long cells;                                              // the table is repeated over the keys; a multiple of LANES
  long keys;                                               // number of rotated keys, from the first on; likewise
};

template <typename T>
struct Problem {
  View<const T> q, k, v;
  View<T> out;
  long batch, heads, queries, keys, channels, value_channels;
  float scale;  // of scores, to base 2
  long rows;    // queries at a time
  Rope rope;
  Windows windows;
  bool divides;  // answers are divided by the sums of weights

  Tokens<T> queries_of(long n, long head) const { return tokens(q, n, head, windows.query_rows, queries, windows.no_query); }
  Tokens<T> keys_of(long n, long head) const { return tokens(k, n, head, windows.key_rows, keys, windows.no_key); }
  Tokens<T> values_of(long n, long head) const { return tokens(v, n, head, windows.key_rows, keys, windows.no_value); }

  Tokens<T> tokens(const View<const T>& view, long n, long head, const int32_t* rows, long count, const void* filling) const {
    return {view.head(n, head), view.token(), rows ? rows + n * count : nullptr,
            rows ? static_cast<const T*>(filling) + head * channels : nullptr};
  }

  long blocks() const { return (keys + BLOCK - 1) / BLOCK; }
  long padded_values() const { return up(value_channels, TILE_COLUMNS); }
};

// Keys and values of a head, packed in the order in which tiles read them.
//   keys:   [panels][channels / DEPTH][TILE_COLUMNS keys][DEPTH]
//   values: [blocks][panels of channels][padded keys of the block / DEPTH][TILE_COLUMNS channels][DEPTH]
// The number of keys, and of channels of values, is padded with zeros to whole panels.
template <typename T>
struct Packed {
  Buffer<T> keys, values;

  explicit Packed(const Problem<T>& p)
      : keys(buffer<T>(up(p.keys, TILE_COLUMNS) * p.channels)),
        values(buffer<T>(up(p.keys, TILE_COLUMNS) * p.padded_values())) {}
};

// Buffers of one thread: some queries, and their results for BLOCK keys.
template <typename T>
struct Workspace {
  Buffer<T> queries, weights;           // [rows, channels], [rows, BLOCK]
  Buffer<float> answers, sums, shifts;  // [rows, padded_values], [rows, LANES], [rows]

  explicit Workspace(const Problem<T>& p)
      : queries(buffer<T>(p.rows * p.channels)),
        weights(buffer<T>(p.rows * BLOCK)),
        answers(buffer<float>(p.rows * p.padded_values())),
        sums(buffer<float>(p.rows * LANES)),
        shifts(buffer<float>(p.rows)) {}
};

// ---- Packing

// Packs a panel of keys with contiguous channels, and rotates them.
template <typename T>
void pack_across(const Problem<T>& p, const Tokens<T>& from, long first_key, long keys, T* to) {
  constexpr long IN_REGISTER = LANES * DEPTH<T>;
  for (long half = 0; half < 2; half++, first_key += LANES, keys -= LANES, to += IN_REGISTER) {
    const bool rotates = p.rope.key_cos && first_key < p.rope.keys;
    const long cell = rotates ? first_key % p.rope.cells : 0;
    for (long channel = 0; channel < p.channels; channel += IN_REGISTER) {
      const long channels = std::min(IN_REGISTER, p.channels - channel);
      const __mmask16 there = static_cast<__mmask16>(first_lanes(channels / DEPTH<T>));
      __m512i columns[LANES];
#pragma GCC unroll 16
      for (long key = 0; key < LANES; key++)
        columns[key] = key < keys ? _mm512_maskz_loadu_epi32(there, from[first_key + key] + channel) : _mm512_setzero_si512();
      transpose(columns);
      for (long pair = 0; pair < channels / 2; pair++) {
        const long at = (channel / 2 + pair) * p.rope.cells + cell;
        Pair x = pair_of<T>(columns + pair * 2 / DEPTH<T>);
        if (rotates) x = rotated(x, p.rope.key_cos + at, p.rope.key_sin + at);
        store_pair(to + (channel + 2 * pair) * TILE_COLUMNS, x);
      }
    }
  }
}

template <typename T>
void pack_query(const Problem<T>& p, const T* from, long query, T* to) {
  if (!p.rope.query_cos) {
    std::copy_n(from, p.channels, to);
    return;
  }
  const long angles = query * (p.channels / 2);
  rotate_pairs(from, p.channels, p.rope.query_cos + angles, p.rope.query_sin + angles,
             [to](long channel, float x) { round_to(x, to + channel); });
}

template <typename T>
void pack_block(const Problem<T>& p, long batch, long head, long block, Packed<T>& packed) {
  const long begin = block * BLOCK, keys = std::min(BLOCK, p.keys - begin), padded = up(keys, TILE_COLUMNS);
  const Tokens<T> k = p.keys_of(batch, head), v = p.values_of(batch, head);
  for (long key = begin; key < begin + keys; key += TILE_COLUMNS) {
    T* to = packed.keys.get() + key * p.channels;
    const long some = std::min(TILE_COLUMNS, begin + keys - key);
    if (p.k.channel() == 1) {
      pack_across(p, k, key, some, to);
    } else {  // channels first; not rotated
      const auto channel = [&](long c) { return k.first + key + c * p.k.channel(); };
      pack_rows(channel, p.channels, p.channels, first_lanes(some), to);
    }
  }
  T* to = packed.values.get() + begin * p.padded_values();
  for (long channel = 0; channel < p.value_channels; channel += TILE_COLUMNS, to += padded * TILE_COLUMNS) {
    const auto row = [&](long key) { return v[begin + key] + channel; };
    pack_rows(row, keys, padded, first_lanes(p.value_channels - channel), to);
  }
}

// ---- Tiles

// Weights of ROWS queries and a panel of keys, which are also added to `sums`. `there`: keys of the panel that exist.
template <int ROWS, typename T>
__attribute__((noinline)) void weigh(const T* queries, long channels, const T* panel, float scale, __mmask32 there,
                                     const float* shifts, T* weights, float* sums) {
  Tile<ROWS> tile = {};
  multiply<ROWS>(queries, channels, DEPTH<T>, panel, channels / DEPTH<T>, tile);
  const __m512 factor = _mm512_set1_ps(scale);
#pragma GCC unroll 12
  for (long row = 0; row < ROWS; row++, sums += LANES) {
    const __m512 shift = _mm512_set1_ps(shifts[row]);
    __m512 left = power_of_2<T>(_mm512_fmsub_ps(tile[row][0], factor, shift));
    __m512 right = power_of_2<T>(_mm512_fmsub_ps(tile[row][1], factor, shift));
    left = _mm512_maskz_mov_ps(static_cast<__mmask16>(there), left);
    right = _mm512_maskz_mov_ps(static_cast<__mmask16>(there >> LANES), right);
    _mm512_store_ps(sums, _mm512_add_ps(_mm512_load_ps(sums), _mm512_add_ps(left, right)));
    store(weights + row * BLOCK, left, right);
  }
}

// Raises `shifts` of ROWS queries to their largest score over a panel of keys.
template <int ROWS, typename T>
__attribute__((noinline)) void raise(const T* queries, long channels, const T* panel, float scale, __mmask32 there,
                                     float* shifts) {
  Tile<ROWS> tile = {};
  multiply<ROWS>(queries, channels, DEPTH<T>, panel, channels / DEPTH<T>, tile);
  const __m512 factor = _mm512_set1_ps(scale), lowest = _mm512_set1_ps(std::numeric_limits<float>::lowest());
#pragma GCC unroll 12
  for (long row = 0; row < ROWS; row++) {
    const __m512 left = _mm512_mask_mul_ps(lowest, static_cast<__mmask16>(there), tile[row][0], factor);
    const __m512 right = _mm512_mask_mul_ps(lowest, static_cast<__mmask16>(there >> LANES), tile[row][1], factor);
    shifts[row] = std::max(shifts[row], _mm512_reduce_max_ps(_mm512_max_ps(left, right)));
  }
}

// answers += weights values, for ROWS rows of weights and a panel of values.
template <int ROWS, typename T>
__attribute__((noinline)) void average(const T* weights, const T* panel, long keys, float* answers, long pitch) {
  Tile<ROWS> tile;
  load<ROWS>(tile, answers, pitch);
  multiply<ROWS>(weights, BLOCK, DEPTH<T>, panel, keys / DEPTH<T>, tile);
  store<ROWS>(answers, pitch, tile);
}

void store_some(float* to, __m512 left, __m512 right, __mmask32 there) {
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>(there), left);
  _mm512_mask_storeu_ps(to + LANES, static_cast<__mmask16>(there >> LANES), right);
}

void store_some(Bf16* to, __m512 left, __m512 right, __mmask32 there) {
  _mm512_mask_storeu_epi16(to, there, (__m512i)_mm512_cvtne2ps_pbh(right, left));
}

// ---- Rows

template <int ROWS>
using Rows = std::integral_constant<int, ROWS>;

// Calls act(Rows of a tile, its first row) for tiles that cover `rows`, a multiple of FEW_ROWS.
template <typename Act>
void each_tile(long rows, const Act& act) {
  long row = 0;
  for (; row + TILE_ROWS <= rows; row += TILE_ROWS) act(Rows<TILE_ROWS>(), row);
  for (; row < rows; row += FEW_ROWS) act(Rows<FEW_ROWS>(), row);
}

// Calls act(Rows of a tile, its first row, the panel's first key in the block, which of its keys exist) for a block.
template <typename T, typename Act>
void each_tile_of_block(const Problem<T>& p, long rows, long begin, const Act& act) {
  const long keys = std::min(BLOCK, p.keys - begin);
  for (long key = 0; key < keys; key += TILE_COLUMNS)  // a panel stays in the first-level cache
    each_tile(rows, [&](auto size, long row) { act(size, row, key, first_lanes(keys - key)); });
}

template <typename T>
void find_shifts(const Problem<T>& p, const Packed<T>& packed, long rows, Workspace<T>& w) {
  std::fill_n(w.shifts.get(), rows, std::numeric_limits<float>::lowest());
  for (long begin = 0; begin < p.keys; begin += BLOCK)
    each_tile_of_block(p, rows, begin, [&](auto size, long row, long key, __mmask32 there) {
      raise<size>(w.queries.get() + row * p.channels, p.channels, packed.keys.get() + (begin + key) * p.channels, p.scale,
            there, w.shifts.get() + row);
    });
}

template <typename T>
void weigh_and_average(const Problem<T>& p, const Packed<T>& packed, long rows, Workspace<T>& w) {
  std::fill_n(w.sums.get(), rows * LANES, 0.0f);
  const long pitch = p.padded_values();
  std::fill_n(w.answers.get(), rows * pitch, 0.0f);
  for (long begin = 0; begin < p.keys; begin += BLOCK) {
    each_tile_of_block(p, rows, begin, [&](auto size, long row, long key, __mmask32 there) {
      weigh<size>(w.queries.get() + row * p.channels, p.channels, packed.keys.get() + (begin + key) * p.channels, p.scale,
            there, w.shifts.get() + row, w.weights.get() + row * BLOCK + key, w.sums.get() + row * LANES);
    });
    const long keys = std::min(BLOCK, p.keys - begin), padded = up(keys, TILE_COLUMNS);
    const T* values = packed.values.get() + begin * pitch;
    for (long channel = 0; channel < pitch; channel += TILE_COLUMNS)
      each_tile(rows, [&](auto size, long row) {
        average<size>(w.weights.get() + row * BLOCK, values + channel * padded, up(keys, DEPTH<T>),
                      w.answers.get() + row * pitch + channel, pitch);
      });
  }
}

inline float total(const float* sums) { return _mm512_reduce_add_ps(_mm512_load_ps(sums)); }

template <typename T>
void attend(const Problem<T>& p, const Packed<T>& packed, long batch, long head, long begin, Workspace<T>& w) {
  const long count = std::min(p.rows, p.queries - begin), rows = up(count, FEW_ROWS);
  const Tokens<T> q = p.queries_of(batch, head);
  for (long row = 0; row < rows; row++) {
    const long query = begin + std::min(row, count - 1);  // the last tile is padded with the last query
    pack_query(p, q[query], query, w.queries.get() + row * p.channels);
  }

  std::fill_n(w.shifts.get(), rows, 0.0f);
  weigh_and_average(p, packed, rows, w);
  bool out_of_range = false;
  for (long row = 0; row < rows; row++) {
    const float sum = total(w.sums.get() + row * LANES);
    out_of_range |= !(1 / SAFE < sum && sum < SAFE);
  }
  if (out_of_range && p.divides) {
    find_shifts(p, packed, rows, w);
    weigh_and_average(p, packed, rows, w);
  }

  for (long row = 0; row < count; row++) {
    const long at = p.windows.query_rows ? p.windows.query_rows[batch * p.queries + begin + row] : begin + row;
    if (at < 0) continue;
    const __m512 share = _mm512_set1_ps(p.divides ? 1 / total(w.sums.get() + row * LANES) : 1.0f);
    const float* from = w.answers.get() + row * p.padded_values();
    T* to = p.out.head(batch, head) + at * p.out.token();
    for (long channel = 0; channel < p.value_channels; channel += TILE_COLUMNS) {
      const __m512 left = _mm512_mul_ps(_mm512_loadu_ps(from + channel), share);
      const __m512 right = _mm512_mul_ps(_mm512_loadu_ps(from + channel + LANES), share);
      store_some(to + channel, left, right, first_lanes(p.value_channels - channel));
    }
  }
}

// ---- Heads

template <typename T>
void attention(const Problem<T>& p, int threads, Parallel parallel) {
  const long heads = p.batch * p.heads;
  const bool small = p.keys * (p.channels + p.value_channels) * static_cast<long>(sizeof(T)) <= SMALL_HEAD_BYTES;
  if (small && heads >= 2 * threads) {  // each thread takes a head
    on_all_threads(parallel, threads, heads, [&](const auto& take) {
      Packed<T> packed(p);
      Workspace<T> workspace(p);
      for (long index = take(); index >= 0; index = take()) {
        const long batch = index / p.heads, head = index % p.heads;
        for (long block = 0; block < p.blocks(); block++) pack_block(p, batch, head, block, packed);
        for (long begin = 0; begin < p.queries; begin += p.rows) attend(p, packed, batch, head, begin, workspace);
      }
    });
    return;
  }
  Packed<T> packed(p);
  for (long batch = 0; batch < p.batch; batch++)
    for (long head = 0; head < p.heads; head++) {  // each thread takes some rows of one head
      on_all_threads(parallel, threads, p.blocks(), [&](const auto& take) {
        for (long block = take(); block >= 0; block = take()) pack_block(p, batch, head, block, packed);
      });
      on_all_threads(parallel, threads, (p.queries + p.rows - 1) / p.rows, [&](const auto& take) {
        Workspace<T> workspace(p);
        for (long index = take(); index >= 0; index = take()) attend(p, packed, batch, head, index * p.rows, workspace);
      });
    }
}

template <typename T>
void run(const void* q, const void* k, const void* v, void* out, const long (*strides)[4], const long* sizes, float scale,
         const float* query_rope, const float* key_rope, const Windows* windows, int threads, void* parallel) {
  // Queries, weights and answers use half of a second-level cache of 1 MB.
  const long bytes = sizeof(T) * (sizes[4] + BLOCK) + sizeof(float) * up(sizes[5], TILE_COLUMNS);
  const long rows = std::clamp<long>(500'000 / bytes / TILE_ROWS * TILE_ROWS, TILE_ROWS, 16 * TILE_ROWS);
  const long query_angles = sizes[2] * sizes[4] / 2, key_angles = sizes[6] * sizes[4] / 2;
  Rope rope{};
  if (query_rope) rope = {query_rope, query_rope + query_angles, key_rope, key_rope + key_angles, sizes[6], sizes[7]};
  const Problem<T> problem{{static_cast<const T*>(q), strides[0]}, {static_cast<const T*>(k), strides[1]},
                           {static_cast<const T*>(v), strides[2]}, {static_cast<T*>(out), strides[3]},
                           sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], scale,
                           std::min(rows, up(sizes[2], FEW_ROWS)), rope,
                           windows ? *windows : Windows{}, sizes[8] != 0};
  attention(problem, threads, reinterpret_cast<Parallel>(parallel));
}

}  // namespace

// Raised when the arguments of a function of this folder change; cpu.py expects the same number.
extern "C" int sam2_kernels_interface() { return 2; }

// q, k, v, out: [batch, heads, tokens, channels] with `strides` of each. Contiguous: channels of q, v and out; of k either
// channels or tokens.
// sizes: batch, heads, queries, keys, channels (even), value channels; with ropes their cells and keys, see `Rope`, else 0;
// and 1 if answers are divided by the sums of weights, else 0.
// scale: of scores, to base 2.
// query_rope, key_rope: cosines, then sines, as in `Rope`, or null; channels of k must be contiguous then.
// windows: null, or the batch is of windows; channels of k must be contiguous then. Padding has as many channels as k, and as v.
// parallel: OpenMP's GOMP_parallel, which calls on the threads of the rest of the program.
extern "C" void sam2_attention_float32(const void* q, const void* k, const void* v, void* out, const long (*strides)[4],
                                       const long* sizes, float scale, const float* query_rope, const float* key_rope,
                                       const Windows* windows, int threads, void* parallel) {
  run<float>(q, k, v, out, strides, sizes, scale, query_rope, key_rope, windows, threads, parallel);
}

extern "C" void sam2_attention_bfloat16(const void* q, const void* k, const void* v, void* out, const long (*strides)[4],
                                        const long* sizes, float scale, const float* query_rope, const float* key_rope,
                                        const Windows* windows, int threads, void* parallel) {
  run<Bf16>(q, k, v, out, strides, sizes, scale, query_rope, key_rope, windows, threads, parallel);
}
