// Matrix product of 8-bit (or 16-bit) activations with packed int8 weights and a fused epilogue.
#pragma once

#include "../common.h"
#include "../elementwise/elementwise.h"

namespace intformer {

// What happens to an int32 accumulator before it is stored.
enum class Finish : int64_t {
  raw,         // acc + bias, int32
  requantize,  // (acc*multiplier + offset) >> shift
  residual,    // (acc*multiplier + b*residual_multiplier + offset) >> shift, b int16
};

// Epilogue of one product. `offset` holds the bias already: (acc + bias)*m + o = acc*m + (bias*m +
// o).
struct Epilogue {
  Finish finish;
  DType out_type;
  void* out;
  int64_t out_stride;  // elements between rows
  int shift;
  const int32_t* bias;        // raw only
  const int32_t* multiplier;  // per channel, padded to whole vectors and one value more
  const int64_t* offset;      // per channel, even and odd lanes of a vector apart
  const int16_t* residual;
  int64_t residual_stride, residual_rows;  // row r reads r % residual_rows
  const int32_t* residual_multiplier;
  const uint8_t* table;  // 256 entries after a uint8 result, or null
  DType table_type;
  TableFn look_up;  // how this level reads a table
};

// How the product is computed; chosen per layer when the plan is made.
enum class Form : int64_t {
  plain,   // portable: weights [K][N]
  vnni,    // four 8-bit products straight into int32
  pairs2,  // int16 lanes hold 2 products, proved below 2^15
  pairs4,
  pairs8,
  sign,     // |a-128| * sign(w, a-128), w in [-127, 127]
  wide,     // int16 operands
  dotprod,  // (a-128)·w, four signed 8-bit products straight into int32
  i8mm,     // two rows by two columns of eight 8-bit products straight into int32
  single,   // int16 operands, one product after the other
  nibbles,  // weights of 4 bits, a multiplier for every 32 of a column
  split,    // seven bits of A in pairs, the eighth by a table of sums of weights
};

struct Gemm {
  Form form;
  DType a_type;  // u8, or i16 for linear16
  const void* a;
  int64_t a_stride;  // elements between rows
  const void* b;     // packed for `form`
  int64_t m, n, k;
  Epilogue epilogue;
};

// Computes rows x columns of the product; both start on a block boundary.
using GemmFn = void (*)(const Gemm&, Range rows, Range columns, std::byte* scratch);

// Bytes of scratch per thread for blocks of `rows` rows of `depth` values.
using GemmScratchFn = int64_t (*)(Form form, int64_t rows, int64_t depth);

#define INTFORMER_DECLARE_GEMM(level)                                    \
  namespace level {                                                      \
  void gemm(const Gemm&, Range rows, Range columns, std::byte* scratch); \
  int64_t gemm_scratch_bytes(Form form, int64_t rows, int64_t depth);    \
  }
INTFORMER_DECLARE_GEMM(portable)
INTFORMER_DECLARE_GEMM(avx2)
INTFORMER_DECLARE_GEMM(avxvnni)
INTFORMER_DECLARE_GEMM(avx512vnni)
INTFORMER_DECLARE_GEMM(dotprod)
INTFORMER_DECLARE_GEMM(i8mm)

}  // namespace intformer
