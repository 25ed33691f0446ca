// From finished sums to stored results, a tile at a time.
#pragma once

#include "../simd/rescale.h"
#include "../simd/tile_source.h"
#include "finished.h"
#if defined(__AVX2__) && !defined(__AVX512F__)
#include "x86_bytes.h"
#endif

namespace intformer {
namespace {

constexpr int64_t kTileBytes = 4096, kLevelBytes = kTileBytes / 2;

void finish_raw(const Epilogue& e, const Block& t) {
  auto* out = static_cast<int32_t*>(e.out);
  for (int64_t c = 0; c < t.columns; c += kLanes) {
    const V bias = Isa::load(e.bias + t.column + c);
    for (int r = 0; r < t.rows; ++r) {
      const V x = Isa::add(Isa::load(t.sums + r * t.stride + c), bias);
      store_lanes(DType::i32, out, (t.row + r) * e.out_stride + t.column + c, x, t.columns - c);
    }
  }
}

// The scale change of `kCount` vectors of columns from `column` on.
template <int kCount, bool kResidual>
class Rescaling {
 public:
  Rescaling(const Epilogue& e, int64_t column) : shift_(Isa::shift(e.shift)) {
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) {
      multiplier_[v] = factor_at(e.multiplier + column + v * kLanes);
      offset_[v] = wide_at(e.offset + column + v * kLanes);
      if constexpr (kResidual) other_[v] = factor_at(e.residual_multiplier + column + v * kLanes);
    }
  }

  // Vector v of a row whose int16 residual is `b`.
  V at(const int32_t* sums, int v, V b) const {
    const V sum = Isa::load(sums + v * kLanes);
    Wide total = plus(product(sum, multiplier_[v]), offset_[v]);
    if constexpr (kResidual) total = plus(total, product(b, other_[v]));
    return merged(total, shift_);
  }

 private:
  Factor multiplier_[kCount], other_[kCount];
  Wide offset_[kCount];
  Isa::Shift shift_;
};

// Scales the columns from `c` on in steps of kCount vectors, as long as whole steps are left
// (kCount > 1) or to the end (kCount == 1), and returns where it stopped.
template <DType kType, bool kResidual, int kCount>
int64_t rescale_columns(const Epilogue& e, const Block& t, void* out, int64_t out_stride,
                        int64_t c) {
  constexpr int64_t kStep = kCount * kLanes;
  for (; kCount == 1 ? c < t.columns : c + kStep <= t.columns; c += kStep) {
    const Rescaling<kCount, kResidual> rescaling(e, t.column + c);
    for (int r = 0; r < t.rows; ++r) {
      const int32_t* sums = t.sums + r * t.stride + c;
      const int16_t* b = kResidual ? residual_row(e, t, r) + c : nullptr;
      if constexpr (kCount == 1) {
        const V y = kResidual ? load_lanes(DType::i16, b, 0, t.columns - c) : Isa::zero();
        store_lanes(kType, out, r * out_stride + c, rescaling.at(sums, 0, y), t.columns - c);
      } else {
        V x[kCount];
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) {
          x[v] = rescaling.at(sums, v, kResidual ? Isa::load_i16(b + v * kLanes) : Isa::zero());
        }
        store_many(kType, out, r * out_stride + c, x);
      }
    }
  }
  return c;
}

template <DType kType, bool kResidual>
void finish_rescaled(const Epilogue& e, const Block& t, void* out, int64_t out_stride) {
  const int64_t c = rescale_columns<kType, kResidual, kMany>(e, t, out, out_stride, 0);
  rescale_columns<kType, kResidual, 1>(e, t, out, out_stride, c);
}

// Copies a row of a tile; one call for so few bytes would take longer than they do.
inline void copy_row(std::byte* to, const uint8_t* from, int64_t bytes) {
  int64_t i = 0;
  for (; i + 16 <= bytes; i += 16) __builtin_memcpy(to + i, from + i, 16);
  for (; i < bytes; ++i) to[i] = static_cast<std::byte>(from[i]);
}

// Looks all bytes of a tile up at once, and spreads the rows.
void look_up(const Epilogue& e, const Block& t, uint8_t* levels) {
  auto* found = levels + kLevelBytes;
  const int64_t item = item_size(e.table_type);
  e.look_up(levels, e.table, e.table_type, found, t.rows * t.stride);
  auto* out = static_cast<std::byte*>(place(e, t));
  for (int r = 0; r < t.rows; ++r) {
    copy_row(out + r * e.out_stride * item, found + r * t.stride * item, t.columns * item);
  }
}

template <DType kType>
void finish_as(const Epilogue& e, const Block& t, void* out) {
  if (e.finish == Finish::residual) {
    finish_rescaled<kType, true>(e, t, out, e.out_stride);
  } else {
    finish_rescaled<kType, false>(e, t, out, e.out_stride);
  }
}

void finish(const Epilogue& e, const Block& t, uint8_t* levels) {
  if (e.finish == Finish::raw) return finish_raw(e, t);
#if defined(__AVX2__) && !defined(__AVX512F__)
  if (are_bytes(e, t)) return finish_bytes(e, t);
#endif
  if (e.table) {
    finish_rescaled<DType::u8, false>(e, t, levels, t.stride);
    return look_up(e, t, levels);
  }
  void* out = place(e, t);
  switch (e.out_type) {
    case DType::u8:
      return finish_as<DType::u8>(e, t, out);
    case DType::i8:
      return finish_as<DType::i8>(e, t, out);
    case DType::i16:
      return finish_as<DType::i16>(e, t, out);
    default:
      return finish_as<DType::i32>(e, t, out);
  }
}

}  // namespace
}  // namespace intformer
