// 256-bit integer vectors. Each including file has another instruction set, hence all names are
// local.
#pragma once

#include <immintrin.h>

#include "../scalar.h"

namespace intformer {
namespace {

struct Isa {
  using V = __m256i;
  static constexpr int kLanes = 8;

  // The shift of a 64-bit lane. From 32 on the result lies in the upper half and is shifted there.
  struct Shift {
    bool upper;
    V down, up;
    __m128i rest;
  };

  static V zero() { return _mm256_setzero_si256(); }
  static V set(int32_t x) { return _mm256_set1_epi32(x); }
  static V set64(int64_t x) { return _mm256_set1_epi64x(x); }
  static V load(const void* p) { return _mm256_loadu_si256(static_cast<const V*>(p)); }
  static void store(void* p, V x) { _mm256_storeu_si256(static_cast<V*>(p), x); }
  static V add(V a, V b) { return _mm256_add_epi32(a, b); }
  static V sub(V a, V b) { return _mm256_sub_epi32(a, b); }
  static V mul(V a, V b) { return _mm256_mullo_epi32(a, b); }
  static V min(V a, V b) { return _mm256_min_epi32(a, b); }
  static V max(V a, V b) { return _mm256_max_epi32(a, b); }
  static V both(V a, V b) { return _mm256_and_si256(a, b); }
  static V sra(V a, int s) { return _mm256_sra_epi32(a, _mm_cvtsi32_si128(s)); }
  static V srl_each(V a, V s) { return _mm256_srlv_epi32(a, s); }
  static V sll_each(V a, V s) { return _mm256_sllv_epi32(a, s); }
  // b where the lane of `mask` is -1, a where it is 0.
  static V select(V a, V b, V mask) { return _mm256_blendv_epi8(a, b, mask); }

  static V add64(V a, V b) { return _mm256_add_epi64(a, b); }
  static V even_product(V a, V b) { return _mm256_mul_epi32(a, b); }
  static V odd(V a) { return _mm256_srli_epi64(a, 32); }

  static Shift shift(int s) {
    return {s >= 32, _mm256_set1_epi64x(s), _mm256_set1_epi64x(32 - s), _mm_cvtsi32_si128(s - 32)};
  }

  // (even >> s) and (odd >> s) interleaved again, as int32.
  static V merge(V even, V odd, const Shift& s) {
    if (s.upper) {
      const V halves = _mm256_blend_epi32(_mm256_shuffle_epi32(even, 0xF5), odd, 0xAA);
      return _mm256_sra_epi32(halves, s.rest);
    }
    const V low = _mm256_srlv_epi64(even, s.down), high = _mm256_sllv_epi64(odd, s.up);
    return _mm256_blend_epi32(low, high, 0xAA);
  }

  // Stores of several vectors at once cost fewer instructions each.
  static constexpr int kMany = 2;

  static V narrow(V a, V b) { return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8); }
  static void store_many_u8(void* p, const V (&x)[kMany]) {
    const V y = narrow(x[0], x[1]);
    const __m128i low = _mm256_castsi256_si128(y), high = _mm256_extracti128_si256(y, 1);
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm_packus_epi16(low, high));
  }
  static void store_many_i8(void* p, const V (&x)[kMany]) {
    const V y = narrow(x[0], x[1]);
    const __m128i low = _mm256_castsi256_si128(y), high = _mm256_extracti128_si256(y, 1);
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm_packs_epi16(low, high));
  }
  static void store_many_i16(void* p, const V (&x)[kMany]) { store(p, narrow(x[0], x[1])); }

  static int32_t sum(V x) {
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 0xB1)));
  }

  static int64_t sum64(V x) {
    const __m128i y = _mm_add_epi64(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    return _mm_cvtsi128_si64(y) + _mm_extract_epi64(y, 1);
  }

  static int32_t maximum(V x) {
    __m128i y = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_max_epi32(y, _mm_shuffle_epi32(y, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(y, _mm_shuffle_epi32(y, 0xB1)));
  }

  // Non-negative int32 lanes added up in 64 bits.
  static V widened(V x) {
    return _mm256_add_epi64(_mm256_srli_epi64(x, 32),
                            _mm256_and_si256(x, _mm256_set1_epi64x(0xFFFFFFFF)));
  }

  // Of pairs among twice as many int16: their sums, and the sums of their squares as uint32.
  static V pair_sums(V x) { return _mm256_madd_epi16(x, _mm256_set1_epi16(1)); }
  static V pair_squares(V x) { return _mm256_madd_epi16(x, x); }

  static V load_u8(const void* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
  }
  static V load_i8(const void* p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
  }
  static V load_i16(const void* p) {
    return _mm256_cvtepi16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }

  static __m128i narrow(V x) {
    return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  }
  static void store_u8(void* p, V x) {
    const __m128i y = narrow(x);
    _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packus_epi16(y, y));
  }
  static void store_i8(void* p, V x) {
    const __m128i y = narrow(x);
    _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packs_epi16(y, y));
  }
  static void store_i16(void* p, V x) { _mm_storeu_si128(static_cast<__m128i*>(p), narrow(x)); }

  // Four or two bytes of consecutive rows for every lane.
  static V broadcast(const void* p) {
    int32_t x;
    __builtin_memcpy(&x, p, 4);
    return _mm256_set1_epi32(x);
  }
};

}  // namespace
}  // namespace intformer
