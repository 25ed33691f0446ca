// Normalisation of rows, for any vector width. Include after a vector header and x86/rescale.h.
#pragma once

#include "norm.h"
#include "row.h"

namespace intformer {
namespace {

struct Moments {
  int64_t total, squares;
};

// Σx and Σx²; a vector of squares (each up to 2^30) is widened at once.
Moments moments(const Norm& n, const int16_t* x) {
  V total = Isa::zero(), squares = Isa::zero();
  for (int64_t c = 0; c < n.channels; c += kLanes) {
    const V values = load_lanes(DType::i16, x, c, n.channels - c);
    total = Isa::add(total, values);
    squares = Isa::add64(squares, Isa::widened(Isa::mul(values, values)));
  }
  return {Isa::sum(total), Isa::sum64(squares)};
}

void norm_row(const Norm& n, const int16_t* x, int64_t out) {
  const auto [total, squares] = moments(n, x);
  const V mean = Isa::set(n.centre ? static_cast<int32_t>(total) : 0);
  const V channels = Isa::set(static_cast<int32_t>(n.channels));
  // The reciprocal is below 2^31 (arith.normalize), so an int32 multiplication takes it.
  const Factor inverse = factor_of(static_cast<int32_t>(inverse_root(n, total, squares)));
  const int drop = n.reciprocal - kNormBits;
  const Wide half = wide_of(int64_t{1} << (drop - 1));
  const Isa::Shift dropped = Isa::shift(drop), shift = Isa::shift(n.shift);
  const V low = Isa::set(-kNormLimit), high = Isa::set(kNormLimit);
  for (int64_t c = 0; c < n.channels; c += kLanes) {
    const V values = load_lanes(DType::i16, x, c, n.channels - c);
    const V centred = Isa::sub(Isa::mul(values, channels), mean);
    const V ratio = merged(plus(product(centred, inverse), half), dropped);
    const V bounded = Isa::min(Isa::max(ratio, low), high);
    const Wide scaled = plus(product(bounded, factor_at(n.gain + c)), wide_at(n.offset + c));
    store_lanes(n.out_type, n.out, out + c, merged(scaled, shift), n.channels - c);
  }
}

void norm_rows(const Norm& n, Range rows) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    norm_row(n, n.x + row * n.channels, row * n.channels);
  }
}

}  // namespace
}  // namespace intformer
