// Tiles of two by two sums: two rows of eight values of A meet two columns of eight weights in one
// instruction.
#pragma once

#include <concepts>

#include "../simd/tile_source.h"
#include "vector.h"

namespace intformer {
namespace {

// u8 x s8 products straight into int32, exact. A holds pairs of rows, eight bytes of one and eight
// of the other in turn; B is packed in groups of eight.
struct DotMatrix {
  static constexpr int kSteps = 2;
};

// Stores two rows of four columns, of which `left` and `right` hold two by two.
inline void store_pair(int32_t* out, int64_t out_stride, V left, V right) {
  const int64x2_t l = vreinterpretq_s64_s32(left), r = vreinterpretq_s64_s32(right);
  Isa::store(out, vreinterpretq_s32_s64(vzip1q_s64(l, r)));
  Isa::store(out + out_stride, vreinterpretq_s32_s64(vzip2q_s64(l, r)));
}

template <int Pairs, int Vectors>
void pair_tile(const TileSource& s, int32_t* out, int64_t out_stride) {
  V sums[Pairs][2 * Vectors];
  INTFORMER_UNROLL for (int p = 0; p < Pairs; ++p) {
    INTFORMER_UNROLL for (int v = 0; v < 2 * Vectors; ++v) sums[p][v] = Isa::zero();
  }
  const std::byte *a[Pairs], *b[Vectors];
  INTFORMER_UNROLL for (int p = 0; p < Pairs; ++p) a[p] = s.a + 2 * p * s.a_stride;
  INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) b[v] = s.b + v * s.b_panel;
  for (int64_t steps = s.steps; steps > 0; steps -= DotMatrix::kSteps) {
    uint8x16_t rows[Pairs];
    INTFORMER_UNROLL for (int p = 0; p < Pairs; ++p) {
      rows[p] = vreinterpretq_u8_s32(Isa::load(a[p]));
      a[p] += 16;
    }
    INTFORMER_UNROLL for (int v = 0; v < 2 * Vectors; ++v) {
      const V columns = Isa::load(b[v / 2] + v % 2 * 16);
      INTFORMER_UNROLL for (int p = 0; p < Pairs; ++p) {
        sums[p][v] = vusmmlaq_s32(sums[p][v], rows[p], vreinterpretq_s8_s32(columns));
      }
      // Loads of B that wait for their turn leave registers to the sums.
      asm volatile("" : : : "memory");
    }
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) b[v] += 32;
  }
  INTFORMER_UNROLL for (int p = 0; p < Pairs; ++p) {
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
      int32_t* to = out + 2 * p * out_stride + v * kLanes;
      store_pair(to, out_stride, sums[p][2 * v], sums[p][2 * v + 1]);
    }
  }
}

// An odd number of rows is computed with one more, for which `out` has room.
template <std::same_as<DotMatrix> Dot, int Rows, int Vectors>
void tile(const TileSource& s, int64_t, int32_t* out, int64_t out_stride) {
  pair_tile<(Rows + 1) / 2, Vectors>(s, out, out_stride);
}

}  // namespace
}  // namespace intformer
