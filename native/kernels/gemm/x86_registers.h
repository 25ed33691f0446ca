// Blocks whose tiles are finished from registers: for AVX2.
#pragma once

#include "block.h"
#include "x86_sums.h"

namespace intformer {
namespace {

// Bytes, through a table or not.
template <bool kTable>
struct ToBytes {
  const Epilogue& e;

  template <int kRows>
  inline __attribute__((always_inline)) void operator()(const RowSums<kRows>& sums,
                                                        const Block& t) const {
    finish_bytes<kTable, kRows>(sums, e, t.column, static_cast<uint8_t*>(place(e, t)));
  }
};

template <int kRows>
inline __attribute__((always_inline)) void store_sums(const RowSums<kRows>& sums, const Block& t) {
  auto* stored = const_cast<int32_t*>(t.sums);
  INTFORMER_UNROLL for (int r = 0; r < kRows; ++r) {
    INTFORMER_UNROLL for (int v = 0; v < kPair; ++v) {
      Isa::store(stored + (r * kPair + v) * kLanes, sums[r][v]);
    }
  }
}

// The row of residuals that belongs to a row. Few repeat, and a division takes as long as four
// rows.
inline int64_t first_residual(const Epilogue& e, int64_t row) {
  return row < e.residual_rows ? row : row % e.residual_rows;
}

// An int16 residual added to rescaled sums. What scales two vectors fills the registers, so sums
// come from memory.
struct ToResidual {
  const Epilogue& e;

  template <int kRows>
  inline __attribute__((always_inline)) void operator()(const RowSums<kRows>& sums,
                                                        const Block& t) const {
    store_sums<kRows>(sums, t);
    const Rescaling<kPair, true> rescaling(e, t.column);
    auto* out = static_cast<int16_t*>(e.out) + t.row * e.out_stride + t.column;
    int64_t row = first_residual(e, t.row);
    for (int r = 0; r < kRows; ++r, out += e.out_stride) {
      const int16_t* b = e.residual + row * e.residual_stride + t.column;
      const int32_t* from = t.sums + r * kPair * kLanes;
      const V x[kPair] = {rescaling.at(from, 0, Isa::load_i16(b)),
                          rescaling.at(from, 1, Isa::load_i16(b + kLanes))};
      Isa::store_many_i16(out, x);
      row = row + 1 < e.residual_rows ? row + 1 : 0;
    }
  }
};

// Anything else.
struct FromMemory {
  const Epilogue& e;
  uint8_t* levels;

  template <int kRows>
  inline __attribute__((always_inline)) void operator()(const RowSums<kRows>& sums,
                                                        const Block& t) const {
    store_sums<kRows>(sums, t);
    finish(e, t, levels);
  }
};

// Calls `run` with what finishes the tiles of `e`.
template <class Run>
void with_finisher(const Epilogue& e, uint8_t* levels, const Run& run) {
  if (makes_bytes(e)) return e.table ? run(ToBytes<true>{e}) : run(ToBytes<false>{e});
  if (e.finish == Finish::residual && e.out_type == DType::i16) return run(ToResidual{e});
  run(FromMemory{e, levels});
}

// Fetches, while a tile is computed, what the next one overwrites and adds, and a few lines of the
// weights of the next columns, so that these have come when all rows are done. More at a time would
// keep the rows of A waiting.
template <int kRows>
class Ahead {
 public:
  // `bytes` of `weights` are fetched on the way through `tiles` tiles, of which `first` is one.
  Ahead(const Epilogue& e, const Block& first, const std::byte* weights, int64_t bytes,
        int64_t tiles)
      : weights_(weights), bytes_(round_up((bytes + tiles - 1) / tiles, kLine)) {
    const int64_t item = item_size(e.table ? e.table_type : e.out_type);
    out_stride_ = e.out_stride * item;
    out_ = static_cast<const std::byte*>(place(e, first)) + kRows * out_stride_;
    if (e.finish != Finish::residual) return;
    residual_ =
        e.residual + first_residual(e, first.row + kRows) * e.residual_stride + first.column;
    residual_stride_ = e.residual_stride;
  }

  inline __attribute__((always_inline)) void fetch() {
    for (int64_t i = 0; i < bytes_; i += kLine) __builtin_prefetch(weights_ + i, 0, 2);
    weights_ += bytes_;
    INTFORMER_UNROLL for (int r = 0; r < kRows; ++r, out_ += out_stride_) {
      __builtin_prefetch(out_, 1);
    }
    if (!residual_) return;
    INTFORMER_UNROLL for (int r = 0; r < kRows; ++r, residual_ += residual_stride_) {
      __builtin_prefetch(residual_);
    }
  }

 private:
  static constexpr int64_t kLine = 64;

  const std::byte* weights_;
  const int64_t bytes_;
  const std::byte* out_;
  int64_t out_stride_;
  const int16_t* residual_ = nullptr;
  int64_t residual_stride_ = 0;
};

// Two vectors of columns: the topmost tile, the row behind the last one, and the weights to fetch.
struct Columns {
  TileSource source;
  Block first;
  int64_t end;
  bool rows_are_new;  // rows of A have not been read either
  const std::byte* weights;
  int64_t bytes;
};

// The whole tiles of some columns; returns the row behind them. A function for each kind of sums
// and results: compilers allocate registers badly in one that holds several.
template <class Sums, class Finisher>
__attribute__((noinline)) int64_t whole_tiles(const Epilogue& e, const Columns& c,
                                              const Sums& computed, const Finisher& finisher) {
  Block t = c.first;
  TileSource s = c.source;
  const int64_t tiles = (c.end - t.row) / Sums::kRows;
  if (tiles == 0) return t.row;
  Ahead<Sums::kRows> ahead(e, t, c.weights, c.bytes, tiles);
  for (int64_t tile = 0; tile < tiles; ++tile, t.row += Sums::kRows) {
    // Elsewhere nothing is left to fetch on the way: weights and results have been.
    s.next = c.rows_are_new ? s.a + 2 * Sums::kRows * s.a_stride : s.b;
    ahead.fetch();
    RowSums<Sums::kRows> sums;
    computed.compute(s, const_cast<int32_t*>(t.sums), sums);
    finisher(sums, t);
    s.a += Sums::kRows * s.a_stride;
  }
  return t.row;
}

// As product_block. Tiles that an edge cuts off take the way through memory.
template <class Sums, class Dot, int kGroup>
void registers_block(const Gemm& g, Range rows, Range columns, std::byte* scratch) {
  const Product<Dot, Sums::kRows, kPair, kGroup> product(g, rows, columns, scratch);
  with_finisher(g.epilogue, product.levels(), [&](const auto& finisher) {
    for (int64_t c = columns.begin; c < columns.end; c += product.kColumns) {
      int64_t row = rows.begin;
      if (c + product.kColumns <= columns.end) {
        const TileSource s = product.topmost(c);
        const int64_t bytes = kPair * s.b_panel;
        const Columns all{s,    product.block(row, c, 0), rows.end, c == columns.begin, s.b + bytes,
                          bytes};
        row = whole_tiles(g.epilogue, all, Sums{}, finisher);
      }
      product.finish_rows(row, c);
    }
  });
}

}  // namespace
}  // namespace intformer
