// How attention of few queries multiplies with AVX-512 and VNNI.
#pragma once

#include "../simd/deliver.h"
#include "plain.h"

namespace intformer {
namespace {

// Bytes of a head in a vector, what its size is a multiple of, and values that are added up at
// once.
constexpr int64_t kHeadBytes = 64, kSizeStep = 4, kValueGroup = 4;

// Bytes of a head from which nothing past its end is read; those past the end are 0.
inline V load_bytes(const uint8_t* p, __mmask64 kept) { return _mm512_maskz_loadu_epi8(kept, p); }

inline __mmask64 kept_bytes(int64_t count) {
  return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

// A query with q - 128 and what is missing to q - q_zero, as signed bytes: keys are unsigned.
template <int kVectors>
struct Query {
  Query(const uint8_t* q, int64_t size, int32_t zero) : rest(_mm512_set1_epi8(char(128 - zero))) {
    for (int i = 0; i < kVectors; ++i) {
      kept[i] = kept_bytes(size - 64 * i);
      near[i] = _mm512_xor_si512(load_bytes(q + 64 * i, kept[i]), _mm512_set1_epi8(-128));
    }
  }
  // 128 - 0 is no signed byte.
  static bool fits(int32_t zero) { return zero > 0; }

  V dot(const uint8_t* k) const {
    V sum = Isa::zero();
    for (int i = 0; i < kVectors; ++i) {
      const V x = load_bytes(k + 64 * i, kept[i]);
      sum = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sum, x, near[i]), x, rest);
    }
    return sum;
  }

  __mmask64 kept[kVectors];
  V near[kVectors], rest;
};

// Lane i of the result is the sum of the lanes of x[i].
inline V sums_of(V (&x)[16]) {
  V quad[4];
  for (int i = 0; i < 4; ++i) {
    V pair[2];
    for (int j = 0; j < 2; ++j) {
      const V a = x[4 * i + 2 * j], b = x[4 * i + 2 * j + 1];
      pair[j] = Isa::add(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    }
    quad[i] =
        Isa::add(_mm512_unpacklo_epi64(pair[0], pair[1]), _mm512_unpackhi_epi64(pair[0], pair[1]));
  }
  V half[2];
  for (int i = 0; i < 2; ++i) {
    half[i] = Isa::add(_mm512_shuffle_i32x4(quad[2 * i], quad[2 * i + 1], 0x88),
                       _mm512_shuffle_i32x4(quad[2 * i], quad[2 * i + 1], 0xDD));
  }
  return Isa::add(_mm512_shuffle_i32x4(half[0], half[1], 0x88),
                  _mm512_shuffle_i32x4(half[0], half[1], 0xDD));
}

// Σ w·(v - 128) of a head's values; four keys at a time, whose weights are four bytes.
template <int kVectors>
struct Mixture {
  static constexpr int32_t kOffset = 128;
  explicit Mixture(int64_t size) {
    for (int i = 0; i < kVectors; ++i) kept[i] = kept_bytes(size - 64 * i);
    for (auto& vector : sums) vector = Isa::zero();
  }

  void add(const uint8_t* const (&rows)[kValueGroup], const uint8_t* weights) {
    const V w = Isa::broadcast(weights), sign = _mm512_set1_epi8(-128);
    for (int i = 0; i < kVectors; ++i) {
      V x[4];
      for (int j = 0; j < 4; ++j) {
        x[j] = _mm512_xor_si512(load_bytes(rows[j] + 64 * i, kept[i]), sign);
      }
      const V low01 = _mm512_unpacklo_epi8(x[0], x[1]), low23 = _mm512_unpacklo_epi8(x[2], x[3]);
      const V high01 = _mm512_unpackhi_epi8(x[0], x[1]), high23 = _mm512_unpackhi_epi8(x[2], x[3]);
      V* sum = sums + 4 * i;
      sum[0] = _mm512_dpbusd_epi32(sum[0], w, _mm512_unpacklo_epi16(low01, low23));
      sum[1] = _mm512_dpbusd_epi32(sum[1], w, _mm512_unpackhi_epi16(low01, low23));
      sum[2] = _mm512_dpbusd_epi32(sum[2], w, _mm512_unpacklo_epi16(high01, high23));
      sum[3] = _mm512_dpbusd_epi32(sum[3], w, _mm512_unpackhi_epi16(high01, high23));
    }
  }

  // In natural order: quarter j of sum i has the columns 16j + 4i to 16j + 4i + 3.
  void save(int32_t* mixed) const {
    for (int i = 0; i < 4 * kVectors; ++i) {
      int32_t* to = mixed + i / 4 * 64 + i % 4 * 4;
      const auto put = [to](int64_t at, __m128i x) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + at), x);
      };
      put(0, _mm512_extracti32x4_epi32(sums[i], 0));
      put(16, _mm512_extracti32x4_epi32(sums[i], 1));
      put(32, _mm512_extracti32x4_epi32(sums[i], 2));
      put(48, _mm512_extracti32x4_epi32(sums[i], 3));
    }
  }

  __mmask64 kept[kVectors];
  V sums[4 * kVectors];
};

}  // namespace
}  // namespace intformer
