// Sums of whole tiles of a few rows by two vectors, in registers: for AVX2.
//
// The order of the instructions is part of these loops. An addition that waits for its product
// keeps others from being issued, so a row's products are added while the next row is multiplied.
// Rows are written out in assembly, because compilers copy and spill registers otherwise, and no
// unit is free for that.
#pragma once

#include "../simd/tile.h"

namespace intformer {
namespace {

constexpr int kPair = 2;  // vectors of a tile

template <int kRows>
using RowSums = V[kRows][kPair];

template <int kRows>
inline __attribute__((always_inline)) void clear(RowSums<kRows>& sums) {
  INTFORMER_UNROLL for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = Isa::zero();
}

// Where the steps of a tile have come to.
struct Steps {
  const std::byte *a, *b, *next;

  explicit Steps(const TileSource& s) : a(s.a), b(s.b), next(s.next) {}

  template <int kCount>
  inline __attribute__((always_inline)) void advance() {
    constexpr int kBytes = 4 * kCount * Isa::kLanes;
    INTFORMER_UNROLL for (int i = 0; i < kBytes; i += 64) __builtin_prefetch(next + i, 0, 2);
    a += 4 * kCount;
    b += kBytes;
    next += kBytes;
  }
};

// Sums of four rows, step by step. A row adds `late`, products of Step::kLate rows before, and
// leaves its own there.
template <class Step>
struct LateSums {
  static constexpr int kRows = 4, kLate = Step::kLate;

  static inline __attribute__((always_inline)) void compute(const TileSource& s, int32_t*,
                                                            RowSums<kRows>& sums) {
    RowSums<kLate> late;
    clear<kRows>(sums);
    clear<kLate>(late);
    Steps at(s);
    int64_t left = s.steps / Step::kSteps;
    for (; left >= Step::kUnrolled; left -= Step::kUnrolled) {
      add<Step::kUnrolled>(s, at, sums, late);
    }
    for (; left > 0; --left) add<1>(s, at, sums, late);
    INTFORMER_UNROLL for (int r = 0; r < kLate; ++r) {
      INTFORMER_UNROLL for (int v = 0; v < kPair; ++v) {
        V& sum = sums[kRows - kLate + r][v];
        sum = Isa::add(sum, late[r][v]);
      }
    }
  }

 private:
  template <int kTimes>
  static inline __attribute__((always_inline)) void add(const TileSource& s, Steps& at,
                                                        RowSums<kRows>& sums,
                                                        RowSums<kLate>& late) {
    INTFORMER_UNROLL for (int i = 0; i < kTimes; ++i) {
      const std::byte* a = at.a + 4 * i * Step::kSteps;
      const Step step(at.b + 4 * i * Step::kSteps * Isa::kLanes, s.b_panel);
      INTFORMER_UNROLL for (int r = 0; r < kRows; ++r) {
        step.add_row(a + r * s.a_stride, sums[(r + kRows - kLate) % kRows], late[r % kLate]);
      }
    }
    at.advance<kTimes * Step::kSteps>();
  }
};

inline V ones() { return _mm256_set1_epi16(1); }

inline const V& vector_at(const std::byte* from) { return *reinterpret_cast<const V*>(from); }

inline const int32_t& four_bytes(const std::byte* from) {
  return *reinterpret_cast<const int32_t*>(from);
}

inline __attribute__((always_inline)) V load_kept(const std::byte* from) {
  V x = Isa::load(from);
  keep(x);
  return x;
}

// Form::pairs2.
class Pairs2Step {
 public:
  static constexpr int kSteps = 1, kUnrolled = 4, kLate = 2;

  Pairs2Step(const std::byte* b, int64_t panel) : b_(b), panel_(panel) {}

  inline __attribute__((always_inline)) void add_row(const std::byte* a, V (&sums)[kPair],
                                                     V (&late)[kPair]) const {
    V first, second;
    asm volatile(
        "vpbroadcastd %[a], %[second]\n\t"
        "vpmaddubsw %[b0], %[second], %[first]\n\t"
        "vpmaddwd %[ones], %[first], %[first]\n\t"
        "vpaddd %[late0], %[sum0], %[sum0]\n\t"
        "vpmaddubsw %[b1], %[second], %[second]\n\t"
        "vpmaddwd %[ones], %[second], %[second]\n\t"
        "vpaddd %[late1], %[sum1], %[sum1]"
        : [first] "=&x"(first), [second] "=&x"(second), [sum0] "+&x"(sums[0]), [sum1] "+&x"(sums[1])
        : [a] "m"(four_bytes(a)), [b0] "m"(vector_at(b_)), [b1] "m"(vector_at(b_ + panel_)),
          [ones] "x"(ones()), [late0] "x"(late[0]), [late1] "x"(late[1]));
    late[0] = first;
    late[1] = second;
  }

 private:
  const std::byte* const b_;
  const int64_t panel_;
};

// Form::pairs4: two steps added in int16.
class Pairs4Step {
 public:
  static constexpr int kSteps = 2, kUnrolled = 2, kLate = 2;

  Pairs4Step(const std::byte* b, int64_t panel) : b_(b), panel_(panel) {}

  inline __attribute__((always_inline)) void add_row(const std::byte* a, V (&sums)[kPair],
                                                     V (&late)[kPair]) const {
    V first, second;
    asm volatile(
        "vpaddd %[late0], %[sum0], %[sum0]\n\t"
        "vpaddd %[late1], %[sum1], %[sum1]\n\t"
        "vpbroadcastd %[a0], %[late1]\n\t"
        "vpmaddubsw %[b00], %[late1], %[late0]\n\t"
        "vpmaddubsw %[b01], %[late1], %[late1]\n\t"
        "vpbroadcastd %[a1], %[second]\n\t"
        "vpmaddubsw %[b10], %[second], %[first]\n\t"
        "vpmaddubsw %[b11], %[second], %[second]\n\t"
        "vpaddw %[first], %[late0], %[late0]\n\t"
        "vpaddw %[second], %[late1], %[late1]\n\t"
        "vpmaddwd %[ones], %[late0], %[late0]\n\t"
        "vpmaddwd %[ones], %[late1], %[late1]"
        : [late0] "+&x"(late[0]), [late1] "+&x"(late[1]), [sum0] "+&x"(sums[0]),
          [sum1] "+&x"(sums[1]), [first] "=&x"(first), [second] "=&x"(second)
        : [a0] "m"(four_bytes(a)), [a1] "m"(four_bytes(a + 4)), [b00] "m"(b(0, 0)),
          [b01] "m"(b(0, 1)), [b10] "m"(b(1, 0)), [b11] "m"(b(1, 1)), [ones] "x"(ones()));
  }

 private:
  const V& b(int step, int vector) const {
    return vector_at(b_ + 4 * step * Isa::kLanes + vector * panel_);
  }

  const std::byte* const b_;
  const int64_t panel_;
};

// Form::wide.
class WideStep {
 public:
  static constexpr int kSteps = 1, kUnrolled = 4, kLate = 2;

  inline __attribute__((always_inline)) WideStep(const std::byte* b, int64_t panel)
      : b_{load_kept(b), load_kept(b + panel)} {}

  inline __attribute__((always_inline)) void add_row(const std::byte* a, V (&sums)[kPair],
                                                     V (&late)[kPair]) const {
    asm volatile(
        "vpaddd %[late0], %[sum0], %[sum0]\n\t"
        "vpaddd %[late1], %[sum1], %[sum1]\n\t"
        "vpbroadcastd %[a], %[late1]\n\t"
        "vpmaddwd %[b0], %[late1], %[late0]\n\t"
        "vpmaddwd %[b1], %[late1], %[late1]"
        :
        [late0] "+&x"(late[0]), [late1] "+&x"(late[1]), [sum0] "+&x"(sums[0]), [sum1] "+&x"(sums[1])
        : [a] "m"(four_bytes(a)), [b0] "x"(b_[0]), [b1] "x"(b_[1]));
  }

 private:
  const V b_[kPair];
};

// Form::pairs8, and packed weights: int16 sums of six rows fill the registers, so int32 sums wait
// in the first-level cache. The first group of steps stores them, and the last leaves them in
// registers.
template <class Dot, class Widen>
class StoredGroups {
 public:
  static constexpr int kRows = 6;

  StoredGroups(const TileSource& s, Widen widen, int32_t* stored)
      : s_(s), widen_(widen), stored_(stored), at_(s) {}

  inline __attribute__((always_inline)) void compute(int64_t groups, RowSums<kRows>& sums) {
    First first{stored_};
    if (groups > 1) {
      add(first);
    } else {
      INTFORMER_UNROLL for (int i = 0; i < kRows * kPair; ++i) first.add(0, i, Isa::zero());
    }
    Middle middle{stored_};
    for (int64_t group = 2; group < groups; ++group) add(middle);
    Last last{stored_, sums};
    add(last);
  }

 private:
  struct First {
    int32_t* stored;
    inline __attribute__((always_inline)) void add(int r, int v, V x) {
      Isa::store(stored + (r * kPair + v) * kLanes, x);
    }
  };
  struct Middle {
    int32_t* stored;
    inline __attribute__((always_inline)) void add(int r, int v, V x) {
      int32_t* at = stored + (r * kPair + v) * kLanes;
      Isa::store(at, Isa::add(x, Isa::load(at)));
    }
  };
  struct Last {
    const int32_t* stored;
    RowSums<kRows>& sums;
    inline __attribute__((always_inline)) void add(int r, int v, V x) {
      sums[r][v] = Isa::add(x, Isa::load(stored + (r * kPair + v) * kLanes));
      keep(sums[r][v]);
    }
  };

  template <class Into>
  inline __attribute__((always_inline)) void add(Into& into) {
    pairs_by_step<Dot, kRows, kPair>(into, s_.a_stride, s_.b_panel, at_.a, at_.b, widen_);
    at_.template advance<Dot::kSteps>();
    widen_.advance();
  }

  const TileSource& s_;
  Widen widen_;
  int32_t* const stored_;
  Steps at_;
};

// Form::pairs8.
struct Pairs8Sums {
  using Dot = DotPairs<4>;
  struct Widen {
    inline __attribute__((always_inline)) V operator()(V x, int) const { return Dot::widened(x); }
    void advance() {}
  };
  static constexpr int kRows = StoredGroups<Dot, Widen>::kRows;

  static inline __attribute__((always_inline)) void compute(const TileSource& s, int32_t* stored,
                                                            RowSums<kRows>& sums) {
    StoredGroups<Dot, Widen>(s, {}, stored).compute(s.steps / Dot::kSteps, sums);
  }
};

}  // namespace
}  // namespace intformer
