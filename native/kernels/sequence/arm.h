// How attention of few queries multiplies with the dot products of Arm.
#pragma once

#include <arm_neon.h>

#include "../simd/deliver.h"
#include "plain.h"

namespace intformer {
namespace {

constexpr int64_t kHeadBytes = 16, kSizeStep = 16, kValueGroup = 4;

// A query's bytes as they are; Σ k takes its zero point off.
template <int kVectors>
struct Query {
  Query(const uint8_t* q, int64_t, int32_t zero) : zero(vdupq_n_s32(zero)) {
    for (int i = 0; i < kVectors; ++i) parts[i] = vld1q_u8(q + 16 * i);
  }
  static bool fits(int32_t) { return true; }

  V dot(const uint8_t* k) const {
    uint32x4_t sum = vdupq_n_u32(0), keys = sum;
    for (int i = 0; i < kVectors; ++i) {
      const uint8x16_t x = vld1q_u8(k + 16 * i);
      sum = vdotq_u32(sum, x, parts[i]);
      keys = vdotq_u32(keys, x, vdupq_n_u8(1));
    }
    return vmlsq_s32(vreinterpretq_s32_u32(sum), vreinterpretq_s32_u32(keys), zero);
  }

  uint8x16_t parts[kVectors];
  int32x4_t zero;
};

// Lane i of the result is the sum of the lanes of x[i].
inline V sums_of(V (&x)[4]) { return vpaddq_s32(vpaddq_s32(x[0], x[1]), vpaddq_s32(x[2], x[3])); }

// Σ w·v of a head's values; four keys at a time, whose weights are four bytes.
template <int kVectors>
struct Mixture {
  static constexpr int32_t kOffset = 0;
  explicit Mixture(int64_t) {
    for (auto& vector : sums) vector = vdupq_n_u32(0);
  }

  void add(const uint8_t* const (&rows)[kValueGroup], const uint8_t* weights) {
    uint32_t quad;
    __builtin_memcpy(&quad, weights, 4);
    const uint8x16_t w = vreinterpretq_u8_u32(vdupq_n_u32(quad));
    for (int i = 0; i < kVectors; ++i) {
      uint8x16_t x[4];
      for (int j = 0; j < 4; ++j) x[j] = vld1q_u8(rows[j] + 16 * i);
      const uint16x8_t low01 = vreinterpretq_u16_u8(vzip1q_u8(x[0], x[1]));
      const uint16x8_t low23 = vreinterpretq_u16_u8(vzip1q_u8(x[2], x[3]));
      const uint16x8_t high01 = vreinterpretq_u16_u8(vzip2q_u8(x[0], x[1]));
      const uint16x8_t high23 = vreinterpretq_u16_u8(vzip2q_u8(x[2], x[3]));
      uint32x4_t* sum = sums + 4 * i;
      sum[0] = vdotq_u32(sum[0], vreinterpretq_u8_u16(vzip1q_u16(low01, low23)), w);
      sum[1] = vdotq_u32(sum[1], vreinterpretq_u8_u16(vzip2q_u16(low01, low23)), w);
      sum[2] = vdotq_u32(sum[2], vreinterpretq_u8_u16(vzip1q_u16(high01, high23)), w);
      sum[3] = vdotq_u32(sum[3], vreinterpretq_u8_u16(vzip2q_u16(high01, high23)), w);
    }
  }

  void save(int32_t* mixed) const {
    for (int i = 0; i < 4 * kVectors; ++i) {
      vst1q_s32(mixed + 4 * i, vreinterpretq_s32_u32(sums[i]));
    }
  }

  uint32x4_t sums[4 * kVectors];
};

}  // namespace
}  // namespace intformer
