// Scale changes, residual additions, products and table functions, one row at a time.
#pragma once

#include "../common.h"

namespace intformer {

// out = clip((a*a_multiplier + b*b_multiplier + offset) >> shift); without b where b is null.
struct Rescale {
  DType a_type, b_type, out_type;
  const int32_t *a_multiplier, *b_multiplier;  // per column, padded to whole vectors
  const int64_t* offset;                       // per column, in the order of 64-bit lanes
  int shift;
  int64_t columns;
};

// out = clip(((a - a_zero)*(b - b_zero)*multiplier + offset) >> shift).
struct Multiply {
  DType a_type, b_type, out_type;
  int32_t a_zero, b_zero;
  const int32_t* multiplier;  // per column, padded to whole vectors
  const int64_t* offset;      // per column, in the order of 64-bit lanes
  int shift;
  int64_t columns;
};

using RescaleFn = void (*)(const Rescale&, const void* a, const void* b, void* out);
using MultiplyFn = void (*)(const Multiply&, const void* a, const void* b, void* out);
using TableFn = void (*)(const uint8_t* x, const void* entries, DType type, void* out, int64_t n);

namespace portable {
void rescale(const Rescale&, const void* a, const void* b, void* out);
void multiply(const Multiply&, const void* a, const void* b, void* out);
void table(const uint8_t* x, const void* entries, DType type, void* out, int64_t n);
}  // namespace portable
namespace avx2 {
void rescale(const Rescale&, const void* a, const void* b, void* out);
void multiply(const Multiply&, const void* a, const void* b, void* out);
void table(const uint8_t* x, const void* entries, DType type, void* out, int64_t n);
}  // namespace avx2
namespace avx512vnni {
void rescale(const Rescale&, const void* a, const void* b, void* out);
void multiply(const Multiply&, const void* a, const void* b, void* out);
}  // namespace avx512vnni

namespace avx512vbmi {
void table(const uint8_t* x, const void* entries, DType type, void* out, int64_t n);
}
namespace dotprod {
void rescale(const Rescale&, const void* a, const void* b, void* out);
void multiply(const Multiply&, const void* a, const void* b, void* out);
void table(const uint8_t* x, const void* entries, DType type, void* out, int64_t n);
}  // namespace dotprod

}  // namespace intformer
