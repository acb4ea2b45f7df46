// SPDX-License-Identifier: Apache-2.0
// Shared by the kernels of this folder: number formats, memory, threads, and matrix products in registers.
//
// Does not know attention. In an unnamed namespace, as every kernel is a translation unit of its own.

#pragma once

#include <immintrin.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>

namespace {

constexpr long LANES = 16;  // float32 numbers in a register
constexpr long TILE_COLUMNS = 2 * LANES;
constexpr float SAFE = 0x1p100f;  // sums of weights between 1 / SAFE and SAFE lose no accuracy

using Bf16 = uint16_t;
using Parallel = void (*)(void (*task)(void*), void* data, unsigned threads, unsigned flags);  // OpenMP's GOMP_parallel

// Numbers of a row that one multiply instruction takes per lane: those in 4 bytes.
template <typename T>
constexpr long DEPTH = 4 / sizeof(T);

template <typename T>
constexpr bool IS_BF16 = std::is_same_v<T, Bf16>;

// ---- Memory

constexpr long up(long x, long to) { return (x + to - 1) / to * to; }

struct Free {
  void operator()(void* p) const { std::free(p); }
};
template <typename T>
using Buffer = std::unique_ptr<T[], Free>;

template <typename T>
Buffer<T> buffer(long count) {
  return Buffer<T>(static_cast<T*>(std::aligned_alloc(64, up(count * sizeof(T), 64))));
}

// ---- Threads

// Calls work(take) on every thread; take() returns the next of the numbers 0 to count - 1, then -1.
template <typename Work>
void on_all_threads(Parallel parallel, int threads, long count, const Work& work) {
  struct Shared {
    const Work& work;
    std::atomic<long> next;
    long count;
  } shared{work, {0}, count};
  parallel(
      [](void* data) {
        auto& shared = *static_cast<Shared*>(data);
        shared.work([&shared] {
          const long index = shared.next++;
          return index < shared.count ? index : -1;
        });
      },
      &shared, threads, 0);
}

// ---- Numbers

inline float number(float x) { return x; }
inline float number(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

inline void round_to(float x, float* to) { *to = x; }
inline void round_to(float x, Bf16* to) {  // to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  *to = static_cast<Bf16>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// Rotates adjacent channels of a query; each pair has an angle of its own.
template <typename T, typename Put>
void rotate_pairs(const T* from, long channels, const float* cos, const float* sin, const Put& put) {
  for (long pair = 0; pair < channels / 2; pair++) {
    const float even = number(from[2 * pair]), odd = number(from[2 * pair + 1]);
    put(2 * pair, even * cos[pair] - odd * sin[pair]);
    put(2 * pair + 1, even * sin[pair] + odd * cos[pair]);
  }
}

// 2^x: the whole part becomes the exponent; the rest, at most a half, goes into a Taylor series.
template <typename T>
inline __m512 power_of_2(__m512 x) {
  const __m512 whole = _mm512_roundscale_ps(x, 0), rest = _mm512_sub_ps(x, whole);
  __m512 power = _mm512_set1_ps(9.6181291e-3f);
  if constexpr (!IS_BF16<T>) {  // bfloat16 has 8 bits: too few for these terms to matter
    power = _mm512_fmadd_ps(_mm512_set1_ps(1.5403530e-4f), rest, _mm512_set1_ps(1.3333558e-3f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(9.6181291e-3f));
  }
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(5.5504109e-2f));
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(2.4022651e-1f));
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(6.9314718e-1f));
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(power, whole);
}

// ---- Products

// sums += x * y, with DEPTH<T> products per lane.
template <typename T>
inline __m512 add_products(__m512 sums, __m512i x, __m512i y) {
  if constexpr (IS_BF16<T>)
    return _mm512_dpbf16_ps(sums, (__m512bh)x, (__m512bh)y);
  else
    return _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(y), sums);
}

template <typename T>
inline __m512i everywhere(const T* numbers) {
  int32_t bits;
  std::memcpy(&bits, numbers, sizeof bits);
  return _mm512_set1_epi32(bits);
}

// ROWS x TILE_COLUMNS sums, in registers.
template <int ROWS>
using Tile = __m512[ROWS][2];

// tile += rows * panel. The panel is [steps][TILE_COLUMNS][DEPTH]; rows are `pitch` apart, the numbers of their steps
// `stride` apart.
template <int ROWS, typename T>
inline __attribute__((always_inline)) void multiply(const T* rows, long pitch, long stride, const T* panel, long steps,
                                                    Tile<ROWS>& tile) {
  for (long step = 0; step < steps; step++, rows += stride, panel += DEPTH<T> * TILE_COLUMNS) {
    const __m512i left = _mm512_loadu_si512(panel), right = _mm512_loadu_si512(panel + DEPTH<T> * LANES);
#pragma GCC unroll 12
    for (long row = 0; row < ROWS; row++) {
      const __m512i x = everywhere(rows + row * pitch);
      tile[row][0] = add_products<T>(tile[row][0], x, left);
      tile[row][1] = add_products<T>(tile[row][1], x, right);
    }
  }
}

template <int ROWS>
inline __attribute__((always_inline)) void load(Tile<ROWS>& tile, const float* from, long pitch) {
#pragma GCC unroll 12
  for (long row = 0; row < ROWS; row++) {
    tile[row][0] = _mm512_loadu_ps(from + row * pitch);
    tile[row][1] = _mm512_loadu_ps(from + row * pitch + LANES);
  }
}

inline void store(float* to, __m512 left, __m512 right) {
  _mm512_storeu_ps(to, left);
  _mm512_storeu_ps(to + LANES, right);
}

inline void store(Bf16* to, __m512 left, __m512 right) {
  _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(right, left));
}

template <int ROWS>
inline __attribute__((always_inline)) void store(float* to, long pitch, const Tile<ROWS>& tile) {
#pragma GCC unroll 12
  for (long row = 0; row < ROWS; row++) store(to + row * pitch, tile[row][0], tile[row][1]);
}

}  // namespace
