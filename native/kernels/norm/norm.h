// LayerNorm and RMSNorm over rows of int16, or of int32 that hold 20 bits.
#pragma once

#include "../common.h"

namespace intformer {

// RMSNorm, LayerNorm, or LayerNorm around a rounded mean with a root by Newton's iteration.
enum class NormKind : int64_t { rms, layer, newton };

struct Norm {
  const void* x;
  DType x_type;
  int64_t channels;
  const int32_t* gain;    // per channel, padded to whole vectors
  const int64_t* offset;  // per channel, in the order of 64-bit lanes
  void* out;
  DType out_type;
  int64_t eps;
  int shift;
  int bits, reciprocal;  // arith.norm_constants
  NormKind kind;
  int start;  // of Newton's iteration: the exponent of a fixed start, or 0
};

using NormFn = void (*)(const Norm&, Range rows);

namespace portable {
void norm(const Norm&, Range rows);
}
namespace avx2 {
void norm(const Norm&, Range rows);
}
namespace avx512vnni {
void norm(const Norm&, Range rows);
}
namespace dotprod {
void norm(const Norm&, Range rows);
}

}  // namespace intformer
