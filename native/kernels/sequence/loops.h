// The kernels as plain loops over contiguous memory: each level compiles them for its instruction
// set, and the compiler's vectorisation does the rest.
#pragma once

#include "../scalar.h"
#include "sequence.h"

namespace intformer {
namespace {

void rotary(const Rotary& r, Range rows) {
  const int64_t half = r.size / 2, width = r.heads * r.size;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t before = r.position ? r.position[row / r.tokens] : 0;
    const int64_t place = before + row % r.tokens;
    const int64_t at = (place < 0 ? 0 : place < r.rows ? place : r.rows - 1) * half;
    const int16_t *c = r.cosine + at, *s = r.sine + at;
    for (int64_t head = 0; head < r.heads; ++head) {
      const int16_t* x = r.x + row * width + head * r.size;
      int32_t* y = r.out + row * width + head * r.size;
      for (int64_t i = 0; i < half; ++i) {
        y[i] = x[i] * c[i] - x[i + half] * s[i];
        y[i + half] = x[i + half] * c[i] + x[i] * s[i];
      }
    }
  }
}

void l1_norm(const L1Norm& n, Range rows) {
  const auto channels = static_cast<int32_t>(n.channels);
  const int drop = n.reciprocal - kNormBits;
  const int64_t least = int64_t{1} << (n.reciprocal > 30 ? n.reciprocal - 30 : 0);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int16_t* x = n.x + row * n.channels;
    int32_t sum = 0;
    for (int64_t c = 0; c < n.channels; ++c) sum += x[c];
    int64_t deviation = n.eps;
    for (int64_t c = 0; c < n.channels; ++c) {
      const int32_t d = x[c] * channels - sum;
      deviation += d < 0 ? -d : d;
    }
    int64_t root = deviation / n.channels;
    root = root < least ? least : root;
    const int64_t inverse = ((root >> 1) + (int64_t{1} << n.reciprocal)) / root;
    for (int64_t c = 0; c < n.channels; ++c) {
      const int64_t d = x[c] * channels - sum;
      const auto wide = static_cast<int32_t>((d * inverse + (int64_t{1} << (drop - 1))) >> drop);
      const int64_t ratio = clip(wide, -kNormLimit, kNormLimit);
      const int64_t value = wrap_add(ratio * n.gain[c], n.offset[c]);
      store(n.out, n.out_type, row * n.channels + c, shifted(value, n.shift));
    }
  }
}

}  // namespace
}  // namespace intformer
