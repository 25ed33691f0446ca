// A table of 256 bytes, looked up for 32 bytes at once.
#pragma once

#include "vector256.h"

namespace intformer {
namespace {

// One of `a` and `b` for each byte, by bit 7 of `bits`.
inline __m256i either(__m256i a, __m256i b, __m256i bits) { return _mm256_blendv_epi8(a, b, bits); }

// Sixteen tables of sixteen bytes: the low half of an index shuffles each, the bits of the upper
// half choose among the results two by two.
inline __m256i look_up_bytes(const void* table, __m256i index) {
  const auto* tables = static_cast<const __m128i*>(table);
  const __m256i nibble = _mm256_and_si256(index, _mm256_set1_epi8(15));
  const __m256i bits[4] = {_mm256_slli_epi16(index, 3), _mm256_slli_epi16(index, 2),
                           _mm256_slli_epi16(index, 1), index};
  __m256i quarters[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    __m256i eighths[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m128i part = _mm_loadu_si128(tables + 4 * i + j);
      eighths[j] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(part), nibble);
    }
    quarters[i] = either(either(eighths[0], eighths[1], bits[0]),
                         either(eighths[2], eighths[3], bits[0]), bits[1]);
  }
  return either(either(quarters[0], quarters[1], bits[2]),
                either(quarters[2], quarters[3], bits[2]), bits[3]);
}

}  // namespace
}  // namespace intformer
