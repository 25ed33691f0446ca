// The tiles of x86: four bytes of each row of A, broadcast, meet a vector of each panel of B.
#pragma once

#include "../simd/tile_source.h"
#include "vector.h"

namespace intformer {
namespace {

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
// Four u8 x s8 products straight into int32, exact.
struct DotVnni {
  static constexpr int kSteps = 1;
  static inline __attribute__((always_inline)) Isa::V add(Isa::V sum, const std::byte* a,
                                                          const std::byte* b, int64_t) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(sum, Isa::broadcast(a), Isa::load(b));
#else
    return _mm256_dpbusd_avx_epi32(sum, Isa::broadcast(a), Isa::load(b));
#endif
  }
};
#endif

// Two i16 x i16 products straight into int32, exact for int8 weights.
struct DotWide {
  static constexpr int kSteps = 1;
  static inline __attribute__((always_inline)) Isa::V add(Isa::V sum, const std::byte* a,
                                                          const std::byte* b, int64_t) {
#if defined(__AVX512VNNI__)
    return _mm512_dpwssd_epi32(sum, Isa::broadcast(a), Isa::load(b));
#elif defined(__AVXVNNI__)
    return _mm256_dpwssd_avx_epi32(sum, Isa::broadcast(a), Isa::load(b));
#else
    return _mm256_add_epi32(sum, _mm256_madd_epi16(Isa::broadcast(a), Isa::load(b)));
#endif
  }
};

#if !defined(__AVX512F__)
// `Steps` u8 x s8 pair sums are added in int16 before they are widened; the plan has proved from
// the weights that 255 times the largest sum of weights of one sign fits.
template <int Steps>
struct DotPairs {
  static constexpr int kSteps = Steps;
  static inline __attribute__((always_inline)) Isa::V pairs(Isa::V a, Isa::V b) {
    return _mm256_maddubs_epi16(a, b);
  }
  static inline __attribute__((always_inline)) Isa::V add16(Isa::V x, Isa::V y) {
    return _mm256_add_epi16(x, y);
  }
  static inline __attribute__((always_inline)) Isa::V widen(Isa::V sum, Isa::V x) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x, _mm256_set1_epi16(1)));
  }
};

// |a - 128| * sign(w, a - 128) with w in [-127, 127]: a pair is at most 2 * 128 * 127 = 32512.
// The row of A holds a - 128, and |a - 128| `apart` bytes further.
struct DotSign {
  static constexpr int kSteps = 1;
  static inline __attribute__((always_inline)) Isa::V add(Isa::V sum, const std::byte* a,
                                                          const std::byte* b, int64_t apart) {
    const Isa::V signed_b = _mm256_sign_epi8(Isa::load(b), Isa::broadcast(a));
    const Isa::V pairs = _mm256_maddubs_epi16(Isa::broadcast(a + apart), signed_b);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};
#endif

// One step along K for all rows and vectors of a tile.
template <class Dot, int Rows, int Vectors>
inline __attribute__((always_inline)) void tile_step(Isa::V (&sums)[Rows][Vectors],
                                                     const TileSource& s, int64_t apart,
                                                     const std::byte* a, const std::byte* b) {
  INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
      sums[r][v] = Dot::add(sums[r][v], a + r * s.a_stride, b + v * s.b_panel, apart);
    }
  }
}

// As tile_step, with sums of several steps kept in int16, one row after the other.
template <class Dot, int Rows, int Vectors>
inline __attribute__((always_inline)) void tile_pairs(Isa::V (&sums)[Rows][Vectors],
                                                      const TileSource& s, const std::byte* a,
                                                      const std::byte* b) {
  INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
    Isa::V parts[Vectors];
    INTFORMER_UNROLL for (int i = 0; i < Dot::kSteps; ++i) {
      const Isa::V left = Isa::broadcast(a + 4 * i + r * s.a_stride);
      INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
        const Isa::V pair = Dot::pairs(left, Isa::load(b + 4 * i * Isa::kLanes + v * s.b_panel));
        parts[v] = i == 0 ? pair : Dot::add16(parts[v], pair);
      }
    }
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) sums[r][v] =
        Dot::widen(sums[r][v], parts[v]);
    // Reading B again for each row is cheaper than keeping more of it than there are registers.
    if constexpr (Dot::kSteps * Vectors > 4) asm volatile("" : : : "memory");
  }
}

// Few rows read B once and wait for memory: the panels of the next tile are asked for early.
template <int Vectors, int Steps>
inline __attribute__((always_inline)) void prefetch_next(const TileSource& s, const std::byte* b) {
  INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
    INTFORMER_UNROLL for (int i = 0; i < Steps; ++i) {
      _mm_prefetch(b + 4 * i * Isa::kLanes + (v + Vectors) * s.b_panel, _MM_HINT_T0);
    }
  }
}

template <class Dot>
concept InPairs = requires(Isa::V x) { Dot::pairs(x, x); };

// Has a tile do nothing between its steps.
struct Nothing {
  static constexpr int kTimes = 0;
  void operator()(int) const {}
};

// Calls `between(0)` to `between(kTimes - 1)` on the way, a few steps apart.
template <class Dot, int Rows, int Vectors, class Between>
inline __attribute__((always_inline)) void tile_with(const TileSource& s, int64_t apart,
                                                     int32_t* out, int64_t out_stride,
                                                     const Between& between) {
  Isa::V sums[Rows][Vectors];
  INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) sums[r][v] = Isa::zero();
  }
  const std::byte* a = s.a;
  const std::byte* b = s.b;
  const std::byte* next = s.next;
  const auto advance = [&](int64_t steps) __attribute__((always_inline)) {
    for (int64_t step = 0; step < steps; step += Dot::kSteps) {
      if constexpr (Rows <= 4) prefetch_next<Vectors, Dot::kSteps>(s, b);
      if constexpr (InPairs<Dot>) {
        tile_pairs<Dot>(sums, s, a, b);
      } else {
        tile_step<Dot>(sums, s, apart, a, b);
      }
      constexpr int kBytes = 4 * Dot::kSteps * Isa::kLanes;
      INTFORMER_UNROLL for (int i = 0; i < kBytes; i += 64) __builtin_prefetch(next + i, 0, 2);
      a += 4 * Dot::kSteps;
      b += kBytes;
      next += kBytes;
    }
  };
  int64_t left = s.steps;
  if constexpr (Between::kTimes > 0) {
    const int64_t part = left / (Between::kTimes + 1) / Dot::kSteps * Dot::kSteps;
    for (int i = 0; i < Between::kTimes; ++i) {
      advance(part);
      between(i);
    }
    left -= part * Between::kTimes;
  }
  advance(left);
  INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
      Isa::store(out + r * out_stride + v * Isa::kLanes, sums[r][v]);
    }
  }
}

template <class Dot, int Rows, int Vectors>
void tile(const TileSource& s, int64_t apart, int32_t* out, int64_t out_stride) {
  tile_with<Dot, Rows, Vectors>(s, apart, out, out_stride, Nothing{});
}

}  // namespace
}  // namespace intformer
