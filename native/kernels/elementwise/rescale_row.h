// Scale change and product of one row, for any vector width.
#pragma once

#include "../simd/rescale.h"
#include "elementwise.h"

namespace intformer {
namespace {

// Rescale of columns from `c` on, a vector at a time, whatever the types.
void rescale_rest(const Rescale& r, int64_t c, const void* a, const void* b, void* out) {
  const Isa::Shift shift = Isa::shift(r.shift);
  for (; c < r.columns; c += kLanes) {
    const int64_t left = r.columns - c;
    const V x = load_lanes(r.a_type, a, c, left);
    Wide total = plus(product(x, factor_at(r.a_multiplier + c)), wide_at(r.offset + c));
    if (b) {
      const V y = load_lanes(r.b_type, b, c, left);
      total = plus(total, product(y, factor_at(r.b_multiplier + c)));
    }
    store_lanes(r.out_type, out, c, merged(total, shift), left);
  }
}

// The same for whole groups of vectors and types known to the compiler; returns where it stopped.
template <DType kA, DType kB, bool kTwo, DType kOut>
int64_t rescale_many(const Rescale& r, const void* a, const void* b, void* out) {
  const Isa::Shift shift = Isa::shift(r.shift);
  int64_t c = 0;
  for (; c + kMany * kLanes <= r.columns; c += kMany * kLanes) {
    V x[kMany];
#pragma GCC unroll 4
    for (int v = 0; v < kMany; ++v) {
      const int64_t at = c + v * kLanes;
      Wide total =
          plus(product(load_as(kA, a, at), factor_at(r.a_multiplier + at)), wide_at(r.offset + at));
      if constexpr (kTwo) {
        total = plus(total, product(load_as(kB, b, at), factor_at(r.b_multiplier + at)));
      }
      x[v] = merged(total, shift);
    }
    store_many(kOut, out, c, x);
  }
  return c;
}

template <DType kA, DType kB, bool kTwo>
int64_t rescale_into(const Rescale& r, const void* a, const void* b, void* out) {
  switch (r.out_type) {
    case DType::u8:
      return rescale_many<kA, kB, kTwo, DType::u8>(r, a, b, out);
    case DType::i16:
      return rescale_many<kA, kB, kTwo, DType::i16>(r, a, b, out);
    default:
      return 0;
  }
}

// The types that most rows have; the others take the general way.
void rescale_row(const Rescale& r, const void* a, const void* b, void* out) {
  constexpr DType wide = DType::i16, sums = DType::i32;
  int64_t c = 0;
  if (!b) {
    if (r.a_type == wide) c = rescale_into<wide, wide, false>(r, a, b, out);
    if (r.a_type == sums) c = rescale_into<sums, sums, false>(r, a, b, out);
  } else if (r.a_type == wide && r.b_type == wide) {
    c = rescale_into<wide, wide, true>(r, a, b, out);
  }
  rescale_rest(r, c, a, b, out);
}

void multiply_row(const Multiply& m, const void* a, const void* b, void* out) {
  const Isa::Shift shift = Isa::shift(m.shift);
  const V a_zero = Isa::set(m.a_zero), b_zero = Isa::set(m.b_zero);
  for (int64_t c = 0; c < m.columns; c += kLanes) {
    const int64_t left = m.columns - c;
    const V x = Isa::sub(load_lanes(m.a_type, a, c, left), a_zero);
    const V y = Isa::sub(load_lanes(m.b_type, b, c, left), b_zero);
    const Wide scaled = product(Isa::mul(x, y), factor_at(m.multiplier + c));
    store_lanes(m.out_type, out, c, merged(plus(scaled, wide_at(m.offset + c)), shift), left);
  }
}

}  // namespace
}  // namespace intformer
