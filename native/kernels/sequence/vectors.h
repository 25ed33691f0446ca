// Scores and mixed values with vectors. Heads of other sizes take the plain loops.
#pragma once

#include <utility>

#if defined(__aarch64__)
#include "arm.h"
#elif defined(__AVX512VNNI__)
#include "x86_512.h"
#else
#include "x86_256.h"
#endif

namespace intformer {
namespace {

template <int kVectors>
void score_with(const SequenceAttention& a, const HeadView& h, const uint8_t* q, int64_t count,
                int32_t* scores) {
  const Query<kVectors> query(q, a.size, a.q_zero);
  int32_t sum = 0;
  for (int64_t d = 0; d < a.size; ++d) sum += q[d] - a.q_zero;
  const V correction = Isa::set(a.k_zero * sum);
  for (int64_t s = 0; s < count; s += kLanes) {
    V dots[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      const int64_t key = s + i < count ? s + i : count - 1;
      dots[i] = query.dot(h.k + key * h.kv_stride);
    }
    Isa::store(scores + s, Isa::sub(sums_of(dots), correction));
  }
}

// Returns what has to be added to the sums in `mixed`.
template <int kVectors>
int32_t mix_with(const SequenceAttention& a, const HeadView& h, int64_t count,
                 const uint8_t* weights, int32_t* mixed) {
  Mixture<kVectors> mixture(a.size);
  for (int64_t s = 0; s < count; s += kValueGroup) {
    const uint8_t* rows[kValueGroup];
    for (int j = 0; j < kValueGroup; ++j) {
      rows[j] = h.v + (s + j < count ? s + j : count - 1) * h.kv_stride;
    }
    mixture.add(rows, weights + s);
  }
  mixture.save(mixed);
  return mixture.kOffset - a.v_zero;
}

using ScoreFn = void (*)(const SequenceAttention&, const HeadView&, const uint8_t* q, int64_t count,
                         int32_t* scores);
using MixFn = int32_t (*)(const SequenceAttention&, const HeadView&, int64_t count,
                          const uint8_t* weights, int32_t* mixed);

constexpr int64_t kMostBytes = 128, kMostVectors = kMostBytes / kHeadBytes;

struct VectorProducts {
  static void score(const SequenceAttention& a, const HeadView& h, const uint8_t* q, int64_t count,
                    const QueryWork& w) {
    if (!fits(a)) return PlainProducts::score(a, h, q, count, w);
    score_by(a, Vectors{})(a, h, q, count, w.scores);
  }

  static void mix(const SequenceAttention& a, const HeadView& h, int64_t count, const QueryWork& w,
                  int64_t out) {
    if (!fits(a)) return PlainProducts::mix(a, h, count, w, out);
    auto* weights = reinterpret_cast<uint8_t*>(w.own);
    int32_t total = 0;
    for (int64_t s = 0; s < count; ++s) {
      weights[s] = static_cast<uint8_t>(w.scores[s]);
      total += w.scores[s];
    }
    for (int64_t s = count; s % kValueGroup != 0; ++s) weights[s] = 0;
    const int32_t shift = mix_by(a, Vectors{})(a, h, count, weights, w.mixed);
    const auto own = static_cast<int32_t>(wrap_mul(shift, total));
    deliver_row({a.out, a.out_type, inverse_of(a, total), a.offset, a.shift}, w.mixed, own, a.size,
                out);
  }

 private:
  using Vectors = std::make_integer_sequence<int, kMostVectors>;

  static bool fits(const SequenceAttention& a) {
    return a.size % kSizeStep == 0 && a.size <= kMostBytes && Query<1>::fits(a.q_zero);
  }

  static int64_t vectors(const SequenceAttention& a) {
    return (a.size + kHeadBytes - 1) / kHeadBytes;
  }

  template <int... I>
  static ScoreFn score_by(const SequenceAttention& a, std::integer_sequence<int, I...>) {
    static constexpr ScoreFn all[] = {score_with<I + 1>...};
    return all[vectors(a) - 1];
  }

  template <int... I>
  static MixFn mix_by(const SequenceAttention& a, std::integer_sequence<int, I...>) {
    static constexpr MixFn all[] = {mix_with<I + 1>...};
    return all[vectors(a) - 1];
  }
};

}  // namespace
}  // namespace intformer
