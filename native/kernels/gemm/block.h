// The product of one block and its epilogue, for any vector width and any form.
#pragma once

#include "../simd/tile.h"
#include "epilogue.h"
#include "rows.h"

namespace intformer {
namespace {

// Scratch: two tiles in int32, the levels of one, what a table makes of them, then rows of A.
constexpr int64_t kLevels = 2 * kTileBytes, kByteRows = kLevels + 2 * kLevelBytes;

int64_t scratch_bytes(int64_t rows, int64_t depth) {
  return kByteRows + rows * (round_up(depth, 16) * 2 + 64);
}

// One block of a product. kGroup: values along K in four bytes.
template <class Dot, int kRows, int kVectors, int kGroup>
class Product {
 public:
  Product(const Gemm& g, Range rows, Range columns, std::byte* scratch)
      : g_(g), rows_(rows), columns_(columns), scratch_(scratch) {
    const int64_t padded = round_up(g.k, kGroup * Dot::kSteps);
    steps_ = padded / kGroup;
    a_ = prepare_rows(g, rows, padded, scratch + kByteRows);
  }

  // Each tile is finished before the next one begins.
  void in_turn() const {
    each_tile([this](const Block& t, const TileSource& source) {
      compute(t, source);
      finish(g_.epilogue, t, levels());
    });
  }

  static constexpr int64_t kColumns = kVectors * kLanes;

  // Bytes between a row's two forms, where a form of the product has two.
  int64_t apart() const { return a_.apart; }

  uint8_t* levels() const { return reinterpret_cast<uint8_t*>(scratch_ + kLevels); }

  static int32_t* sums(const Block& t) { return const_cast<int32_t*>(t.sums); }

  // The sums of any tile.
  void compute(const Block& t, const TileSource& source) const {
    const int vectors = static_cast<int>((t.columns + kLanes - 1) / kLanes);
    Tiles<Dot, kRows, kVectors>::run(source, a_.apart, t.rows, vectors, sums(t), kColumns);
  }

  // What the topmost tile of the columns from `column` on reads.
  TileSource topmost(int64_t column) const {
    const int64_t panel = steps_ * 4 * kLanes;
    const std::byte* b = static_cast<const std::byte*>(g_.b) + column / kLanes * panel;
    return {a_.data, a_.stride, b, panel, steps_, b};
  }

  // The tile at `row` and `column`; its sums go to one place in even turns, to another in odd ones.
  Block block(int64_t row, int64_t column, int64_t turn) const {
    auto* sums = reinterpret_cast<int32_t*>(scratch_ + turn % 2 * kTileBytes);
    const int count = static_cast<int>(std::min<int64_t>(rows_.end - row, kRows));
    return {sums, kColumns, row, column, count, std::min(columns_.end - column, kColumns)};
  }

  // All rows for some columns, then the next columns.
  template <class Visit>
  void each_tile(Visit visit) const {
    int64_t turn = 0;
    for (int64_t c = columns_.begin; c < columns_.end; c += kColumns) {
      TileSource s = topmost(c);
      for (int64_t row = rows_.begin; row < rows_.end; row += kRows, ++turn) {
        // Meanwhile the weights of the next columns are fetched, then, as they are new too, later
        // rows of A.
        const int64_t done = row - rows_.begin;
        const bool rows_are_new = c == columns_.begin && done >= kVectors * kRows;
        s.next = rows_are_new ? s.a + 2 * kRows * s.a_stride
                              : s.b + (kVectors + done / kRows % kVectors) * s.b_panel;
        visit(block(row, c, turn), s);
        s.a += kRows * s.a_stride;
      }
    }
  }

  // The tiles from `row` on of some columns. Meanwhile the weights of the next columns are fetched.
  void finish_rows(int64_t row, int64_t column) const {
    TileSource s = topmost(column);
    s.a += (row - rows_.begin) * s.a_stride;
    for (int64_t turn = 0; row < rows_.end; row += kRows, s.a += kRows * s.a_stride, ++turn) {
      s.next = s.b + (kVectors + turn % kVectors) * s.b_panel;
      const Block t = block(row, column, turn);
      compute(t, s);
      finish(g_.epilogue, t, levels());
    }
  }

 private:
  const Gemm& g_;
  const Range rows_, columns_;
  std::byte* const scratch_;
  int64_t steps_;
  Rows a_;
};

template <class Dot, int kRows, int kVectors, int kGroup>
void product_block(const Gemm& g, Range rows, Range columns, std::byte* scratch) {
  Product<Dot, kRows, kVectors, kGroup> product(g, rows, columns, scratch);
  product.in_turn();
}

}  // namespace
}  // namespace intformer
