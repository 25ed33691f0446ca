#include "../scalar.h"
#include "attention.h"

namespace intformer::portable {
namespace {

struct Head {
  const uint8_t *q, *k, *v, *mask;
  int64_t out;
};

Head head_of(const Attention& a, int64_t unit) {
  const int64_t image = unit / a.heads, head = unit % a.heads;
  const int64_t column = head * a.size, value_column = head * a.value_size;
  return {a.q + image * a.q_batch + column, a.k + image * a.k_batch + column,
          a.v + image * a.v_batch + value_column, a.mask ? a.mask + image * a.keys : nullptr,
          image * a.queries * a.heads * a.value_size + value_column};
}

int32_t score(const Attention& a, const uint8_t* q, const uint8_t* k) {
  int32_t sum = 0;
  for (int64_t d = 0; d < a.size; ++d) sum += (q[d] - a.q_zero) * (k[d] - a.k_zero);
  return sum;
}

int32_t fill_scores(const Attention& a, const Head& h, const uint8_t* q, const int32_t* bias,
                    int32_t* scores) {
  int32_t most = INT32_MIN;
  for (int64_t s = 0; s < a.keys; ++s) {
    const bool kept = !h.mask || h.mask[s] >= 1;
    scores[s] = kept ? score(a, q, h.k + s * a.k_stride) + (bias ? bias[s] : 0) : kDropped;
    most = scores[s] > most ? scores[s] : most;
  }
  return most;
}

// The exponential of a distance in steps of the grid, of which `end` are as many as infinitely
// many.
int32_t raise(const Attention& a, int32_t grid) {
  switch (a.softmax) {
    case Softmax::exp2:
      return exp2_weight(grid < kExpSteps ? grid : kExpSteps);
    case Softmax::shift:
      return shift_exp(grid < kShiftReach * a.unit ? grid : kShiftReach * a.unit, a.unit);
    default:
      return quadratic_exp(grid < kQuadraticEnd ? grid : kQuadraticEnd);
  }
}

int32_t raise_row(const Attention& a, int32_t most, int32_t* scores) {
  int32_t total = 0;
  const int32_t half = 1 << (a.exp_shift - 1);
  for (int64_t s = 0; s < a.keys; ++s) {
    const int64_t distance = static_cast<int64_t>(most) - scores[s];
    const int32_t near = distance < a.limit ? static_cast<int32_t>(distance) : a.limit;
    scores[s] = raise(a, (near * a.multiplier + half) >> a.exp_shift);
    total += scores[s];
  }
  return total;
}

// Turns the exponentials into weights and returns the factor of P·V.
int64_t divide_row(const Attention& a, int32_t total, int32_t* raised) {
  if (a.softmax == Softmax::exp2) return a.gain / (total < 255 ? 255 : total);
  for (int64_t s = 0; s < a.keys; ++s) {
    raised[s] = a.softmax == Softmax::log2 ? log2_weight(raised[s], total)
                                           : (raised[s] * (INT32_MAX / total)) >> (31 - a.bits);
  }
  return a.gain;
}

void mix(const Attention& a, const Head& h, const int32_t* weights, int64_t inverse, int64_t out) {
  for (int64_t d = 0; d < a.value_size; ++d) {
    int32_t sum = 0;
    for (int64_t s = 0; s < a.keys; ++s) sum += weights[s] * (h.v[s * a.v_stride + d] - a.v_zero);
    store(a.out, a.out_type, out + d, shifted(wrap_add(wrap_mul(sum, inverse), a.offset), a.shift));
  }
}

}  // namespace

int64_t attention_packed_bytes(int64_t, int64_t, int64_t) { return 0; }

int64_t attention_scratch_bytes(int64_t keys, int64_t, int64_t) { return keys * 4; }

void pack_attention(const Attention&, int64_t) {}

void attention(const Attention& a, int64_t unit, Range queries, std::byte* scratch) {
  auto* scores = reinterpret_cast<int32_t*>(scratch);
  const Head h = head_of(a, unit);
  for (int64_t t = queries.begin; t < queries.end; ++t) {
    const int32_t most = fill_scores(a, h, h.q + t * a.q_stride, bias_of(a, unit, t), scores);
    const int64_t inverse = divide_row(a, raise_row(a, most, scores), scores);
    mix(a, h, scores, inverse, h.out + t * a.heads * a.value_size);
  }
}

}  // namespace intformer::portable
