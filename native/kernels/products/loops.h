// The kernels as plain loops over contiguous memory: each level compiles them for its instruction
// set.
#pragma once

#include "../scalar.h"
#include "products.h"
#if defined(__AVX2__)
#include "x86_product.h"
#else
#include "plain_product.h"
#endif

namespace intformer {
namespace {

void add_window_row(const Depthwise& d, int64_t image, int64_t row, int64_t column, int64_t i,
                    int32_t* out) {
  for (int64_t j = 0; j < d.kernel_w; ++j) {
    const int64_t y = row + i, x = column + j;
    const bool inside = y >= 0 && y < d.height && x >= 0 && x < d.width;
    const uint8_t* in = inside ? d.x + ((image * d.height + y) * d.width + x) * d.channels : d.pad;
    const int8_t* weight = d.weight + (i * d.kernel_w + j) * d.channels;
    for (int64_t c = 0; c < d.channels; ++c) {
      out[c] = wrap_add32(out[c], static_cast<int16_t>(in[c] * weight[c]));  // 16 bits hold it
    }
  }
}

void softmax_row(const SoftmaxRows& s, int64_t row, uint8_t* weights) {
  const int16_t* x = s.x + row * s.columns;
  int32_t most = INT32_MIN, total = 0;
  for (int64_t j = 0; j < s.columns; ++j) most = x[j] > most ? x[j] : most;
  const int32_t half = 1 << (s.exp_shift - 1);
  for (int64_t j = 0; j < s.columns; ++j) {
    const int32_t distance = most - x[j] < s.limit ? most - x[j] : s.limit;
    const int32_t exponent = (distance * s.multiplier + half) >> s.exp_shift;
    weights[j] = exp2_weight(exponent < kExpSteps ? exponent : kExpSteps);
    total += weights[j];
  }
  const int64_t inverse = s.gain / (total < 255 ? 255 : total);
  for (int64_t j = 0; j < s.columns; ++j) {
    const int64_t value = wrap_add(wrap_mul(weights[j], inverse), s.offset);
    store(s.out, s.out_type, row * s.columns + j, shifted(value, s.shift));
  }
}

void depthwise(const Depthwise& d, Range rows) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t image = row / d.out_h, top = row % d.out_h * d.stride_h - d.pad_h;
    for (int64_t j = 0; j < d.out_w; ++j) {
      int32_t* out = d.out + (row * d.out_w + j) * d.channels;
      for (int64_t c = 0; c < d.channels; ++c) out[c] = d.bias[c];
      for (int64_t i = 0; i < d.kernel_h; ++i) {
        add_window_row(d, image, top, j * d.stride_w - d.pad_w, i, out);
      }
    }
  }
}

void softmax(const SoftmaxRows& s, Range rows, std::byte* scratch) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    softmax_row(s, row, reinterpret_cast<uint8_t*>(scratch));
  }
}

}  // namespace
}  // namespace intformer
