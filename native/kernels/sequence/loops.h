// The kernels as plain loops over contiguous memory: each level compiles them for its instruction
// set, and the compiler's vectorisation does the rest.
#pragma once

#include "../scalar.h"
#include "sequence.h"

namespace intformer {
namespace {

constexpr int kPolynomialBits = 30, kWeightBits = 30;
constexpr int32_t kSmallestPeak = 128;
constexpr int32_t kDropped = -(1 << 30);

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

// Σ (q - q_zero)·(k - k_zero) for the first `count` keys.
void fill_scores(const SequenceAttention& a, const HeadView& h, const uint8_t* q, int64_t count,
                 int16_t* centred, int32_t* scores) {
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
    scores[s] = dot - correction;
  }
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

// Σ w·(v - v_zero) over Σ w, rescaled and stored.
void mix_values(const SequenceAttention& a, const HeadView& h, int64_t count,
                const int32_t* weights, int32_t* mixed, int64_t out) {
  for (int64_t d = 0; d < a.size; ++d) mixed[d] = 0;
  int32_t total = 0;
  for (int64_t s = 0; s < count; ++s) {
    const int32_t w = weights[s];
    if (w == 0) continue;
    total += w;
    const uint8_t* v = h.v + s * h.kv_stride;
    for (int64_t d = 0; d < a.size; ++d) mixed[d] += w * v[d];
  }
  const int32_t least = a.power ? 1 : 255, correction = a.v_zero * total;
  const int64_t inverse = a.gain / (total < least ? least : total);
  for (int64_t d = 0; d < a.size; ++d) {
    const int64_t scaled = wrap_mul(mixed[d] - correction, inverse);
    store(a.out, a.out_type, out + d, shifted(wrap_add(scaled, a.offset), a.shift));
  }
}

void sequence_attention(const SequenceAttention& a, int64_t unit, Range queries,
                        std::byte* scratch) {
  auto* scores = reinterpret_cast<int32_t*>(scratch);
  int32_t* mixed = scores + a.keys;
  auto* centred = reinterpret_cast<int16_t*>(mixed + a.size);
  const HeadView h = view_of(a, unit);
  const int64_t stride = a.heads * a.size;
  for (int64_t t = queries.begin; t < queries.end; ++t) {
    const int64_t count = visible_keys(a, h, t);
    fill_scores(a, h, h.q + t * stride, count, centred, scores);
    if (a.power) {
      polynomial_weights(a, h, count, scores);
    } else {
      softmax_weights(a, h, count, scores);
    }
    mix_values(a, h, count, scores, mixed, h.out + t * stride);
  }
}

template <class A, class B>
void multiply_rows(const Multiply& m, Range rows) {
  const auto* a = static_cast<const A*>(m.a);
  const auto* b = static_cast<const B*>(m.b);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t c = 0; c < m.channels; ++c) {
      const int64_t i = row * m.channels + c;
      const int32_t product = (a[i] - m.a_zero) * (b[i] - m.b_zero);
      const int64_t scaled = wrap_mul(product, m.multiplier[c]);
      store(m.out, m.out_type, i, shifted(wrap_add(scaled, m.offset[c]), m.shift));
    }
  }
}

template <class A>
void multiply_by(const Multiply& m, Range rows) {
  switch (m.b_type) {
    case DType::u8:
      return multiply_rows<A, uint8_t>(m, rows);
    case DType::i8:
      return multiply_rows<A, int8_t>(m, rows);
    default:
      return multiply_rows<A, int16_t>(m, rows);
  }
}

void multiply(const Multiply& m, Range rows) {
  switch (m.a_type) {
    case DType::u8:
      return multiply_by<uint8_t>(m, rows);
    case DType::i8:
      return multiply_by<int8_t>(m, rows);
    default:
      return multiply_by<int16_t>(m, rows);
  }
}

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
