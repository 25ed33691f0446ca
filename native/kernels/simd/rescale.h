// Scale changes of whole vectors, and stores of any element type.
#pragma once

#include "../scalar.h"
#include "vector.h"

namespace intformer {
namespace {

inline V load_as(DType type, const void* data, int64_t i) {
  switch (type) {
    case DType::u8:
      return Isa::load_u8(static_cast<const uint8_t*>(data) + i);
    case DType::i8:
      return Isa::load_i8(static_cast<const int8_t*>(data) + i);
    case DType::i16:
      return Isa::load_i16(static_cast<const int16_t*>(data) + i);
    default:
      return Isa::load(static_cast<const int32_t*>(data) + i);
  }
}

// Clips to the range of `type` and stores a whole vector.
inline void store_as(DType type, void* data, int64_t i, V x) {
  switch (type) {
    case DType::u8:
      return Isa::store_u8(static_cast<uint8_t*>(data) + i, x);
    case DType::i8:
      return Isa::store_i8(static_cast<int8_t*>(data) + i, x);
    case DType::i16:
      return Isa::store_i16(static_cast<int16_t*>(data) + i, x);
    case DType::i20:
      x = Isa::min(Isa::max(x, Isa::set(kWideLow)), Isa::set(kWideHigh));
      return Isa::store(static_cast<int32_t*>(data) + i, x);
    default:
      return Isa::store(static_cast<int32_t*>(data) + i, x);
  }
}

constexpr int kMany = Isa::kMany;

// Clips kMany vectors to the range of `type` and stores them.
inline void store_many(DType type, void* data, int64_t i, const V (&x)[kMany]) {
  switch (type) {
    case DType::u8:
      return Isa::store_many_u8(static_cast<uint8_t*>(data) + i, x);
    case DType::i8:
      return Isa::store_many_i8(static_cast<int8_t*>(data) + i, x);
    case DType::i16:
      return Isa::store_many_i16(static_cast<int16_t*>(data) + i, x);
    default:
      for (int v = 0; v < kMany; ++v) store_as(type, data, i + v * kLanes, x[v]);
  }
}

// The first `count` lanes from memory that may end there; the others are 0.
inline V load_part(DType type, const void* data, int64_t i, int64_t count) {
  alignas(64) int32_t lanes[kLanes] = {};
  for (int64_t j = 0; j < count; ++j) lanes[j] = static_cast<int32_t>(load(data, type, i + j));
  return Isa::load(lanes);
}

// Lanes below `count` keep their value, the others become 0.
inline V first_lanes(V x, int64_t count) {
  alignas(64) int32_t keep[kLanes];
  for (int i = 0; i < kLanes; ++i) keep[i] = i < count ? -1 : 0;
  return Isa::both(x, Isa::load(keep));
}

inline void store_part(DType type, void* data, int64_t i, V x, int64_t count) {
  alignas(64) int32_t lanes[kLanes];
  Isa::store(lanes, x);
  for (int64_t j = 0; j < count; ++j) intformer::store(data, type, i + j, lanes[j]);
}

inline V load_lanes(DType type, const void* data, int64_t i, int64_t count) {
  return count >= kLanes ? load_as(type, data, i) : load_part(type, data, i, count);
}

inline void store_lanes(DType type, void* data, int64_t i, V x, int64_t count) {
  if (count >= kLanes) return store_as(type, data, i, x);
  store_part(type, data, i, x, count);
}

}  // namespace
}  // namespace intformer
