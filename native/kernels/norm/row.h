// The part of a normalisation that happens once per row.
#pragma once

#include "../scalar.h"
#include "norm.h"

namespace intformer {

// What is known of a row before it is normalised: Σx, Σx², then 1/sqrt(energy + eps) in
// `reciprocal` fraction bits (31 for Newton's).
struct RowState {
  int64_t total, squares, inverse;
};

// A row is normalised as clip(((x * scale - mean) * inverse + half) >> drop, -limit, limit).
struct Centre {
  int32_t scale, mean;
  int drop;
  int64_t half;
  int32_t limit;
};

// Σx and Σx² of the row that begins at `start`.
static inline RowState moments_of(const Norm& n, int64_t start) {
  RowState row{};
  for (int64_t c = 0; c < n.channels; ++c) {
    const int64_t x = load(n.x, n.x_type, start + c);
    row.total += x;
    row.squares += x * x;
  }
  return row;
}

// Σx / C to the nearest integer, ties upwards.
static inline int32_t rounded_mean(const Norm& n, const RowState& row) {
  const int64_t lifted = row.total + n.channels * 32768 + n.channels / 2;
  return static_cast<int32_t>(lifted / n.channels) - 32768;
}

static inline Centre centre_of(const Norm& n, const RowState& row) {
  if (n.kind == NormKind::newton) {
    return {1, rounded_mean(n, row), 31 - kNewtonBits, 0, 1 << kNewtonBits};
  }
  const int drop = n.reciprocal - kNormBits;
  const auto mean = static_cast<int32_t>(n.kind == NormKind::layer ? row.total : 0);
  return {static_cast<int32_t>(n.channels), mean, drop, int64_t{1} << (drop - 1), kNormLimit};
}

static inline uint64_t energy_of(const Norm& n, const RowState& row) {
  if (n.kind == NormKind::newton) {
    const int64_t mean = rounded_mean(n, row);
    return static_cast<uint64_t>(row.squares - 2 * mean * row.total + n.channels * mean * mean +
                                 n.eps);
  }
  const int64_t mean = n.kind == NormKind::layer ? row.total * row.total : 0;
  return static_cast<uint64_t>(row.squares * n.channels - mean + n.eps);
}

// arith.newton_sqrt and arith.fixed_newton_sqrt of x >= 1.
static inline uint64_t newton_root(uint64_t x, int start) {
  const int fixed_steps = 10, steps = 6, bits = 64 - __builtin_clzll(x);
  uint64_t root = uint64_t{1} << (start ? start : (bits + 1) / 2);
  for (int step = 0; step < (start ? fixed_steps : steps); ++step) {
    const uint64_t better = (root + x / root) >> 1;
    if (!start && better >= root) break;
    root = better;
  }
  return root;
}

// The reciprocal roots of kCount rows. Their square roots, bit by bit as in arith.integer_sqrt, go
// side by side: one alone would wait for each bit.
template <int kCount>
static inline void invert_roots(const Norm& n, RowState* rows) {
  uint64_t energies[kCount], roots[kCount] = {};
  for (int r = 0; r < kCount; ++r) energies[r] = energy_of(n, rows[r]);
  if (n.kind == NormKind::newton) {
    for (int r = 0; r < kCount; ++r) {
      rows[r].inverse = INT32_MAX / static_cast<int64_t>(newton_root(energies[r], n.start));
    }
    return;
  }
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
