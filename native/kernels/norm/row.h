// The part of a normalisation that happens once per row.
#pragma once

#include "../scalar.h"
#include "norm.h"

namespace intformer {

// 1/sqrt(energy + eps) in `reciprocal` fraction bits.
static inline int64_t inverse_root(const Norm& n, int64_t total, int64_t squares) {
  const int64_t mean = n.centre ? total * total : 0;
  const int64_t energy = squares * n.channels - mean;
  const int64_t root = integer_sqrt(static_cast<uint64_t>(energy + n.eps), n.bits);
  const int64_t least = int64_t{1} << (n.reciprocal > 30 ? n.reciprocal - 30 : 0);
  const int64_t bounded = root < least ? least : root;
  return ((bounded >> 1) + (int64_t{1} << n.reciprocal)) / bounded;
}

}  // namespace intformer
