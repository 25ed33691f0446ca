// The softmax by itself, a vector of scores at a time.
#pragma once

#include <algorithm>

#include "../simd/deliver.h"
#include "../simd/exponent.h"
#include "products.h"

namespace intformer {
namespace {

int32_t largest_score(const int16_t* x, int64_t count) {
  int64_t j = 0;
  V most = Isa::set(INT16_MIN);
  for (; j + kLanes <= count; j += kLanes) most = Isa::max(most, Isa::load_i16(x + j));
  int32_t found = Isa::maximum(most);
  for (; j < count; ++j) found = std::max<int32_t>(found, x[j]);
  return found;
}

// Writes whole vectors of weights and returns the sum of the first `count`.
int32_t weigh_scores(const Exponent& e, const int16_t* x, int64_t count, int32_t* weights) {
  const V top = Isa::set(largest_score(x, count));
  V total = Isa::zero();
  for (int64_t j = 0; j < count; j += kLanes) {
    V weight = weights_of(e, Isa::sub(top, load_lanes(DType::i16, x, j, count - j)));
    if (j + kLanes > count) weight = first_lanes(weight, count - j);
    total = Isa::add(total, weight);
    Isa::store(weights + j, weight);
  }
  return Isa::sum(total);
}

void softmax(const SoftmaxRows& s, Range rows, std::byte* scratch) {
  auto* weights = reinterpret_cast<int32_t*>(scratch);
  const Exponent e = exponent_of(s.limit, s.multiplier, s.exp_shift);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t at = row * s.columns;
    const int32_t total = weigh_scores(e, s.x + at, s.columns, weights);
    deliver_row({s.out, s.out_type, s.gain / (total < 255 ? 255 : total), s.offset, s.shift},
                weights, 0, s.columns, at);
  }
}

}  // namespace
}  // namespace intformer
