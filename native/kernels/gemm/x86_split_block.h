// Blocks of products whose activations are split: for AVX2.
#pragma once

#include "x86_registers.h"
#include "x86_split.h"

namespace intformer {
namespace {

// What becomes of sums to which a part of K is still to be added.
struct ToMemory {
  template <int kRows>
  inline __attribute__((always_inline)) void operator()(const RowSums<kRows>& sums,
                                                        const Block& t) const {
    store_sums<kRows>(sums, t);
  }
};

// Two vectors of columns and one part of K: the topmost tile, the row behind the last one, whether
// this is the first part, and the weights to fetch meanwhile.
struct SplitColumns {
  SplitSource source;
  Block first;
  int64_t end;
  bool begins;
  const std::byte* next;
};

// The tiles of kRows rows; moves `c` behind them.
template <int kRows, class Finisher>
__attribute__((noinline)) void split_tiles(SplitColumns& c, const Finisher& finisher) {
  SplitSource s = c.source;
  Block t = c.first;
  t.rows = kRows;
  const std::byte *next = c.next, *last = next + s.quads * 4 * kLanes;
  for (; t.row + kRows <= c.end; t.row += kRows, t.sums += kRows * kSplitColumns) {
    if (next < last) {
      __builtin_prefetch(next, 0, 2);
      __builtin_prefetch(next + s.b_panel, 0, 2);
      next += 64;
    }
    RowSums<kRows> sums;
    INTFORMER_UNROLL for (int r = 0; r < kRows; ++r) {
      INTFORMER_UNROLL for (int v = 0; v < kPair; ++v) {
        sums[r][v] = c.begins ? Isa::zero() : Isa::load(t.sums + (r * kPair + v) * kLanes);
      }
    }
    SplitSums<kRows>::add(s, sums);
    finisher(sums, t);
    s.a += kRows * s.a_stride;
  }
  c.source.a = s.a;
  c.first.row = t.row;
  c.first.sums = t.sums;
}

// One block. Scratch: levels, the table of one part, sums of a few columns, then all rows of A.
class SplitProduct {
 public:
  static constexpr int64_t kTogether = 4 * kSplitColumns;

  SplitProduct(const Gemm& g, Range rows, std::byte* scratch)
      : g_(g), rows_(rows), parts_(g.k), scratch_(scratch) {
    split_rows(g, rows, parts_, a());
  }

  static int64_t scratch_bytes(int64_t rows, int64_t depth) {
    const int64_t row = kTogether * 4 + Parts(depth).quads * kSplitBytes;
    return kSums + rows * row + 2 * kVectorBytes;
  }

  uint8_t* levels() const { return reinterpret_cast<uint8_t*>(scratch_); }

  // All rows of the columns from `begin` to `end`, at most kTogether. A part of A is read for all
  // of them before the next one is.
  template <class Finisher>
  void compute(int64_t begin, int64_t end, const Finisher& finisher) const {
    const std::byte* rows = a();
    for (int64_t quad = 0; quad < parts_.quads; quad += parts_.most) {
      const int64_t quads = parts_.from(quad);
      int32_t* sums = this->sums();
      for (int64_t c = begin; c < end; c += kSplitColumns, sums += count() * kSplitColumns) {
        const int64_t columns = std::min(end - c, kSplitColumns);
        const std::byte* b = weights(c, quad);
        const bool more = c + kSplitColumns < end, parts = quad + quads < parts_.quads;
        const std::byte* next = parts ? weights(begin, quad + quads) : weights(end, 0);
        if (more) next = b + 2 * panel();
        // Of the last columns there may be no second panel.
        const SplitSource s{rows, quads * kSplitBytes, b, columns > kLanes ? panel() : 0, picks(),
                            quads};
        make_sums(b, s.b_panel, quads, picks());
        const Block first{sums, kSplitColumns, rows_.begin, c, 1, columns};
        SplitColumns all{s, first, rows_.end, quad == 0, next};
        parts ? tiles(all, ToMemory{}) : tiles(all, finisher);
      }
      rows += count() * quads * kSplitBytes;
    }
  }

 private:
  static constexpr int64_t kPicks = 2 * kLevelBytes, kSums = kPicks + kPicksBytes;

  template <class Finisher>
  static void tiles(SplitColumns& c, const Finisher& finisher) {
    split_tiles<2>(c, finisher);
    split_tiles<1>(c, finisher);
  }

  int64_t count() const { return rows_.end - rows_.begin; }
  int64_t panel() const { return parts_.quads * 4 * kLanes; }
  std::byte* picks() const { return scratch_ + kPicks; }
  int32_t* sums() const { return reinterpret_cast<int32_t*>(scratch_ + kSums); }
  std::byte* a() const { return scratch_ + kSums + count() * kTogether * 4; }
  const std::byte* weights(int64_t column, int64_t quad) const {
    return static_cast<const std::byte*>(g_.b) + column / kLanes * panel() + quad * 4 * kLanes;
  }

  const Gemm& g_;
  const Range rows_;
  const Parts parts_;
  std::byte* const scratch_;
};

void split_block(const Gemm& g, Range rows, Range columns, std::byte* scratch) {
  const SplitProduct product(g, rows, scratch);
  const int64_t whole = columns.end - (columns.end - columns.begin) % kSplitColumns;
  with_finisher(g.epilogue, product.levels(), [&](const auto& finisher) {
    for (int64_t c = columns.begin; c < whole; c += SplitProduct::kTogether) {
      product.compute(c, std::min(whole, c + SplitProduct::kTogether), finisher);
    }
  });
  if (whole < columns.end) {
    product.compute(whole, columns.end, FromMemory{g.epilogue, product.levels()});
  }
}

}  // namespace
}  // namespace intformer
