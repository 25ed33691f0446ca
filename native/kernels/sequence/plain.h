// Scores and mixed values as plain loops.
#pragma once

#include "attention.h"

namespace intformer {
namespace {

struct PlainProducts {
  // Σ (q - q_zero)·(k - k_zero) for the first `count` keys.
  static void score(const SequenceAttention& a, const HeadView& h, const uint8_t* q, int64_t count,
                    const QueryWork& w) {
    auto* centred = reinterpret_cast<int16_t*>(w.own);
    int32_t sum = 0;
    for (int64_t d = 0; d < a.size; ++d) {
      centred[d] = static_cast<int16_t>(q[d] - a.q_zero);
      sum += centred[d];
    }
    const int32_t correction = a.k_zero * sum;
    for (int64_t s = 0; s < count; ++s) {
      const uint8_t* k = h.k + s * h.kv_stride;
      int32_t dot = 0;
      for (int64_t d = 0; d < a.size; ++d) dot += centred[d] * int16_t{k[d]};
      w.scores[s] = dot - correction;
    }
  }

  // Σ w·(v - v_zero) over Σ w, rescaled and stored.
  static void mix(const SequenceAttention& a, const HeadView& h, int64_t count, const QueryWork& w,
                  int64_t out) {
    for (int64_t d = 0; d < a.size; ++d) w.mixed[d] = 0;
    int32_t total = 0;
    for (int64_t s = 0; s < count; ++s) {
      const int32_t weight = w.scores[s];
      if (weight == 0) continue;
      total += weight;
      const uint8_t* v = h.v + s * h.kv_stride;
      for (int64_t d = 0; d < a.size; ++d) w.mixed[d] += weight * v[d];
    }
    const int32_t correction = a.v_zero * total;
    const int64_t inverse = inverse_of(a, total);
    for (int64_t d = 0; d < a.size; ++d) {
      const int64_t scaled = wrap_mul(w.mixed[d] - correction, inverse);
      store(a.out, a.out_type, out + d, shifted(wrap_add(scaled, a.offset), a.shift));
    }
  }
};

}  // namespace
}  // namespace intformer
