// Normalisation of rows, for any vector width.
#pragma once

#include "../simd/rescale.h"
#include "norm.h"
#include "row.h"

namespace intformer {
namespace {

// Σx and Σx²; a vector of squares (each up to 2^30) is widened at once.
RowState moments(const Norm& n, int64_t start) {
  if (n.x_type != DType::i16) return moments_of(n, start);
  const auto* x = static_cast<const int16_t*>(n.x) + start;
  V total = Isa::zero(), squares = Isa::zero();
  for (int64_t c = 0; c < n.channels; c += kLanes) {
    const V values = load_lanes(DType::i16, x, c, n.channels - c);
    total = Isa::add(total, values);
    squares = Isa::add64(squares, Isa::widened(Isa::mul(values, values)));
  }
  return {Isa::sum(total), Isa::sum64(squares), 0};
}

void norm_row(const Norm& n, const RowState& row, int64_t start) {
  const Centre centre = centre_of(n, row);
  const V mean = Isa::set(centre.mean), scale = Isa::set(centre.scale);
  // The reciprocal is below 2^31 (arith.normalize), so an int32 multiplication takes it.
  const Factor inverse = factor_of(static_cast<int32_t>(row.inverse));
  const Wide half = wide_of(centre.half);
  const Isa::Shift dropped = Isa::shift(centre.drop), shift = Isa::shift(n.shift);
  const V low = Isa::set(-centre.limit), high = Isa::set(centre.limit);
  for (int64_t c = 0; c < n.channels; c += kLanes) {
    const V values = load_lanes(n.x_type, n.x, start + c, n.channels - c);
    const V centred = Isa::sub(Isa::mul(values, scale), mean);
    const V ratio = merged(plus(product(centred, inverse), half), dropped);
    const V bounded = Isa::min(Isa::max(ratio, low), high);
    const Wide scaled = plus(product(bounded, factor_at(n.gain + c)), wide_at(n.offset + c));
    store_lanes(n.out_type, n.out, start + c, merged(scaled, shift), n.channels - c);
  }
}

template <int kCount>
void norm_group(const Norm& n, int64_t first) {
  RowState rows[kCount];
  for (int r = 0; r < kCount; ++r) rows[r] = moments(n, (first + r) * n.channels);
  invert_roots<kCount>(n, rows);
  for (int r = 0; r < kCount; ++r) norm_row(n, rows[r], (first + r) * n.channels);
}

void norm_rows(const Norm& n, Range rows) {
  constexpr int kCount = 8;
  int64_t row = rows.begin;
  for (; row + kCount <= rows.end; row += kCount) norm_group<kCount>(n, row);
  for (; row < rows.end; ++row) norm_group<1>(n, row);
}

}  // namespace
}  // namespace intformer
