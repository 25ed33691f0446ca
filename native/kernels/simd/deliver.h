// The end of attention: a row of sums of values, rescaled and stored.
#pragma once

#include "rescale.h"

namespace intformer {
namespace {

// out = clip((sum·inverse + offset) >> shift).
struct Delivery {
  void* out;
  DType type;
  int64_t inverse, offset;
  int shift;
};

// Stores `count` sums of `mixed`, each with `own` added, from element `at` on. `mixed` has whole
// vectors.
void deliver_row(const Delivery& e, const int32_t* mixed, int32_t own, int64_t count, int64_t at) {
  if (e.inverse > INT32_MAX) {
    for (int64_t d = 0; d < count; ++d) {
      const int64_t value = wrap_add(wrap_mul(wrap_add32(mixed[d], own), e.inverse), e.offset);
      store(e.out, e.type, at + d, shifted(value, e.shift));
    }
    return;
  }
  const Factor factor = factor_of(static_cast<int32_t>(e.inverse));
  const Wide constant = wide_of(e.offset);
  const Isa::Shift shift = Isa::shift(e.shift);
  for (int64_t d = 0; d < count; d += kLanes) {
    const V sum = Isa::add(Isa::load(mixed + d), Isa::set(own));
    const V x = merged(plus(product(sum, factor), constant), shift);
    store_lanes(e.type, e.out, at + d, x, count - d);
  }
}

}  // namespace
}  // namespace intformer
