// Operators that move data or reduce it in simple ways; the compiler's vectorisation serves them
// well.
#pragma once

#include "../common.h"

namespace intformer {

constexpr int kMaxRank = 8;

// out[i...] = in[i...] over `rank` dimensions with strides in elements; a stride of 0 repeats.
struct Copy {
  const std::byte* in;
  std::byte* out;
  int64_t item;
  int rank;
  int64_t dims[kMaxRank], in_strides[kMaxRank], out_strides[kMaxRank];
};

// Copies the outermost indices of `outer`.
void copy(const Copy&, Range outer);

struct Patches {
  const uint8_t* x;
  const uint8_t* pad;
  uint8_t* out;
  int64_t height, width, channels, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, out_h,
      out_w;
};

// The windows of `range`, which counts over batch, out_h and out_w, one after the other at `to`.
void windows(const Patches&, Range range, uint8_t* to);

// Window rows at `out`: `rows` counts over batch and out_h.
void patches(const Patches&, Range rows);

struct Embedding {
  const void* ids;
  DType ids_type;
  const int8_t* rows;
  const int32_t* multiplier;
  int64_t channels, vocabulary;
  int shift;
  void* out;
  DType out_type;
};

void embedding(const Embedding&, Range tokens);

// The same with the columns of a weight as rows: `rows` is [channels, vocabulary], or what packing
// for products has made of that, [vocabulary / lanes][depth / 4][lanes][4].
struct TiedEmbedding {
  Embedding e;
  int64_t lanes, depth;  // 0 lanes: not packed
};

void tied_embedding(const TiedEmbedding&, Range tokens);

// Rows of bytes written into a cache [batch, length, width] where each row of the batch stands.
struct Append {
  const uint8_t *cache, *fresh;
  const int64_t* position;
  uint8_t* out;  // may be the cache itself
  int64_t length, tokens, width;
};

void append(const Append&, Range batch);

// Rows of a position table for each token: out [batch, tokens, width bytes].
struct PositionRows {
  const std::byte* table;
  const int64_t* position;
  std::byte* out;
  int64_t tokens, width, rows;
};

void position_rows(const PositionRows&, Range rows);

// in [outer, axis, inner] -> out [outer, inner].
struct Reduce {
  const void* in;
  DType in_type;
  void* out;
  int64_t axis, inner;
};

void sum(const Reduce&, Range outer);
// The result has the type of the input.
void maximum(const Reduce&, Range outer);
void argmax(const Reduce&, Range outer);

// The largest of `count` bytes.
uint8_t largest(const uint8_t* x, int64_t count);

}  // namespace intformer
