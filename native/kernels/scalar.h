// The integer arithmetic one value at a time: what every vector form is held to.
//
// All functions have internal linkage, because kernel files are compiled with different instruction
// sets and must not share code.
#pragma once

#include "common.h"

namespace intformer {

// Wrapping 64-bit arithmetic: ranges are proved for the whole expression, partial sums may wrap.
static inline int64_t wrap_add(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

static inline int64_t wrap_mul(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

static inline int32_t wrap_add32(int32_t a, int32_t b) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}

static inline int32_t clip(int32_t x, int32_t low, int32_t high) {
  return x < low ? low : x > high ? high : x;
}

static inline int64_t load(const void* data, DType type, int64_t i) {
  switch (type) {
    case DType::u8:
      return static_cast<const uint8_t*>(data)[i];
    case DType::i8:
      return static_cast<const int8_t*>(data)[i];
    case DType::i16:
      return static_cast<const int16_t*>(data)[i];
    case DType::i32:
    case DType::i20:
      return static_cast<const int32_t*>(data)[i];
    default:
      return static_cast<const int64_t*>(data)[i];
  }
}

constexpr int32_t kWideLow = -(1 << 19), kWideHigh = (1 << 19) - 1;  // of DType::i20

// Clips to the range of `type` and stores.
static inline void store(void* data, DType type, int64_t i, int32_t x) {
  switch (type) {
    case DType::u8:
      static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(clip(x, 0, 255));
      break;
    case DType::i8:
      static_cast<int8_t*>(data)[i] = static_cast<int8_t>(clip(x, -128, 127));
      break;
    case DType::i16:
      static_cast<int16_t*>(data)[i] = static_cast<int16_t>(clip(x, -32768, 32767));
      break;
    case DType::i32:
      static_cast<int32_t*>(data)[i] = x;
      break;
    case DType::i20:
      static_cast<int32_t*>(data)[i] = clip(x, kWideLow, kWideHigh);
      break;
    default:
      static_cast<int64_t*>(data)[i] = x;
  }
}

static inline int32_t shifted(int64_t total, int shift) {
  return static_cast<int32_t>(total >> shift);
}

constexpr int32_t kExpBits = 8, kExpSteps = 9 << kExpBits, kExpScale = 21;
constexpr int32_t kExpConstant = 255 << kExpScale, kExpLinear = 1403781, kExpQuadratic = 1412;
constexpr int32_t kShiftOctaves = 15, kShiftEnd = 30, kShiftReach = 21, kUnitBits = 26;
constexpr int32_t kQuadraticLinear = 1000, kQuadraticConstant = 380857, kQuadraticDrop = 3;
constexpr int32_t kQuadraticTop = kQuadraticConstant >> kQuadraticDrop;
constexpr int32_t kQuadraticEnd = 16 << kExpBits;
constexpr int kLog2Levels = 16;
constexpr int kNormBits = 12, kNewtonBits = 20;
constexpr int32_t kNormLimit = 1 << (kNormBits + 7);
constexpr int32_t kDropped = -(1 << 30);

// round(255 * 2^(-exponent / 256)).
static inline uint8_t exp2_weight(int32_t exponent) {
  const int32_t octave = exponent >> kExpBits, fraction = exponent & ((1 << kExpBits) - 1);
  const int32_t curve = kExpConstant - fraction * (kExpLinear - fraction * kExpQuadratic);
  return static_cast<uint8_t>((curve + (1 << (kExpScale - 1 + octave))) >> (kExpScale + octave));
}

// arith.shift_exp of a distance of at most kShiftReach units.
static inline int32_t shift_exp(int32_t distance, int32_t unit) {
  const int32_t power = distance + ((distance + 1) >> 1) - ((distance + 15) >> 4);
  const int32_t bounded = power < kShiftEnd * unit ? power : kShiftEnd * unit;
  const int32_t octave = bounded / unit, rest = bounded - octave * unit;
  return ((unit - (rest >> 1)) << kShiftOctaves) >> octave;
}

// arith.quadratic_exp.
static inline int32_t quadratic_exp(int32_t exponent) {
  const int32_t fraction = exponent & ((1 << kExpBits) - 1);
  const int32_t curve = kQuadraticConstant - fraction * (kQuadraticLinear - fraction);
  return curve >> (kQuadraticDrop + (exponent >> kExpBits));
}

// The power of two nearest to raised / total, times 2^15: arith.log2_weights.
static inline int32_t log2_weight(int32_t raised, int32_t total) {
  int count = 0;
  for (; count < kLog2Levels; ++count) {
    const int64_t divisor = (int64_t{3} << count) - (count > 0);
    if (raised > 2 * int64_t{total} / divisor) break;
  }
  return (1 << (kLog2Levels - 1)) >> count;
}

}  // namespace intformer
