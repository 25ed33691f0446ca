// Products of matrices for any instruction set: a row of the result grows by one term at a time.
#pragma once

#include "../scalar.h"
#include "products.h"

namespace intformer {
namespace {

void product(const Product& p, const uint8_t* a, const uint8_t* b, int32_t* out, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    int32_t* to = out + i * p.n;
    for (int64_t j = 0; j < p.n; ++j) to[j] = 0;
    for (int64_t k = 0; k < p.k; ++k) {
      const int32_t left = a[i * p.k + k] - p.a_zero;
      const uint8_t* right = b + k * p.n;
      for (int64_t j = 0; j < p.n; ++j) to[j] = wrap_add32(to[j], left * (right[j] - p.b_zero));
    }
  }
}

}  // namespace
}  // namespace intformer
