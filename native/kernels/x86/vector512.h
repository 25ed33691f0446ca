// 512-bit integer vectors. Each including file has another instruction set, hence all names are
// local.
#pragma once

#include <immintrin.h>

#include "../scalar.h"

namespace intformer {
namespace {

struct Isa {
  using V = __m512i;
  static constexpr int kLanes = 16;

  // The shift of a 64-bit lane. From 32 on the result lies in the upper half and is shifted there.
  struct Shift {
    bool upper;
    V down, up, rest;
  };

  static V zero() { return _mm512_setzero_si512(); }
  static V set(int32_t x) { return _mm512_set1_epi32(x); }
  static V set64(int64_t x) { return _mm512_set1_epi64(x); }
  static V load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, V x) { _mm512_storeu_si512(p, x); }
  static V add(V a, V b) { return _mm512_add_epi32(a, b); }
  static V sub(V a, V b) { return _mm512_sub_epi32(a, b); }
  static V mul(V a, V b) { return _mm512_mullo_epi32(a, b); }
  static V min(V a, V b) { return _mm512_min_epi32(a, b); }
  static V max(V a, V b) { return _mm512_max_epi32(a, b); }
  static V both(V a, V b) { return _mm512_and_si512(a, b); }
  static V sra(V a, int s) { return _mm512_sra_epi32(a, _mm_cvtsi32_si128(s)); }
  static V srl_each(V a, V s) { return _mm512_srlv_epi32(a, s); }
  static V sll_each(V a, V s) { return _mm512_sllv_epi32(a, s); }
  // b where the lane of `mask` is -1, a where it is 0.
  static V select(V a, V b, V mask) {
    return _mm512_mask_blend_epi32(_mm512_movepi32_mask(mask), a, b);
  }

  static V add64(V a, V b) { return _mm512_add_epi64(a, b); }
  static V even_product(V a, V b) { return _mm512_mul_epi32(a, b); }
  static V odd(V a) { return _mm512_srli_epi64(a, 32); }

  static Shift shift(int s) {
    return {s >= 32, _mm512_set1_epi64(s), _mm512_set1_epi64(32 - s), _mm512_set1_epi32(s - 32)};
  }

  // (even >> s) and (odd >> s) interleaved again, as int32.
  static V merge(V even, V odd, const Shift& s) {
    if (s.upper) {
      const V halves = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
      return _mm512_srav_epi32(halves, s.rest);
    }
    const V low = _mm512_srlv_epi64(even, s.down), high = _mm512_sllv_epi64(odd, s.up);
    return _mm512_mask_blend_epi32(0xAAAA, low, high);
  }

  // Stores of several vectors at once cost fewer instructions each.
  static constexpr int kMany = 4;

  static V in_order(V x) {
    return _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), x);
  }
  static void store_many_u8(void* p, const V (&x)[kMany]) {
    const V low = _mm512_packs_epi32(x[0], x[1]), high = _mm512_packs_epi32(x[2], x[3]);
    store(p, in_order(_mm512_packus_epi16(low, high)));
  }
  static void store_many_i8(void* p, const V (&x)[kMany]) {
    const V low = _mm512_packs_epi32(x[0], x[1]), high = _mm512_packs_epi32(x[2], x[3]);
    store(p, in_order(_mm512_packs_epi16(low, high)));
  }
  static void store_many_i16(void* p, const V (&x)[kMany]) {
    const V order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    auto* to = static_cast<int16_t*>(p);
    store(to, _mm512_permutexvar_epi64(order, _mm512_packs_epi32(x[0], x[1])));
    store(to + 32, _mm512_permutexvar_epi64(order, _mm512_packs_epi32(x[2], x[3])));
  }

  static int32_t sum(V x) { return _mm512_reduce_add_epi32(x); }
  static int64_t sum64(V x) { return _mm512_reduce_add_epi64(x); }
  static int32_t maximum(V x) { return _mm512_reduce_max_epi32(x); }

  // Non-negative int32 lanes added up in 64 bits.
  static V widened(V x) {
    return _mm512_add_epi64(_mm512_srli_epi64(x, 32),
                            _mm512_and_si512(x, _mm512_set1_epi64(0xFFFFFFFF)));
  }

  // Of pairs among twice as many int16: their sums, and the sums of their squares as uint32.
  static V pair_sums(V x) { return _mm512_madd_epi16(x, _mm512_set1_epi16(1)); }
  static V pair_squares(V x) { return _mm512_madd_epi16(x, x); }

  static V load_u8(const void* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static V load_i8(const void* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static V load_i16(const void* p) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }

  static void store_u8(void* p, V x) {
    const V positive = _mm512_max_epi32(x, zero());
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtusepi32_epi8(positive));
  }
  static void store_i8(void* p, V x) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(x));
  }
  static void store_i16(void* p, V x) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(x));
  }

  // Four or two bytes of consecutive rows for every lane.
  static V broadcast(const void* p) {
    int32_t x;
    __builtin_memcpy(&x, p, 4);
    return _mm512_set1_epi32(x);
  }
};

}  // namespace
}  // namespace intformer
