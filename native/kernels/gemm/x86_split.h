// Operands of products whose activations are split: for AVX2.
//
// A value is l + 128·h with l < 128. Pairs of l·w are exact in int16, as 2·127·128 < 2^15. The h of
// four values pick one of the sixteen sums of their weights: one addition does what four products
// would. These sums are made once for all rows of a block.
#pragma once

#include "x86_sums.h"

namespace intformer {
namespace {

constexpr int64_t kQuad = 4;                                    // values along K whose h pick a sum
constexpr int64_t kSumBytes = 32, kQuadBytes = 16 * kSumBytes;  // a sum of sixteen columns, and all
constexpr int64_t kQuadsAtOnce = 4;
constexpr int64_t kMostQuads = 48;  // sums of 256 weights stay in int16, those of 192 in the cache
constexpr int64_t kPicksBytes = kMostQuads * kQuadBytes;
constexpr int64_t kVectorBytes = 4 * kLanes;
constexpr int64_t kSplitColumns = kPair * kLanes;

// Four values of A as tiles read them: l of each, and where in the table of its part the sum lies.
constexpr int64_t kSplitBytes = 8;

// K in parts of about equal size; for each the sums are made anew.
struct Parts {
  int64_t quads, most;  // in all, and in a part

  explicit Parts(int64_t depth) : quads(round_up(depth, kQuad) / kQuad) {
    const int64_t count = (quads + kMostQuads - 1) / kMostQuads;
    most = round_up((quads + count - 1) / count, kQuadsAtOnce);
  }

  int64_t from(int64_t quad) const { return std::min(most, quads - quad); }
};

// Eight times four values. `base`: where in the table the sixteen sums of each begin.
inline __attribute__((always_inline)) void split_values(V x, V base, std::byte* to) {
  const V low = _mm256_and_si256(x, _mm256_set1_epi8(127));
  const V high = _mm256_and_si256(_mm256_srli_epi16(x, 7), _mm256_set1_epi8(1));
  const V pairs = _mm256_maddubs_epi16(high, _mm256_set1_epi32(0x08040201));
  const V choice = _mm256_madd_epi16(pairs, _mm256_set1_epi16(kSumBytes));
  const V place = _mm256_add_epi32(choice, base);
  const V even = _mm256_unpacklo_epi32(low, place), odd = _mm256_unpackhi_epi32(low, place);
  Isa::store(to, _mm256_permute2x128_si256(even, odd, 0x20));
  Isa::store(to + 32, _mm256_permute2x128_si256(even, odd, 0x31));
}

// The values of one row in one part; writes whole vectors.
inline void split_row(const uint8_t* from, int64_t values, std::byte* to) {
  V base =
      _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(kQuadBytes));
  for (int64_t k = 0; k < values; k += kVectorBytes, to += 2 * kVectorBytes) {
    V x = Isa::zero();
    if (k + kVectorBytes <= values) {
      x = Isa::load(from + k);
    } else {
      __builtin_memcpy(&x, from + k, static_cast<size_t>(values - k));
    }
    split_values(x, base, to);
    base = _mm256_add_epi32(base, _mm256_set1_epi32(8 * kQuadBytes));
  }
}

// All rows, one part after the other; a part's rows are next to each other.
void split_rows(const Gemm& g, Range rows, const Parts& parts, std::byte* to) {
  for (int64_t quad = 0; quad < parts.quads; quad += parts.most) {
    const int64_t quads = parts.from(quad), k = quad * kQuad;
    const auto* from = static_cast<const uint8_t*>(g.a) + rows.begin * g.a_stride + k;
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      split_row(from, std::min(g.k - k, quads * kQuad), to);
      from += g.a_stride;
      to += quads * kSplitBytes;
    }
  }
}

// The sixteen sums of every four weights: column c in lane 2c, column c + 8 in lane 2c + 1.
void make_sums(const std::byte* b, int64_t panel, int64_t quads, std::byte* to) {
  for (; quads > 0; --quads, b += 4 * kLanes, to += kQuadBytes) {
    const V left = Isa::load(b), right = Isa::load(b + panel);
    const V first = _mm256_blend_epi16(left, _mm256_slli_epi32(right, 16), 0xAA);
    const V second = _mm256_blend_epi16(_mm256_srli_epi32(left, 16), right, 0xAA);
    const V w0 = _mm256_srai_epi16(_mm256_slli_epi16(first, 8), 8);
    const V w1 = _mm256_srai_epi16(first, 8);
    const V w2 = _mm256_srai_epi16(_mm256_slli_epi16(second, 8), 8);
    const V w3 = _mm256_srai_epi16(second, 8);
    const V low[] = {Isa::zero(), w0, w1, _mm256_add_epi16(w0, w1)};
    const V high[] = {Isa::zero(), w2, w3, _mm256_add_epi16(w2, w3)};
    INTFORMER_UNROLL for (int i = 0; i < 16; ++i) {
      Isa::store(to + i * kSumBytes, _mm256_add_epi16(low[i % 4], high[i / 4]));
    }
  }
}

// One part of K for a tile and those below it.
struct SplitSource {
  const std::byte* a;
  int64_t a_stride;
  const std::byte* b;
  int64_t b_panel;
  const std::byte* picks;  // made by make_sums
  int64_t quads;
};

// Adds one part of K to the sums of a few rows by two vectors. As in x86_sums.h, additions come
// late: a row adds the products of the step before.
template <int kRows>
struct SplitSums {
  static inline __attribute__((always_inline)) void add(const SplitSource& s,
                                                        RowSums<kRows>& sums) {
    RowSums<kRows> late;
    V high[kRows];
    clear<kRows>(late);
    INTFORMER_UNROLL for (int r = 0; r < kRows; ++r) high[r] = Isa::zero();
    const std::byte *a = s.a, *b = s.b;
    int64_t left = s.quads;
    for (; left >= kQuadsAtOnce; left -= kQuadsAtOnce) {
      add_quads<kQuadsAtOnce>(s, a, b, sums, late, high);
    }
    for (; left > 0; --left) add_quads<1>(s, a, b, sums, late, high);
    const V even = _mm256_set1_epi32(128), odd = _mm256_set1_epi32(128 << 16);
    INTFORMER_UNROLL for (int r = 0; r < kRows; ++r) {
      const V raised[] = {_mm256_madd_epi16(high[r], even), _mm256_madd_epi16(high[r], odd)};
      INTFORMER_UNROLL for (int v = 0; v < kPair; ++v) {
        sums[r][v] = Isa::add(Isa::add(sums[r][v], late[r][v]), raised[v]);
      }
    }
  }

 private:
  template <int kCount>
  static inline __attribute__((always_inline)) void add_quads(
      const SplitSource& s, const std::byte*& a, const std::byte*& b, RowSums<kRows>& sums,
      RowSums<kRows>& late, V (&high)[kRows]) {
    INTFORMER_UNROLL for (int i = 0; i < kCount; ++i) {
      const std::byte* at = b + 4 * i * kLanes;
      const V b0 = load_kept(at), b1 = load_kept(at + s.b_panel);
      INTFORMER_UNROLL for (int r = 0; r < kRows; ++r) {
        const std::byte* values = a + i * kSplitBytes + r * s.a_stride;
        const auto place = static_cast<uint32_t>(four_bytes(values + kQuad));
        asm volatile(
            "vpaddd %[late0], %[sum0], %[sum0]\n\t"
            "vpaddd %[late1], %[sum1], %[sum1]\n\t"
            "vpbroadcastd %[a], %[late1]\n\t"
            "vpmaddubsw %[b0], %[late1], %[late0]\n\t"
            "vpmaddubsw %[b1], %[late1], %[late1]\n\t"
            "vpaddw %[pick], %[high], %[high]\n\t"
            "vpmaddwd %[ones], %[late0], %[late0]\n\t"
            "vpmaddwd %[ones], %[late1], %[late1]"
            : [late0] "+&x"(late[r][0]), [late1] "+&x"(late[r][1]), [sum0] "+&x"(sums[r][0]),
              [sum1] "+&x"(sums[r][1]), [high] "+&x"(high[r])
            : [a] "m"(four_bytes(values)), [b0] "x"(b0), [b1] "x"(b1), [ones] "x"(ones()),
              [pick] "m"(vector_at(s.picks + place)));
      }
    }
    a += kCount * kSplitBytes;
    b += 4 * kCount * kLanes;
  }
};

}  // namespace
}  // namespace intformer
