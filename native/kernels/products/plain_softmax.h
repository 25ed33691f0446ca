// The softmax by itself for any instruction set.
#pragma once

#include "../scalar.h"
#include "products.h"

namespace intformer {
namespace {

void softmax_row(const SoftmaxRows& s, int64_t row, int32_t* weights) {
  const int16_t* x = s.x + row * s.columns;
  int32_t most = INT32_MIN, total = 0;
  for (int64_t j = 0; j < s.columns; ++j) most = x[j] > most ? x[j] : most;
  const int32_t half = 1 << (s.exp_shift - 1);
  for (int64_t j = 0; j < s.columns; ++j) {
    const int32_t distance = most - x[j] < s.limit ? most - x[j] : s.limit;
    const int32_t exponent = (distance * s.multiplier + half) >> s.exp_shift;
    weights[j] = exp2_weight(exponent < kExpSteps ? exponent : kExpSteps);
    total += weights[j];
  }
  const int64_t inverse = s.gain / (total < 255 ? 255 : total);
  for (int64_t j = 0; j < s.columns; ++j) {
    const int64_t value = wrap_add(wrap_mul(weights[j], inverse), s.offset);
    store(s.out, s.out_type, row * s.columns + j, shifted(value, s.shift));
  }
}

void softmax(const SoftmaxRows& s, Range rows, std::byte* scratch) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    softmax_row(s, row, reinterpret_cast<int32_t*>(scratch));
  }
}

}  // namespace
}  // namespace intformer
