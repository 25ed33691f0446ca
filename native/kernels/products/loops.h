// The kernels as plain loops over contiguous memory: each level compiles them for its instruction
// set.
#pragma once

#include <algorithm>

#include "../scalar.h"
#include "products.h"
#if defined(__AVX2__)
#include "x86_cells.h"
#include "x86_product.h"
#else
#include "plain_cells.h"
#include "plain_product.h"
#endif
#if defined(__AVX2__) || defined(__ARM_FEATURE_DOTPROD)
#include "simd_softmax.h"
#else
#include "plain_softmax.h"
#endif

namespace intformer {
namespace {

// Cells of a window that are added up in one go.
constexpr int64_t kCells = 64;

// Where the cells from `first` on of a window at (top, left) lie, at most kCells of them.
int64_t window_cells(const Depthwise& d, int64_t image, int64_t top, int64_t left, int64_t first,
                     const uint8_t** cells) {
  const int64_t count = std::min(d.kernel_h * d.kernel_w - first, kCells);
  for (int64_t k = 0; k < count; ++k) {
    const int64_t y = top + (first + k) / d.kernel_w, x = left + (first + k) % d.kernel_w;
    const bool inside = y >= 0 && y < d.height && x >= 0 && x < d.width;
    cells[k] = inside ? d.x + ((image * d.height + y) * d.width + x) * d.channels : d.pad;
  }
  return count;
}

void window_sums(const Depthwise& d, int64_t image, int64_t top, int64_t left, int32_t* out) {
  const uint8_t* cells[kCells];
  for (int64_t c = 0; c < d.channels; ++c) out[c] = d.bias[c];
  for (int64_t first = 0; first < d.kernel_h * d.kernel_w; first += kCells) {
    const int64_t count = window_cells(d, image, top, left, first, cells);
    add_cells(cells, count, d.weight + first * d.channels, d.channels, out);
  }
}

void depthwise(const Depthwise& d, Range rows) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t image = row / d.out_h, top = row % d.out_h * d.stride_h - d.pad_h;
    for (int64_t j = 0; j < d.out_w; ++j) {
      window_sums(d, image, top, j * d.stride_w - d.pad_w,
                  d.out + (row * d.out_w + j) * d.channels);
    }
  }
}

}  // namespace
}  // namespace intformer
