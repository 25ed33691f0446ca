// Scale change of one row, for any vector width.
#pragma once

#include "../simd/rescale.h"
#include "elementwise.h"

namespace intformer {
namespace {

void rescale_row(const Rescale& r, const void* a, const void* b, void* out) {
  const Isa::Shift shift = Isa::shift(r.shift);
  for (int64_t c = 0; c < r.columns; c += kLanes) {
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

}  // namespace
}  // namespace intformer
