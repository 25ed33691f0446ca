// Normalisation of rows, for any vector width.
#pragma once

#include "../simd/rescale.h"
#include "norm.h"
#include "row.h"

namespace intformer {
namespace {

// Σx and Σx²; a vector of squares is widened at once: two of them are up to 2^31.
RowState moments(const Norm& n, int64_t start) {
  if (n.x_type != DType::i16) return moments_of(n, start);
  const auto* x = static_cast<const int16_t*>(n.x) + start;
  V total = Isa::zero(), squares = Isa::zero();
  int64_t c = 0;
  for (; c + 2 * kLanes <= n.channels; c += 2 * kLanes) {
    const V values = Isa::load(x + c);
    total = Isa::add(total, Isa::pair_sums(values));
    squares = Isa::add64(squares, Isa::widened(Isa::pair_squares(values)));
  }
  for (; c < n.channels; c += kLanes) {
    const V values = load_lanes(DType::i16, x, c, n.channels - c);
    total = Isa::add(total, values);
    squares = Isa::add64(squares, Isa::widened(Isa::mul(values, values)));
  }
  return {Isa::sum(total), Isa::sum64(squares), 0};
}

// What becomes of the values of a row.
class Normalised {
 public:
  Normalised(const Norm& n, const RowState& row) : Normalised(n, row, centre_of(n, row)) {}

  // The channels from `c` on.
  V operator()(V values, int64_t c) const {
    const V centred = Isa::sub(Isa::mul(values, scale_), mean_);
    const V ratio = merged(plus(product(centred, inverse_), half_), dropped_);
    const V bounded = Isa::min(Isa::max(ratio, low_), high_);
    const Wide scaled = plus(product(bounded, factor_at(gain_ + c)), wide_at(offset_ + c));
    return merged(scaled, shift_);
  }

 private:
  // The reciprocal is below 2^31 (arith.normalize), so an int32 multiplication takes it.
  Normalised(const Norm& n, const RowState& row, const Centre& centre)
      : gain_(n.gain),
        offset_(n.offset),
        mean_(Isa::set(centre.mean)),
        scale_(Isa::set(centre.scale)),
        low_(Isa::set(-centre.limit)),
        high_(Isa::set(centre.limit)),
        inverse_(factor_of(static_cast<int32_t>(row.inverse))),
        half_(wide_of(centre.half)),
        dropped_(Isa::shift(centre.drop)),
        shift_(Isa::shift(n.shift)) {}

  const int32_t* const gain_;
  const int64_t* const offset_;
  const V mean_, scale_, low_, high_;
  const Factor inverse_;
  const Wide half_;
  const Isa::Shift dropped_, shift_;
};

inline __attribute__((always_inline)) void norm_row(const Norm& n, const RowState& row,
                                                    int64_t start, DType from, DType to) {
  const Normalised normalised(n, row);
  int64_t c = 0;
  for (; c + kMany * kLanes <= n.channels; c += kMany * kLanes) {
    V x[kMany];
#pragma GCC unroll 4
    for (int v = 0; v < kMany; ++v) {
      const int64_t at = c + v * kLanes;
      x[v] = normalised(load_as(from, n.x, start + at), at);
    }
    store_many(to, n.out, start + c, x);
  }
  for (; c < n.channels; c += kLanes) {
    const V values = load_lanes(from, n.x, start + c, n.channels - c);
    store_lanes(to, n.out, start + c, normalised(values, c), n.channels - c);
  }
}

template <int kCount>
void norm_group(const Norm& n, int64_t first) {
  RowState rows[kCount];
  for (int r = 0; r < kCount; ++r) rows[r] = moments(n, (first + r) * n.channels);
  invert_roots<kCount>(n, rows);
  const bool usual = n.x_type == DType::i16 && n.out_type == DType::u8;
  for (int r = 0; r < kCount; ++r) {
    const int64_t start = (first + r) * n.channels;
    if (usual) {
      norm_row(n, rows[r], start, DType::i16, DType::u8);
    } else {
      norm_row(n, rows[r], start, n.x_type, n.out_type);
    }
  }
}

void norm_rows(const Norm& n, Range rows) {
  constexpr int kCount = 8;
  int64_t row = rows.begin;
  for (; row + kCount <= rows.end; row += kCount) norm_group<kCount>(n, row);
  for (; row < rows.end; ++row) norm_group<1>(n, row);
}

}  // namespace
}  // namespace intformer
