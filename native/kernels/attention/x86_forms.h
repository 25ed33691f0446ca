// How attention multiplies on x86, and how it packs values for that.
#pragma once

#include "../simd/rescale.h"
#include "../simd/tile.h"
#include "attention.h"

namespace intformer {
namespace {

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
constexpr bool kNarrow = true;
using Dot = DotVnni;
#else
constexpr bool kNarrow = false;
using Dot = DotWide;
#endif
#if defined(__AVX512F__)
constexpr int kRows = 6, kVectors = 4;
#elif defined(__AVXVNNI__)
constexpr int kRows = 4, kVectors = 3;
#else
constexpr int kRows = 6, kVectors = 2;
#endif
// The signed operand is a level minus 128.
constexpr int32_t kOffset = 128;
constexpr int64_t kGroup = kNarrow ? 4 : 2;

void store_halves(uint8_t* to, int64_t half, __m128i a, __m128i b, __m128i c, __m128i d) {
  auto* first = reinterpret_cast<__m128i*>(to);
  auto* second = reinterpret_cast<__m128i*>(to + half);
  _mm_storeu_si128(first, a);
  _mm_storeu_si128(first + 1, b);
  _mm_storeu_si128(second, c);
  _mm_storeu_si128(second + 1, d);
}

// Sixteen columns of kGroup full rows. Columns 8..15 follow in the same panel of 16 lanes, or open
// the next panel of 8 lanes.
void pack_values_16(const Attention& a, const uint8_t* v, uint8_t* to, int64_t panel) {
  const int64_t half = kLanes == 16 ? 32 : panel;
  __m128i rows[kGroup];
  for (int j = 0; j < kGroup; ++j) {
    rows[j] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(v + j * a.v_stride));
  }
  if constexpr (kNarrow) {
    const __m128i sign = _mm_set1_epi8(-128);
    for (auto& row : rows) row = _mm_xor_si128(row, sign);
    const __m128i low01 = _mm_unpacklo_epi8(rows[0], rows[1]);
    const __m128i low23 = _mm_unpacklo_epi8(rows[kGroup - 2], rows[kGroup - 1]);
    const __m128i high01 = _mm_unpackhi_epi8(rows[0], rows[1]);
    const __m128i high23 = _mm_unpackhi_epi8(rows[kGroup - 2], rows[kGroup - 1]);
    store_halves(to, half, _mm_unpacklo_epi16(low01, low23), _mm_unpackhi_epi16(low01, low23),
                 _mm_unpacklo_epi16(high01, high23), _mm_unpackhi_epi16(high01, high23));
  } else {
    const __m128i zero = _mm_set1_epi16(static_cast<int16_t>(a.v_zero));
    __m128i low[2], high[2];
    for (int j = 0; j < 2; ++j) {
      low[j] = _mm_sub_epi16(_mm_cvtepu8_epi16(rows[j]), zero);
      high[j] = _mm_sub_epi16(_mm_cvtepu8_epi16(_mm_srli_si128(rows[j], 8)), zero);
    }
    store_halves(to, half, _mm_unpacklo_epi16(low[0], low[1]), _mm_unpackhi_epi16(low[0], low[1]),
                 _mm_unpacklo_epi16(high[0], high[1]), _mm_unpackhi_epi16(high[0], high[1]));
  }
}

}  // namespace
}  // namespace intformer
