// Products of matrices, convolutions of single channels, and the softmax by itself.
#pragma once

#include "../common.h"

namespace intformer {

// out [m, n] = (a [m, k] - a_zero) (b [k, n] - b_zero).
struct Product {
  int64_t m, k, n;
  int32_t a_zero, b_zero;
};

using ProductFn = void (*)(const Product&, const uint8_t* a, const uint8_t* b, int32_t* out,
                           Range rows);

struct Depthwise {
  const uint8_t* x;
  const uint8_t* pad;
  const int8_t* weight;  // [kernel_h·kernel_w, channels]
  const int32_t* bias;
  int32_t* out;
  int64_t height, width, channels, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, out_h,
      out_w;
};

// Rows of the result: `rows` counts over batch and out_h.
using DepthwiseFn = void (*)(const Depthwise&, Range rows);

struct SoftmaxRows {
  const int16_t* x;
  void* out;
  DType out_type;
  int64_t columns;
  int32_t limit, multiplier;
  int exp_shift;
  int64_t gain, offset;
  int shift;
};

using SoftmaxFn = void (*)(const SoftmaxRows&, Range rows, std::byte* scratch);

struct ProductKernels {
  ProductFn product;
  DepthwiseFn depthwise;
  SoftmaxFn softmax;
};

#define INTFORMER_DECLARE_PRODUCTS(level) \
  namespace level {                       \
  extern const ProductKernels products;   \
  }
INTFORMER_DECLARE_PRODUCTS(portable)
INTFORMER_DECLARE_PRODUCTS(avx2)
INTFORMER_DECLARE_PRODUCTS(avx512vnni)
INTFORMER_DECLARE_PRODUCTS(dotprod)

}  // namespace intformer
