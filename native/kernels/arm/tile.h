// The tiles of Arm: sixteen bytes of each row of A meet four vectors of each panel of B, whose
// products take one quarter of the bytes after the other.
#pragma once

#include "../simd/tile_source.h"
#include "vector.h"

#if defined(__ARM_FEATURE_MATMUL_INT8)
#include "matrix_tile.h"
#endif

namespace intformer {
namespace {

// Four s8 x s8 products straight into int32, exact. A holds a - 128.
struct DotSigned {
  static constexpr int kSteps = 4;
  template <int kPart>
  static inline __attribute__((always_inline)) V add(V sum, int8x16_t a, const std::byte* b) {
    return vdotq_laneq_s32(sum, vreinterpretq_s8_s32(Isa::load(b)), a, kPart);
  }
};

// Four u8 x u8 products straight into int32, exact modulo 2^32.
struct DotUnsigned {
  static constexpr int kSteps = 4;
  template <int kPart>
  static inline __attribute__((always_inline)) V add(V sum, int8x16_t a, const std::byte* b) {
    const uint8x16_t right = vreinterpretq_u8_s32(Isa::load(b));
    return vreinterpretq_s32_u32(
        vdotq_laneq_u32(vreinterpretq_u32_s32(sum), right, vreinterpretq_u8_s8(a), kPart));
  }
};

// One i16 x i16 product after the other, exact for int8 weights.
struct DotSingle {
  static constexpr int kSteps = 4;
  template <int kPart>
  static inline __attribute__((always_inline)) V add(V sum, int8x16_t a, const std::byte* b) {
    const int16x8_t left = vreinterpretq_s16_s8(a), right = vreinterpretq_s16_s32(Isa::load(b));
    sum = vmlal_laneq_s16(sum, vget_low_s16(right), left, 2 * kPart);
    return vmlal_high_laneq_s16(sum, right, left, 2 * kPart + 1);
  }
};

template <class Dot, int kPart, int Rows, int Vectors>
inline __attribute__((always_inline)) void tile_part(V (&sums)[Rows][Vectors],
                                                     const int8x16_t (&a)[Rows],
                                                     const std::byte* const (&b)[Vectors]) {
  INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
    INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
      sums[r][v] = Dot::template add<kPart>(sums[r][v], a[r], b[v] + 16 * kPart);
    }
    // Loads of B that wait for their turn leave registers to the sums.
    asm volatile("" : : : "memory");
  }
}

template <class Dot>
concept InParts = requires(V sum, int8x16_t a) { Dot::template add<0>(sum, a, nullptr); };

template <InParts Dot, int Rows, int Vectors>
void tile(const TileSource& s, int64_t, int32_t* out, int64_t out_stride) {
  V sums[Rows][Vectors];
  INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) sums[r][v] = Isa::zero();
  }
  const std::byte *a[Rows], *b[Vectors];
  INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) a[r] = s.a + r * s.a_stride;
  INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) b[v] = s.b + v * s.b_panel;
  for (int64_t steps = s.steps; steps > 0; steps -= Dot::kSteps) {
    int8x16_t left[Rows];
    INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
      left[r] = vreinterpretq_s8_s32(Isa::load(a[r]));
      a[r] += 16;
    }
    tile_part<Dot, 0>(sums, left, b);
    tile_part<Dot, 1>(sums, left, b);
    tile_part<Dot, 2>(sums, left, b);
    tile_part<Dot, 3>(sums, left, b);
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) b[v] += 64;
  }
  INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
      Isa::store(out + r * out_stride + v * kLanes, sums[r][v]);
    }
  }
}

}  // namespace
}  // namespace intformer
