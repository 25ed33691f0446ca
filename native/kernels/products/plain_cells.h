// Sums over the cells of a window for any instruction set: one cell after the other.
#pragma once

#include "../scalar.h"

namespace intformer {
namespace {

// Adds `count` cells, each times its weights, to the sums of all channels.
void add_cells(const uint8_t* const* cells, int64_t count, const int8_t* weight, int64_t channels,
               int32_t* sums) {
  for (int64_t k = 0; k < count; ++k, weight += channels) {
    const uint8_t* in = cells[k];
    for (int64_t c = 0; c < channels; ++c) {
      sums[c] = wrap_add32(sums[c], static_cast<int16_t>(in[c] * weight[c]));  // 16 bits hold it
    }
  }
}

}  // namespace
}  // namespace intformer
