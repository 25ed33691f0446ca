// The tiles of x86: four bytes of each row of A, broadcast, meet a vector of each panel of B.
#pragma once

#include <type_traits>

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
  static inline __attribute__((always_inline)) Isa::V widened(Isa::V x) {
    return _mm256_madd_epi16(x, _mm256_set1_epi16(1));
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

// Makes the compiler take `x` as it is: it would add in another order, which needs more registers.
inline __attribute__((always_inline)) void keep(Isa::V& x) { asm("" : "+x"(x)); }

// Sums of a tile in registers.
template <int Rows, int Vectors>
class Sums {
 public:
  Sums(int32_t* out, int64_t stride) : out_(out), stride_(stride) {
    INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
      INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) at[r][v] = Isa::zero();
    }
  }
  inline __attribute__((always_inline)) void add(int r, int v, Isa::V x) {
    at[r][v] = Isa::add(at[r][v], x);
  }
  inline __attribute__((always_inline)) void store() const {
    INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
      INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
        Isa::store(out_ + r * stride_ + v * Isa::kLanes, at[r][v]);
      }
    }
  }

  Isa::V at[Rows][Vectors];

 private:
  int32_t* const out_;
  const int64_t stride_;
};

// Sums of a tile where it is stored, in the first-level cache.
template <int Rows, int Vectors>
class StoredSums {
 public:
  StoredSums(int32_t* out, int64_t stride) : out_(out), stride_(stride) {
    INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
      INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) Isa::store(place(r, v), Isa::zero());
    }
  }
  inline __attribute__((always_inline)) void add(int r, int v, Isa::V x) {
    Isa::store(place(r, v), Isa::add(x, Isa::load(place(r, v))));
  }
  void store() const {}

 private:
  int32_t* place(int r, int v) const { return out_ + r * stride_ + v * Isa::kLanes; }

  int32_t* const out_;
  const int64_t stride_;
};

// One step along K for all rows and vectors of a tile.
template <class Dot, int Rows, int Vectors>
inline __attribute__((always_inline)) void tile_step(Sums<Rows, Vectors>& sums, const TileSource& s,
                                                     int64_t apart, const std::byte* a,
                                                     const std::byte* b) {
  INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
      sums.at[r][v] = Dot::add(sums.at[r][v], a + r * s.a_stride, b + v * s.b_panel, apart);
    }
  }
}

// As tile_step, with sums of a few steps kept in int16, one row after the other.
template <class Dot, int Rows, int Vectors>
inline __attribute__((always_inline)) void pairs_by_row(Sums<Rows, Vectors>& sums,
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
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) sums.add(r, v, Dot::widened(parts[v]));
  }
}

// The same with the sums of all rows at once, so that each vector of B is loaded once for all rows
// and each value of A once for all vectors: two loads a cycle are all that some processors do.
// `widened(x, v)` makes int32 of the int16 sums of vector v.
template <class Dot, int Rows, int Vectors, class AnySums, class Widen>
inline __attribute__((always_inline)) void pairs_by_step(AnySums& sums, int64_t a_stride,
                                                         int64_t b_panel, const std::byte* a,
                                                         const std::byte* b, const Widen& widened) {
  Isa::V parts[Rows][Vectors];
  INTFORMER_UNROLL for (int i = 0; i < Dot::kSteps; ++i) {
    Isa::V right[Vectors];
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
      right[v] = Isa::load(b + 4 * i * Isa::kLanes + v * b_panel);
      keep(right[v]);
    }
    INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
      const Isa::V left = Isa::broadcast(a + 4 * i + r * a_stride);
      INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
        const Isa::V pair = Dot::pairs(left, right[v]);
        parts[r][v] = i == 0 ? pair : Dot::add16(parts[r][v], pair);
        keep(parts[r][v]);
      }
    }
  }
  INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) sums.add(r, v, widened(parts[r][v], v));
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

// Whether the sums of all rows are built at once, and are too many for registers besides.
template <class Dot>
constexpr bool kByStep = InPairs<Dot> && Dot::kSteps >= 4;
template <class Dot, int Rows, int Vectors>
using SumsOf = std::conditional_t<kByStep<Dot> && (Rows * Vectors > 6), StoredSums<Rows, Vectors>,
                                  Sums<Rows, Vectors>>;

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
  SumsOf<Dot, Rows, Vectors> sums(out, out_stride);
  const int64_t a_stride = s.a_stride, b_panel = s.b_panel;
  const std::byte* a = s.a;
  const std::byte* b = s.b;
  const std::byte* next = s.next;
  const auto advance = [&](int64_t steps) __attribute__((always_inline)) {
    for (int64_t step = 0; step < steps; step += Dot::kSteps) {
      if constexpr (Rows <= 4) prefetch_next<Vectors, Dot::kSteps>(s, b);
      if constexpr (kByStep<Dot>) {
        pairs_by_step<Dot, Rows, Vectors>(sums, a_stride, b_panel, a, b,
                                          [](Isa::V x, int) { return Dot::widened(x); });
      } else if constexpr (InPairs<Dot>) {
        pairs_by_row<Dot>(sums, s, a, b);
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
  sums.store();
}

template <class Dot, int Rows, int Vectors>
void tile(const TileSource& s, int64_t apart, int32_t* out, int64_t out_stride) {
  tile_with<Dot, Rows, Vectors>(s, apart, out, out_stride, Nothing{});
}

}  // namespace
}  // namespace intformer
