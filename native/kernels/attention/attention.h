// Softmax attention of one head and a block of queries, fused.
#pragma once

#include "../common.h"

namespace intformer {

// How scores become weights: unnormalised powers of two, or one of the published operators.
enum class Softmax : int64_t { exp2, shift, quadratic, log2 };

struct Attention {
  const uint8_t *q, *k, *v;
  int64_t q_stride, k_stride, v_stride;  // elements between tokens
  int64_t q_batch, k_batch, v_batch;     // elements between images or sequences
  const uint8_t* mask;                   // [batch, keys] or null
  const int32_t* bias;                   // added to the scores, or null; keys are contiguous
  int64_t bias_windows;                  // image i takes the bias of window i mod bias_windows
  int64_t bias_window, bias_head, bias_query;  // elements between windows, heads and queries
  void* out;                                   // [batch, queries, heads*value_size]
  DType out_type;
  std::byte* packed;  // keys and values of every head, filled by pack; see packed_bytes
  bool one_head;      // `packed` has room for one head, the one that is being worked on
  int64_t batch, heads, queries, keys, size, value_size;  // size: channels of a head of q and k
  int32_t q_zero, k_zero, v_zero;
  int32_t limit, multiplier;
  int exp_shift;
  int64_t gain, offset;
  int shift;
  Softmax softmax;
  int32_t unit;  // of Softmax::shift
  int bits;      // fraction bits of a probability
};

// Where the packed keys and values of head `unit` lie, `bytes` long.
inline std::byte* packed_of(const Attention& a, int64_t unit, int64_t bytes) {
  return a.packed + (a.one_head ? 0 : unit * bytes);
}

// The bias of one query of head `unit`, or null.
inline const int32_t* bias_of(const Attention& a, int64_t unit, int64_t query) {
  if (!a.bias) return nullptr;
  const int64_t window = unit / a.heads % a.bias_windows;
  return a.bias + window * a.bias_window + unit % a.heads * a.bias_head + query * a.bias_query;
}

// Prepares keys and values of head `unit` = image*heads + head.
using AttentionPackFn = void (*)(const Attention&, int64_t unit);
// Bytes per head that pack writes.
using AttentionBytesFn = int64_t (*)(int64_t keys, int64_t size, int64_t value_size);
// Bytes of scratch per thread.
using AttentionScratchFn = AttentionBytesFn;
// Attends with the queries of one head.
using AttentionFn = void (*)(const Attention&, int64_t unit, Range queries, std::byte* scratch);

#define INTFORMER_DECLARE_ATTENTION(level)                                           \
  namespace level {                                                                  \
  void pack_attention(const Attention&, int64_t unit);                               \
  int64_t attention_packed_bytes(int64_t keys, int64_t size, int64_t value_size);    \
  int64_t attention_scratch_bytes(int64_t keys, int64_t size, int64_t value_size);   \
  void attention(const Attention&, int64_t unit, Range queries, std::byte* scratch); \
  }
INTFORMER_DECLARE_ATTENTION(portable)
INTFORMER_DECLARE_ATTENTION(avx2)
INTFORMER_DECLARE_ATTENTION(avxvnni)
INTFORMER_DECLARE_ATTENTION(avx512vnni)
INTFORMER_DECLARE_ATTENTION(dotprod)

}  // namespace intformer
