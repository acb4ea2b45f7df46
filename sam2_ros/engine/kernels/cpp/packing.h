// SPDX-License-Identifier: Apache-2.0
// Packs rows of numbers in the order in which products read them: operands of one instruction next to each other.
//
// Does not distinguish keys and values, and does not know where rows come from.

#pragma once

#include <algorithm>

#include "common.h"

namespace {

__mmask32 first_lanes(long count) { return count >= 32 ? ~0u : count <= 0 ? 0u : (1u << count) - 1; }

// Interleaves two rows: pairs of numbers, as one multiply instruction takes them. `there`: lanes that exist.
void interleave(const Bf16* upper, const Bf16* lower, __mmask32 there, bool lower_there, Bf16* to) {
  const __m512i a = _mm512_maskz_loadu_epi16(there, upper);
  const __m512i b = lower_there ? _mm512_maskz_loadu_epi16(there, lower) : _mm512_setzero_si512();
  const __m512i left = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5,
                                        36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i right = _mm512_add_epi16(left, _mm512_set1_epi16(LANES));
  _mm512_storeu_si512(to, _mm512_permutex2var_epi16(a, left, b));
  _mm512_storeu_si512(to + TILE_COLUMNS, _mm512_permutex2var_epi16(a, right, b));
}

// Packs `count` rows of TILE_COLUMNS numbers; rows past `rows` and lanes outside of `there` are zeros. row(i) is the
// address of a row.
template <typename T, typename Row>
void pack_rows(const Row& row, long rows, long count, __mmask32 there, T* to) {
  for (long i = 0; i < count; i += DEPTH<T>, to += DEPTH<T> * TILE_COLUMNS) {
    const __mmask32 of_row = i < rows ? there : 0;
    const T* from = row(std::min(i, rows - 1));
    if constexpr (IS_BF16<T>) {
      interleave(from, row(std::min(i + 1, rows - 1)), of_row, i + 1 < rows, to);
    } else {
      _mm512_storeu_ps(to, _mm512_maskz_loadu_ps(static_cast<__mmask16>(of_row), from));
      _mm512_storeu_ps(to + LANES, _mm512_maskz_loadu_ps(static_cast<__mmask16>(of_row >> LANES), from + LANES));
    }
  }
}

// Transposes 16 x 16 numbers of 4 bytes.
void transpose(__m512i (&x)[LANES]) {
  __m512i y[LANES];
#pragma GCC unroll 8
  for (long i = 0; i < LANES; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (long i = 0; i < LANES; i += 4) {
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
  // Register 4 i + j now has columns j, j + 4, j + 8 and j + 12 of rows 4 i to 4 i + 3.
#pragma GCC unroll 4
  for (long j = 0; j < 4; j++) {
    y[j] = _mm512_shuffle_i32x4(x[j], x[j + 4], 0x88);
    y[j + 4] = _mm512_shuffle_i32x4(x[j], x[j + 4], 0xDD);
    y[j + 8] = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0x88);
    y[j + 12] = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0xDD);
  }
#pragma GCC unroll 4
  for (long j = 0; j < 4; j++) {
    x[j] = _mm512_shuffle_i32x4(y[j], y[j + 8], 0x88);
    x[j + 8] = _mm512_shuffle_i32x4(y[j], y[j + 8], 0xDD);
    x[j + 4] = _mm512_shuffle_i32x4(y[j + 4], y[j + 12], 0x88);
    x[j + 12] = _mm512_shuffle_i32x4(y[j + 4], y[j + 12], 0xDD);
  }
}

// Two adjacent columns of LANES rows.
struct Pair {
  __m512 even, odd;
};

// A pair from transposed columns, each of which holds 4 bytes of every row.
template <typename T>
Pair pair_of(const __m512i* columns) {
  if constexpr (IS_BF16<T>)
    return {_mm512_castsi512_ps(_mm512_slli_epi32(columns[0], 16)),
            _mm512_castsi512_ps(_mm512_and_si512(columns[0], _mm512_set1_epi32(static_cast<int>(0xFFFF0000))))};
  else
    return {_mm512_castsi512_ps(columns[0]), _mm512_castsi512_ps(columns[1])};
}

Pair rotated(Pair x, const float* cos, const float* sin) {
  const __m512 c = _mm512_loadu_ps(cos), s = _mm512_loadu_ps(sin);
  return {_mm512_fmsub_ps(x.even, c, _mm512_mul_ps(x.odd, s)), _mm512_fmadd_ps(x.even, s, _mm512_mul_ps(x.odd, c))};
}

void store_pair(Bf16* to, Pair x) {
  const __m512i even = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x.even));
  const __m512i odd = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x.odd));
  _mm512_storeu_si512(to, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
}

void store_pair(float* to, Pair x) {
  _mm512_storeu_ps(to, x.even);
  _mm512_storeu_ps(to + TILE_COLUMNS, x.odd);
}

}  // namespace
