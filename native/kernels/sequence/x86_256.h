// How attention of few queries multiplies with AVX2.
#pragma once

#include "../simd/deliver.h"
#include "plain.h"

namespace intformer {
namespace {

constexpr int64_t kHeadBytes = 32, kSizeStep = 32, kValueGroup = 2;

inline V widened_bytes(const uint8_t* p) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// A query as q - q_zero in 16 bits.
template <int kVectors>
struct Query {
  Query(const uint8_t* q, int64_t, int32_t zero) {
    const V all = _mm256_set1_epi16(static_cast<int16_t>(zero));
    for (int i = 0; i < 2 * kVectors; ++i) {
      parts[i] = _mm256_sub_epi16(widened_bytes(q + 16 * i), all);
    }
  }
  static bool fits(int32_t) { return true; }

  V dot(const uint8_t* k) const {
    V sum = Isa::zero();
    for (int i = 0; i < 2 * kVectors; ++i) {
      sum = Isa::add(sum, _mm256_madd_epi16(widened_bytes(k + 16 * i), parts[i]));
    }
    return sum;
  }

  V parts[2 * kVectors];
};

// Lane i of the result is the sum of the lanes of x[i].
inline V sums_of(V (&x)[8]) {
  V quad[2];
  for (int i = 0; i < 2; ++i) {
    quad[i] = _mm256_hadd_epi32(_mm256_hadd_epi32(x[4 * i], x[4 * i + 1]),
                                _mm256_hadd_epi32(x[4 * i + 2], x[4 * i + 3]));
  }
  return Isa::add(_mm256_permute2x128_si256(quad[0], quad[1], 0x20),
                  _mm256_permute2x128_si256(quad[0], quad[1], 0x31));
}

// Σ w·v of a head's values; two keys at a time.
template <int kVectors>
struct Mixture {
  static constexpr int32_t kOffset = 0;
  explicit Mixture(int64_t) {
    for (auto& vector : sums) vector = Isa::zero();
  }

  void add(const uint8_t* const (&rows)[kValueGroup], const uint8_t* weights) {
    const V w = Isa::set(weights[0] | weights[1] << 16);
    for (int i = 0; i < 2 * kVectors; ++i) {
      const V a = widened_bytes(rows[0] + 16 * i), b = widened_bytes(rows[1] + 16 * i);
      sums[2 * i] = Isa::add(sums[2 * i], _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), w));
      sums[2 * i + 1] =
          Isa::add(sums[2 * i + 1], _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), w));
    }
  }

  // In natural order: unpacking leaves each half of a vector where it was.
  void save(int32_t* mixed) const {
    for (int i = 0; i < 2 * kVectors; ++i) {
      const V low = sums[2 * i], high = sums[2 * i + 1];
      Isa::store(mixed + 16 * i, _mm256_permute2x128_si256(low, high, 0x20));
      Isa::store(mixed + 16 * i + 8, _mm256_permute2x128_si256(low, high, 0x31));
    }
  }

  V sums[4 * kVectors];
};

}  // namespace
}  // namespace intformer
