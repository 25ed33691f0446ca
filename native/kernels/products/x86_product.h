// Products of matrices by pairs of terms: 16-bit factors, two products per 32-bit lane.
#pragma once

#include <immintrin.h>

#include "products.h"

namespace intformer {
namespace {

constexpr int64_t kColumns = 16, kRows = 4;

// a[k] - zero and a[k + 1] - zero side by side in each lane; nothing beyond the last term.
__m256i left_pair(const Product& p, const uint8_t* a, int64_t k) {
  const int32_t first = a[k] - p.a_zero, second = k + 1 < p.k ? a[k + 1] - p.a_zero : 0;
  return _mm256_set1_epi32((first & 0xFFFF) | static_cast<int32_t>(uint32_t(second) << 16));
}

// kCount rows of the result, kColumns columns from j on.
template <int64_t kCount>
void product_block(const Product& p, const uint8_t* a, const uint8_t* b, int32_t* out, int64_t j) {
  const __m256i zero = _mm256_set1_epi16(static_cast<int16_t>(p.b_zero));
  __m256i sums[kCount][2] = {};
  for (int64_t k = 0; k < p.k; k += 2) {
    const auto* row = reinterpret_cast<const __m128i*>(b + k * p.n + j);
    const auto* below = reinterpret_cast<const __m128i*>(b + (k + 1) * p.n + j);
    const __m128i even = _mm_loadu_si128(row);
    const __m128i odd = k + 1 < p.k ? _mm_loadu_si128(below) : even;
    const __m128i low = _mm_unpacklo_epi8(even, odd), high = _mm_unpackhi_epi8(even, odd);
    const __m256i right[2] = {_mm256_sub_epi16(_mm256_cvtepu8_epi16(low), zero),
                              _mm256_sub_epi16(_mm256_cvtepu8_epi16(high), zero)};
    for (int64_t i = 0; i < kCount; ++i) {
      const __m256i left = left_pair(p, a + i * p.k, k);
      for (int h = 0; h < 2; ++h) {
        sums[i][h] = _mm256_add_epi32(sums[i][h], _mm256_madd_epi16(left, right[h]));
      }
    }
  }
  for (int64_t i = 0; i < kCount; ++i) {
    for (int h = 0; h < 2; ++h) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i * p.n + j + 8 * h), sums[i][h]);
    }
  }
}

int32_t product_element(const Product& p, const uint8_t* a, const uint8_t* b) {
  int32_t sum = 0;
  for (int64_t k = 0; k < p.k; ++k) sum += (a[k] - p.a_zero) * (b[k * p.n] - p.b_zero);
  return sum;
}

// The last block overlaps the one before it; results narrower than a block go one by one.
template <int64_t kCount>
void product_rows(const Product& p, const uint8_t* a, const uint8_t* b, int32_t* out) {
  if (p.n < kColumns) {
    for (int64_t i = 0; i < kCount; ++i) {
      for (int64_t j = 0; j < p.n; ++j) out[i * p.n + j] = product_element(p, a + i * p.k, b + j);
    }
    return;
  }
  for (int64_t j = 0; j < p.n; j += kColumns) {
    product_block<kCount>(p, a, b, out, j + kColumns <= p.n ? j : p.n - kColumns);
  }
}

void product(const Product& p, const uint8_t* a, const uint8_t* b, int32_t* out, Range rows) {
  int64_t i = rows.begin;
  for (; i + kRows <= rows.end; i += kRows) product_rows<kRows>(p, a + i * p.k, b, out + i * p.n);
  for (; i < rows.end; ++i) product_rows<1>(p, a + i * p.k, b, out + i * p.n);
}

}  // namespace
}  // namespace intformer
