// The part of a normalisation that happens once per row.
#pragma once

#include "../scalar.h"
#include "norm.h"

namespace intformer {

// What is known of a row before it is normalised: Σx, Σx², then 1/sqrt(energy + eps) in
// `reciprocal` fraction bits.
struct RowState {
  int64_t total, squares, inverse;
};

static inline uint64_t energy_of(const Norm& n, const RowState& row) {
  const int64_t mean = n.centre ? row.total * row.total : 0;
  return static_cast<uint64_t>(row.squares * n.channels - mean + n.eps);
}

// The reciprocal roots of kCount rows. Their square roots, bit by bit as in arith.integer_sqrt, go
// side by side: one alone would wait for each bit.
template <int kCount>
static inline void invert_roots(const Norm& n, RowState* rows) {
  uint64_t energies[kCount], roots[kCount] = {};
  for (int r = 0; r < kCount; ++r) energies[r] = energy_of(n, rows[r]);
  for (int bit = n.bits - 1; bit >= 0; --bit) {
    for (int r = 0; r < kCount; ++r) {
      const uint64_t candidate = roots[r] + (uint64_t{1} << bit);
      roots[r] = candidate * candidate <= energies[r] ? candidate : roots[r];
    }
  }
  const int64_t least = int64_t{1} << (n.reciprocal > 30 ? n.reciprocal - 30 : 0);
  for (int r = 0; r < kCount; ++r) {
    const auto root = static_cast<int64_t>(roots[r]);
    const int64_t bounded = root < least ? least : root;
    rows[r].inverse = ((bounded >> 1) + (int64_t{1} << n.reciprocal)) / bounded;
  }
}

}  // namespace intformer
