// Attention for any vector width.
//
// Where four 8-bit products go straight into int32 (kNarrow), q and the softmax weights are the
// unsigned operands; keys and values are packed as k - kOffset and v - kOffset, and the zero points
// become a constant per key, per query and per row of weights. Elsewhere all operands are widened
// to int16 with their zero points subtracted.
#pragma once

#include <algorithm>
#include <type_traits>

#if defined(__aarch64__)
#include "arm_forms.h"
#else
#include "x86_forms.h"
#endif
#include "../simd/deliver.h"
#include "../simd/exponent.h"
#include "probabilities.h"

namespace intformer {
namespace {

using Weight = std::conditional_t<kNarrow, uint8_t, int16_t>;
using AttentionTiles = Tiles<Dot, kRows, kVectors>;
constexpr int64_t kStep = kGroup * Dot::kSteps;  // values along the sum that a tile takes at once

// Sizes of the packed form of one head and of the scratch of one thread.
struct Layout {
  int64_t key_steps, value_steps, columns, wide;     // columns: keys in whole vectors
  int64_t keys, corrections, values, kept, bytes;    // offsets, then the size of one head
  int64_t queries, scores, weights, mixed, scratch;  // offsets, then the size of the scratch
  int64_t halves;  // size of one byte of the weights, and distance to the other
};

Layout layout_of(int64_t keys, int64_t size, int64_t value_size) {
  Layout l{};
  l.key_steps = round_up(size, kStep) / kGroup;
  l.value_steps = round_up(keys, kStep) / kGroup;
  l.columns = round_up(keys, std::max<int64_t>(kLanes, kStep));
  l.wide = round_up(value_size, kLanes);
  l.corrections = l.key_steps * 4 * l.columns;
  l.kept = l.corrections + l.columns * 4;
  l.values = round_up(l.kept + l.columns * 4, 64);
  l.bytes = round_up(l.values + l.value_steps * 4 * l.wide, 64);
  l.scores = round_up(kRows * l.key_steps * 4, 64);
  l.weights = l.scores + round_up(kRows * l.columns * 4, 64);
  l.halves = round_up(kRows * l.columns * static_cast<int64_t>(sizeof(Weight)), 64);
  l.mixed = l.weights + 2 * l.halves;
  l.scratch = l.mixed + 2 * kRows * l.wide * 4;
  return l;
}

// --- packing

constexpr int64_t kKeyChunk = 64;

// Up to kKeyChunk values of a key as tiles read them, minus kOffset or minus their zero; 0 past the
// end.
void convert_key(const Attention& a, const uint8_t* k, int64_t count, std::byte* to) {
  if constexpr (kNarrow) {
    auto* values = reinterpret_cast<uint8_t*>(to);
    for (int64_t d = 0; d < count; ++d) values[d] = static_cast<uint8_t>(k[d] - kOffset);
    for (int64_t d = count; d < round_up(count, kStep); ++d) values[d] = 0;
  } else {
    auto* values = reinterpret_cast<int16_t*>(to);
    for (int64_t d = 0; d < count; ++d) values[d] = static_cast<int16_t>(k[d] - a.k_zero);
    for (int64_t d = count; d < round_up(count, kStep); ++d) values[d] = 0;
  }
}

// Spreads one key over its column of the packed form.
void pack_key(const Attention& a, const uint8_t* k, uint32_t* column) {
  alignas(64) std::byte converted[kKeyChunk * 4 / kGroup];
  for (int64_t d = 0; d < a.size; d += kKeyChunk) {
    const int64_t count = a.size - d < kKeyChunk ? a.size - d : kKeyChunk;
    convert_key(a, k + d, count, converted);
    const int64_t groups = round_up(count, kStep) / kGroup;
    for (int64_t i = 0; i < groups; ++i, column += kLanes) {
      __builtin_memcpy(column, converted + 4 * i, 4);
    }
  }
}

int32_t byte_sum(const uint8_t* x, int64_t n) {
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum;
}

void pack_keys(const Attention& a, const Layout& l, const uint8_t* k, std::byte* packed) {
  auto* groups = reinterpret_cast<uint32_t*>(packed);
  auto* corrections = reinterpret_cast<int32_t*>(packed + l.corrections);
  const auto size = static_cast<int32_t>(a.size);
  for (int64_t s = 0; s < l.columns; ++s) {
    uint32_t* column = groups + s / kLanes * l.key_steps * kLanes + s % kLanes;
    if (s >= a.keys) {
      for (int64_t i = 0; i < l.key_steps; ++i) column[i * kLanes] = 0;
      corrections[s] = kDropped;
      continue;
    }
    const uint8_t* key = k + s * a.k_stride;
    __builtin_prefetch(key + a.size);  // of the next head
    pack_key(a, key, column);
    corrections[s] = kNarrow ? -a.q_zero * (byte_sum(key, a.size) - size * a.k_zero) : 0;
  }
}

void pack_mask(const Attention& a, const Layout& l, int64_t image, std::byte* packed) {
  auto* kept = reinterpret_cast<int32_t*>(packed + l.kept);
  const uint8_t* mask = a.mask + image * a.keys;
  for (int64_t s = 0; s < l.columns; ++s) kept[s] = s < a.keys && mask[s] >= 1 ? -1 : 0;
}

// Transposes kGroup rows of values into groups, one column after the other.
void pack_value_group(const Attention& a, const uint8_t* v, int64_t rows, int64_t d, uint8_t* to) {
  for (int64_t j = 0; j < kGroup; ++j) {
    const uint8_t value = j < rows ? v[j * a.v_stride + d] : 0;
    if constexpr (kNarrow) {
      to[j] = static_cast<uint8_t>(j < rows ? value - kOffset : 0);
    } else {
      const auto centred = static_cast<int16_t>(j < rows ? value - a.v_zero : 0);
      __builtin_memcpy(to + 2 * j, &centred, 2);
    }
  }
}

void pack_values(const Attention& a, const Layout& l, const uint8_t* v, std::byte* packed) {
  auto* to = reinterpret_cast<uint8_t*>(packed + l.values);
  const int64_t panel = l.value_steps * 4 * kLanes;
  for (int64_t step = 0; step < l.value_steps; ++step) {
    const uint8_t* from = v + step * kGroup * a.v_stride;
    for (int64_t j = 0; j < kGroup; ++j) {
      __builtin_prefetch(from + j * a.v_stride + a.value_size);  // of the next head
    }
    const int64_t rows = a.keys - step * kGroup;
    int64_t d = 0;
    for (; rows >= kGroup && d + 16 <= a.value_size; d += 16) {
      pack_values_16(a, from + d, to + d / kLanes * panel + step * 4 * kLanes, panel);
    }
    for (; d < l.wide; ++d) {
      uint8_t* cell = to + d / kLanes * panel + (step * kLanes + d % kLanes) * 4;
      pack_value_group(a, from, d < a.value_size ? rows : 0, d, cell);
    }
  }
}

void pack_head(const Attention& a, int64_t unit) {
  const Layout l = layout_of(a.keys, a.size, a.value_size);
  const int64_t image = unit / a.heads, head = unit % a.heads;
  std::byte* packed = packed_of(a, unit, l.bytes);
  pack_keys(a, l, a.k + image * a.k_batch + head * a.size, packed);
  pack_values(a, l, a.v + image * a.v_batch + head * a.value_size, packed);
  if (a.mask) pack_mask(a, l, image, packed);
}

// --- attending

struct Work {
  const Attention& a;
  const Layout l;
  const std::byte* packed;
  std::byte* scratch;

  int32_t* scores() const { return reinterpret_cast<int32_t*>(scratch + l.scores); }
  Weight* weights() const { return reinterpret_cast<Weight*>(scratch + l.weights); }
  int32_t* mixed() const { return reinterpret_cast<int32_t*>(scratch + l.mixed); }
};

// Products of `count` rows of A with all panels of B.
void multiply(const TileSource& first, int count, int64_t columns, int32_t* out) {
  TileSource s = first;
  for (int64_t c = 0; c < columns; c += kVectors * kLanes) {
    const int64_t left = (columns - c) / kLanes;
    const int vectors = static_cast<int>(left < kVectors ? left : kVectors);
    AttentionTiles::run(s, 0, count, vectors, out + c, columns);
    s.b += vectors * s.b_panel;
  }
}

// Query rows as tiles read them: in place where possible, else copied.
TileSource query_rows(const Work& w, const uint8_t* q, int count) {
  const int64_t stride = w.l.key_steps * 4, panel = w.l.key_steps * 4 * kLanes;
  if (kNarrow && w.a.size % kStep == 0) {
    return {reinterpret_cast<const std::byte*>(q),
            w.a.q_stride,
            w.packed,
            panel,
            w.l.key_steps,
            w.packed};
  }
  for (int r = 0; r < count; ++r) {
    std::byte* to = w.scratch + r * stride;
    __builtin_memset(to, 0, static_cast<size_t>(stride));
    for (int64_t d = 0; d < w.a.size; ++d) {
      const uint8_t level = q[r * w.a.q_stride + d];
      if constexpr (kNarrow) {
        reinterpret_cast<uint8_t*>(to)[d] = level;
      } else {
        reinterpret_cast<int16_t*>(to)[d] = static_cast<int16_t>(level - w.a.q_zero);
      }
    }
  }
  return {w.scratch, stride, w.packed, panel, w.l.key_steps, w.packed};
}

// Adds a row of the bias; nothing is read past the last key.
void add_bias(const Work& w, const int32_t* bias, int32_t* scores) {
  int64_t s = 0;
  for (; s + kLanes <= w.a.keys; s += kLanes) {
    Isa::store(scores + s, Isa::add(Isa::load(scores + s), Isa::load(bias + s)));
  }
  for (; s < w.a.keys; ++s) scores[s] += bias[s];
}

// Adds the zero-point terms, applies the mask, and returns the largest score.
int32_t settle(const Work& w, const uint8_t* q, int32_t* scores) {
  const auto* corrections = reinterpret_cast<const int32_t*>(w.packed + w.l.corrections);
  const auto* kept = reinterpret_cast<const int32_t*>(w.packed + w.l.kept);
  // The query's own term changes all scores alike: only the fixed score of dropped keys needs it.
  const bool masked = w.a.mask != nullptr;
  const int32_t own = kNarrow && masked ? (kOffset - w.a.k_zero) * byte_sum(q, w.a.size) : 0;
  const V shift = Isa::set(own), dropped = Isa::set(kDropped);
  V most = Isa::set(INT32_MIN);
  int64_t s = 0;
  if (!kNarrow && !masked) {  // then scores are whole already
    for (; s + kLanes <= w.a.keys; s += kLanes) most = Isa::max(most, Isa::load(scores + s));
  }
  for (; s < w.l.columns; s += kLanes) {
    V x = Isa::add(Isa::add(Isa::load(scores + s), Isa::load(corrections + s)), shift);
    if (masked) x = Isa::select(dropped, x, Isa::load(kept + s));
    Isa::store(scores + s, x);
    most = Isa::max(most, x);
  }
  return Isa::maximum(most);
}

constexpr DType kWeightType = kNarrow ? DType::u8 : DType::i16;

int32_t fill_weights(const Work& w, const Exponent& e, int32_t most, const int32_t* scores,
                     Weight* weights) {
  const V top = Isa::set(most);
  V total = Isa::zero();
  int64_t s = 0;
  for (; s + kMany * kLanes <= w.a.keys; s += kMany * kLanes) {
    V x[kMany];
#pragma GCC unroll 4
    for (int v = 0; v < kMany; ++v) {
      x[v] = weights_of(e, Isa::sub(top, Isa::load(scores + s + v * kLanes)));
      total = Isa::add(total, x[v]);
    }
    store_many(kWeightType, weights, s, x);
  }
  for (; s < w.a.keys; s += kLanes) {
    V x = weights_of(e, Isa::sub(top, Isa::load(scores + s)));
    if (s + kLanes > w.a.keys) x = first_lanes(x, w.a.keys - s);
    store_as(kWeightType, weights, s, x);
    total = Isa::add(total, x);
  }
  return Isa::sum(total);
}

// Probabilities of a row in one piece, or in two bytes; returns their sum.
template <class Division>
int32_t fill_probabilities(const Layout& l, const Division& divide, bool split,
                           const int32_t* raised, Weight* weights) {
  auto* high = reinterpret_cast<std::byte*>(weights) + l.halves;
  V total = Isa::zero();
  for (int64_t s = 0; s < l.columns; s += kLanes) {
    const V x = divide(Isa::load(raised + s));
    total = Isa::add(total, x);
    store_as(kWeightType, weights, s, split ? Isa::both(x, Isa::set(255)) : x);
    if (split) store_as(kWeightType, high, s, Isa::sra(x, 8));
  }
  return Isa::sum(total);
}

// 2^15 is beyond the int16 weights of wide products, and 8 bits are beyond narrow ones.
bool has_halves(const Attention& a) {
  return a.softmax != Softmax::exp2 && a.bits > (kNarrow ? 8 : 15);
}

// The constants of the weights, for either way to make them.
struct Scoring {
  Exponent exponent;
  Probability probability;
};

// The weights of a row and the sum of them.
int32_t weigh(const Work& w, const Scoring& c, int32_t most, int32_t* scores, Weight* weights) {
  if (w.a.softmax == Softmax::exp2) return fill_weights(w, c.exponent, most, scores, weights);
  const Probability& p = c.probability;
  const int32_t total = raise_row(p, most, w.a.keys, w.l.columns, scores);
  const bool split = has_halves(w.a);
  if (p.kind == Softmax::log2) {
    return fill_probabilities(w.l, Powers(total), split, scores, weights);
  }
  return fill_probabilities(w.l, Quotient(p, total), split, scores, weights);
}

// P·V of `count` rows; weights in two bytes are multiplied one after the other.
void mix(const Work& w, int count) {
  const Layout& l = w.l;
  const auto* weights = reinterpret_cast<const std::byte*>(w.weights());
  const int64_t stride = l.columns * static_cast<int64_t>(sizeof(Weight));
  const int64_t panel = l.value_steps * 4 * kLanes;
  const TileSource source{weights, stride, w.packed + l.values, panel, l.value_steps, w.packed};
  multiply(source, count, l.wide, w.mixed());
  if (!has_halves(w.a)) return;
  TileSource upper = source;
  upper.a += l.halves;
  int32_t* high = w.mixed() + kRows * l.wide;
  multiply(upper, count, l.wide, high);
  for (int64_t i = 0; i < count * l.wide; ++i) w.mixed()[i] += 256 * high[i];
}

// Multiplies a row of P·V, whose weights sum to `total`, by its factor and stores it.
void deliver(const Work& w, const int32_t* mixed, int32_t total, int64_t out) {
  const Attention& a = w.a;
  const int64_t inverse =
      a.softmax == Softmax::exp2 ? a.gain / (total < 255 ? 255 : total) : a.gain;
  // The whole fits in int32; without the zero point's term, the sum may have wrapped.
  const auto own = static_cast<int32_t>(kNarrow ? wrap_mul(kOffset - a.v_zero, total) : 0);
  deliver_row({a.out, a.out_type, inverse, a.offset, a.shift}, mixed, own, a.value_size, out);
}

void attend_rows(const Work& w, const Scoring& c, const uint8_t* q, int count, const int32_t* bias,
                 int64_t out) {
  const Attention& a = w.a;
  const Layout& l = w.l;
  for (int r = 0; r < count; ++r) {
    __builtin_prefetch(q + r * a.q_stride + a.size);  // of the next head
    __builtin_prefetch(static_cast<const std::byte*>(a.out) +
                       (out + r * a.heads * a.value_size) * item_size(a.out_type));
  }
  multiply(query_rows(w, q, count), count, l.columns, w.scores());
  int32_t totals[kRows];
  for (int r = 0; r < count; ++r) {
    int32_t* scores = w.scores() + r * l.columns;
    if (bias) add_bias(w, bias + r * a.bias_query, scores);
    const int32_t most = settle(w, q + r * a.q_stride, scores);
    totals[r] = weigh(w, c, most, scores, w.weights() + r * l.columns);
  }
  mix(w, count);
  for (int r = 0; r < count; ++r) {
    deliver(w, w.mixed() + r * l.wide, totals[r], out + r * a.heads * a.value_size);
  }
}

void attend(const Attention& a, int64_t unit, Range queries, std::byte* scratch) {
  const Layout l = layout_of(a.keys, a.size, a.value_size);
  const Work w{a, l, packed_of(a, unit, l.bytes), scratch};
  const Scoring c{exponent_of(a.limit, a.multiplier, a.exp_shift), probability_of(a)};
  const int64_t image = unit / a.heads, head = unit % a.heads;
  const int64_t out = (image * a.queries * a.heads + head) * a.value_size;
  for (int64_t t = queries.begin; t < queries.end; t += kRows) {
    const int count = static_cast<int>(queries.end - t < kRows ? queries.end - t : kRows);
    const uint8_t* q = a.q + image * a.q_batch + t * a.q_stride + head * a.size;
    attend_rows(w, c, q, count, bias_of(a, unit, t), out + t * a.heads * a.value_size);
  }
}

}  // namespace
}  // namespace intformer
