// Attention of few queries over keys and values as they lie: the parts that every level shares. A
// level's `Products` computes scores and mixes values.
#pragma once

#include "../scalar.h"
#include "sequence.h"

namespace intformer {
namespace {

constexpr int kPolynomialBits = 30, kWeightBits = 30;
constexpr int32_t kSmallestPeak = 128;

struct HeadView {
  const uint8_t *q, *k, *v, *mask;
  int64_t kv_stride, head, first, out;
};

HeadView view_of(const SequenceAttention& a, int64_t unit) {
  const int64_t row = unit / a.heads, head = unit % a.heads;
  const int64_t kv_head = head / (a.heads / a.kv_heads), kv_stride = a.kv_heads * a.size;
  const int64_t rows = row * a.queries * a.heads * a.size + head * a.size;
  const int64_t keys = row * a.keys * kv_stride + kv_head * a.size;
  return {a.q + rows,
          a.k + keys,
          a.v + keys,
          a.mask ? a.mask + row * a.keys : nullptr,
          kv_stride,
          head,
          a.position ? a.position[row] : 0,
          rows};
}

int64_t visible_keys(const SequenceAttention& a, const HeadView& h, int64_t query) {
  const int64_t seen = h.first + query + 1;
  return a.causal && seen < a.keys ? seen : a.keys;
}

// arith.softmax_weights in place. Dropped keys have one score below all others; where every key is
// dropped, all weigh the same.
void softmax_weights(const SequenceAttention& a, const HeadView& h, int64_t count,
                     int32_t* scores) {
  if (h.mask) {
    for (int64_t s = 0; s < count; ++s) scores[s] = h.mask[s] >= 1 ? scores[s] : kDropped;
  }
  int32_t most = INT32_MIN;
  for (int64_t s = 0; s < count; ++s) most = scores[s] > most ? scores[s] : most;
  const int32_t half = 1 << (a.exp_shift - 1);
  for (int64_t s = 0; s < count; ++s) {
    const int32_t distance = most - scores[s];
    const int32_t near = distance < a.limit ? distance : a.limit;
    const int32_t exponent = (near * a.multiplier + half) >> a.exp_shift;
    scores[s] = exp2_weight(exponent < kExpSteps ? exponent : kExpSteps);
  }
}

// arith.polynomial_weights in place.
void polynomial_weights(const SequenceAttention& a, const HeadView& h, int64_t count,
                        int32_t* scores) {
  const int32_t bias = a.bias[h.head], floor = a.floor[h.head];
  const int32_t top = (1 << (kPolynomialBits / a.power)) - 1, half = 1 << (a.exp_shift - 1);
  int32_t most = kSmallestPeak;
  for (int64_t s = 0; s < count; ++s) {
    int32_t raised = wrap_add32(scores[s], bias);
    raised = raised < 0 ? 0 : raised;
    raised = raised < a.limit ? raised : a.limit;
    int32_t base = (raised * a.multiplier + half) >> a.exp_shift;
    base = base < top ? base : top;
    int32_t poly = base;
    for (int p = 1; p < a.power; ++p) poly *= base;
    poly += floor;
    if (h.mask) poly = h.mask[s] >= 1 ? poly : 0;
    scores[s] = poly;
    most = poly > most ? poly : most;
  }
  const int64_t inverse = (int64_t{255} << kWeightBits) / most;
  for (int64_t s = 0; s < count; ++s) {
    const int64_t share = scores[s] * inverse + (int64_t{1} << (kWeightBits - 1));
    const auto weight = static_cast<int32_t>(share >> kWeightBits);
    scores[s] = weight < 255 ? weight : 255;
  }
}

// The least sum of weights, and what Σ w·(v - v_zero) of this sum is multiplied by.
int64_t inverse_of(const SequenceAttention& a, int32_t total) {
  const int32_t least = a.power ? 1 : 255;
  return a.gain / (total < least ? least : total);
}

// What one query needs besides scores and weights: see `sequence_attention_scratch`.
struct QueryWork {
  int32_t* scores;  // later weights; room for whole vectors
  int32_t* mixed;   // the same
  std::byte* own;   // of the level
};

// Has the next head's keys and values fetched: their lines are far apart.
void fetch_head(const SequenceAttention& a, int64_t unit, Range queries) {
  if (unit >= a.batch * a.heads || queries.begin > 0) return;
  const HeadView h = view_of(a, unit);
  const int64_t count = visible_keys(a, h, queries.end - 1);
  for (int64_t s = 0; s < count; ++s) {
    for (int64_t d = 0; d < a.size; d += 64) {
      __builtin_prefetch(h.k + s * h.kv_stride + d);
      __builtin_prefetch(h.v + s * h.kv_stride + d);
    }
  }
}

template <class Products>
void sequence_attention(const SequenceAttention& a, int64_t unit, Range queries,
                        std::byte* scratch) {
  auto* scores = reinterpret_cast<int32_t*>(scratch);
  int32_t* mixed = scores + round_up(a.keys, kScratchLanes);
  const QueryWork work{scores, mixed,
                       reinterpret_cast<std::byte*>(mixed + round_up(a.size, 4 * kScratchLanes))};
  const HeadView h = view_of(a, unit);
  const int64_t stride = a.heads * a.size;
  fetch_head(a, unit + 1, queries);
  for (int64_t t = queries.begin; t < queries.end; ++t) {
    const int64_t count = visible_keys(a, h, t);
    Products::score(a, h, h.q + t * stride, count, work);
    if (a.power) {
      polynomial_weights(a, h, count, scores);
    } else {
      softmax_weights(a, h, count, scores);
    }
    Products::mix(a, h, count, work, h.out + t * stride);
  }
}

}  // namespace
}  // namespace intformer
