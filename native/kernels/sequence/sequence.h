// Operators of sequence models: attention of few queries over a cache, products, rotations, L1
// norm.
#pragma once

#include "../common.h"
#include "../ranking/ranking.h"

namespace intformer {

// Attention of one head over the keys that each query sees, softmax or polynomial.
struct SequenceAttention {
  const uint8_t *q, *k, *v;
  const uint8_t* mask;          // [batch, keys] or null
  const int64_t* position;      // [batch] or null: tokens before the first query
  const int32_t *bias, *floor;  // per head, polynomial only
  void* out;                    // [batch, queries, heads*size]
  DType out_type;
  int64_t batch, heads, kv_heads, queries, keys, size;
  bool causal;
  int power;  // 0: softmax
  int32_t q_zero, k_zero, v_zero;
  int32_t limit, multiplier;
  int exp_shift;
  int64_t gain, offset;
  int shift;
};

struct Rotary {
  const int16_t* x;              // [batch, tokens, heads*size]
  const int16_t *cosine, *sine;  // [rows, size/2]
  const int64_t* position;       // [batch] or null
  int32_t* out;
  int64_t tokens, heads, size, rows;
};

struct L1Norm {
  const int16_t* x;
  const int32_t* gain;
  const int64_t* offset;  // both per channel
  int64_t channels, eps;
  int shift, reciprocal;
  void* out;
  DType out_type;
};

using SequenceAttentionFn = void (*)(const SequenceAttention&, int64_t unit, Range queries,
                                     std::byte* scratch);
using RotaryFn = void (*)(const Rotary&, Range rows);
using L1NormFn = void (*)(const L1Norm&, Range rows);

struct SequenceKernels {
  SequenceAttentionFn attention;
  RotaryFn rotary;
  L1NormFn l1_norm;
  RankRowFn rank_row;
};

// Scratch has room for whole vectors of this many values.
constexpr int64_t kScratchLanes = 16;

// Bytes of scratch per thread that attention takes.
int64_t sequence_attention_scratch(int64_t keys, int64_t size);

#define INTFORMER_DECLARE_SEQUENCE(level) \
  namespace level {                       \
  extern const SequenceKernels sequence;  \
  }
INTFORMER_DECLARE_SEQUENCE(portable)
INTFORMER_DECLARE_SEQUENCE(avx2)
INTFORMER_DECLARE_SEQUENCE(avx512vnni)
INTFORMER_DECLARE_SEQUENCE(dotprod)

}  // namespace intformer
