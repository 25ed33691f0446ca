// 128-bit integer vectors of Arm. Each including file has another instruction set, hence all names
// are local.
#pragma once

#include <arm_neon.h>

#include "../scalar.h"

namespace intformer {
namespace {

struct Isa {
  using V = int32x4_t;
  static constexpr int kLanes = 4;

  // The shift of a 64-bit lane. From 32 on the result lies in the upper half and is shifted there.
  struct Shift {
    bool upper;
    int64x2_t down;
    V rest;
  };

  static V zero() { return vdupq_n_s32(0); }
  static V set(int32_t x) { return vdupq_n_s32(x); }
  static V load(const void* p) {
    return vreinterpretq_s32_u8(vld1q_u8(static_cast<const uint8_t*>(p)));
  }
  static void store(void* p, V x) { vst1q_u8(static_cast<uint8_t*>(p), vreinterpretq_u8_s32(x)); }
  static V add(V a, V b) { return vaddq_s32(a, b); }
  static V sub(V a, V b) { return vsubq_s32(a, b); }
  static V mul(V a, V b) { return vmulq_s32(a, b); }
  static V min(V a, V b) { return vminq_s32(a, b); }
  static V max(V a, V b) { return vmaxq_s32(a, b); }
  static V both(V a, V b) { return vandq_s32(a, b); }
  static V sra(V a, int s) { return vshlq_s32(a, vdupq_n_s32(-s)); }
  static V srl_each(V a, V s) {
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vnegq_s32(s)));
  }
  static V sll_each(V a, V s) { return vshlq_s32(a, s); }
  // b where the lane of `mask` is -1, a where it is 0.
  static V select(V a, V b, V mask) { return vbslq_s32(vreinterpretq_u32_s32(mask), b, a); }

  static V add64(V a, V b) {
    return vreinterpretq_s32_s64(vaddq_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
  }

  static Shift shift(int s) { return {s >= 32, vdupq_n_s64(-s), vdupq_n_s32(32 - s)}; }

  // (low >> s) and (high >> s), two lanes each, as int32.
  static V merge(int64x2_t low, int64x2_t high, const Shift& s) {
    if (s.upper) {
      const V halves = vuzp2q_s32(vreinterpretq_s32_s64(low), vreinterpretq_s32_s64(high));
      return vshlq_s32(halves, s.rest);
    }
    return vuzp1q_s32(vreinterpretq_s32_s64(vshlq_s64(low, s.down)),
                      vreinterpretq_s32_s64(vshlq_s64(high, s.down)));
  }

  // Stores of several vectors at once cost fewer instructions each.
  static constexpr int kMany = 4;

  static int16x8_t narrow(V a, V b) { return vqmovn_high_s32(vqmovn_s32(a), b); }
  static void store_many_u8(void* p, const V (&x)[kMany]) {
    const uint8x8_t low = vqmovun_s16(narrow(x[0], x[1]));
    vst1q_u8(static_cast<uint8_t*>(p), vqmovun_high_s16(low, narrow(x[2], x[3])));
  }
  static void store_many_i8(void* p, const V (&x)[kMany]) {
    const int8x8_t low = vqmovn_s16(narrow(x[0], x[1]));
    vst1q_s8(static_cast<int8_t*>(p), vqmovn_high_s16(low, narrow(x[2], x[3])));
  }
  static void store_many_i16(void* p, const V (&x)[kMany]) {
    auto* to = static_cast<std::byte*>(p);
    store(to, vreinterpretq_s32_s16(narrow(x[0], x[1])));
    store(to + 16, vreinterpretq_s32_s16(narrow(x[2], x[3])));
  }

  static int32_t sum(V x) { return vaddvq_s32(x); }
  static int64_t sum64(V x) { return vaddvq_s64(vreinterpretq_s64_s32(x)); }
  static int32_t maximum(V x) { return vmaxvq_s32(x); }

  // Non-negative int32 lanes added up in 64 bits.
  static V widened(V x) { return vreinterpretq_s32_u64(vpaddlq_u32(vreinterpretq_u32_s32(x))); }

  // Of pairs among twice as many int16: their sums, and the sums of their squares as uint32.
  static V pair_sums(V x) { return vpaddlq_s16(vreinterpretq_s16_s32(x)); }
  static V pair_squares(V x) {
    const int16x8_t values = vreinterpretq_s16_s32(x);
    const int16x4_t low = vget_low_s16(values);
    return vmlal_high_s16(vmull_s16(low, low), values, values);
  }

  static uint8x8_t load_4_bytes(const void* p) {
    uint32_t x;
    __builtin_memcpy(&x, p, 4);
    return vreinterpret_u8_u32(vdup_n_u32(x));
  }
  static V load_u8(const void* p) {
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(load_4_bytes(p)))));
  }
  static V load_i8(const void* p) {
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load_4_bytes(p)))));
  }
  static V load_i16(const void* p) {
    return vmovl_s16(vreinterpret_s16_u8(vld1_u8(static_cast<const uint8_t*>(p))));
  }

  static int16x8_t narrow(V x) { return vcombine_s16(vqmovn_s32(x), vdup_n_s16(0)); }
  static void store_4_bytes(void* p, uint8x8_t bytes) {
    const uint32_t x = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
    __builtin_memcpy(p, &x, 4);
  }
  static void store_u8(void* p, V x) { store_4_bytes(p, vqmovun_s16(narrow(x))); }
  static void store_i8(void* p, V x) {
    store_4_bytes(p, vreinterpret_u8_s8(vqmovn_s16(narrow(x))));
  }
  static void store_i16(void* p, V x) {
    vst1_u8(static_cast<uint8_t*>(p), vreinterpret_u8_s16(vqmovn_s32(x)));
  }
};

using V = Isa::V;
constexpr int kLanes = Isa::kLanes;

// Multipliers of four lanes; unlike on x86, 64-bit products take neighbours, so all 64-bit
// parameters lie in their natural order.
using Factor = V;

inline Factor factor_at(const int32_t* multiplier) { return Isa::load(multiplier); }

inline Factor factor_of(int32_t multiplier) { return Isa::set(multiplier); }

// 64-bit values of lanes 0 and 1, and of lanes 2 and 3.
struct Wide {
  int64x2_t low, high;
};

inline Wide wide_at(const int64_t* values) { return {vld1q_s64(values), vld1q_s64(values + 2)}; }

inline Wide wide_of(int64_t value) { return {vdupq_n_s64(value), vdupq_n_s64(value)}; }

inline Wide product(V x, const Factor& m) {
  return {vmull_s32(vget_low_s32(x), vget_low_s32(m)), vmull_high_s32(x, m)};
}

inline Wide plus(const Wide& a, const Wide& b) {
  return {vaddq_s64(a.low, b.low), vaddq_s64(a.high, b.high)};
}

inline V merged(const Wide& x, const Isa::Shift& shift) { return Isa::merge(x.low, x.high, shift); }

}  // namespace
}  // namespace intformer
