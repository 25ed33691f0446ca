// How attention multiplies on Arm, and how it packs values for that.
#pragma once

#include "../simd/rescale.h"
#include "../simd/tile.h"
#include "attention.h"

namespace intformer {
namespace {

constexpr bool kNarrow = true;
using Dot = DotUnsigned;
constexpr int kRows = 6, kVectors = 4;
// Both operands are levels as they are.
constexpr int32_t kOffset = 0;
constexpr int64_t kGroup = 4;

// Sixteen columns of four full rows: four panels of four columns.
void pack_values_16(const Attention& a, const uint8_t* v, uint8_t* to, int64_t panel) {
  uint8x16_t rows[kGroup];
  for (int j = 0; j < kGroup; ++j) rows[j] = vld1q_u8(v + j * a.v_stride);
  const uint8x16x2_t first = vzipq_u8(rows[0], rows[1]), second = vzipq_u8(rows[2], rows[3]);
  for (int half = 0; half < 2; ++half) {
    const uint16x8x2_t groups =
        vzipq_u16(vreinterpretq_u16_u8(first.val[half]), vreinterpretq_u16_u8(second.val[half]));
    vst1q_u8(to + (2 * half) * panel, vreinterpretq_u8_u16(groups.val[0]));
    vst1q_u8(to + (2 * half + 1) * panel, vreinterpretq_u8_u16(groups.val[1]));
  }
}

}  // namespace
}  // namespace intformer
