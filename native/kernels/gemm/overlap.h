// Products whose tiles are finished while the next ones are computed, for machines with vector
// units that products leave idle.
#pragma once

#include <optional>

#include "block.h"

namespace intformer {
namespace {

// Finishes a row of a whole tile at each call. kUpper: for shifts of 32 and more.
template <DType kType, bool kResidual, bool kUpper, int kRows, int kVectors>
class Pending {
 public:
  static constexpr int kTimes = kRows;

  // Finishes `t` while `now` is computed. With a table, results are its indices and go to `levels`.
  Pending(const Epilogue& e, const Block& t, const Block& now, uint8_t* levels)
      : e_(e),
        t_(t),
        now_(now),
        out_(e.table ? levels : place(e, t)),
        out_stride_(e.table ? t.stride : e.out_stride),
        shift_(Isa::shift(e.shift)) {
    shift_.upper = kUpper;
  }

  inline __attribute__((always_inline)) void operator()(int row) const {
    if constexpr (kVectors * kLanes >= 64) fetch_ahead(row);
    constexpr int kWhole = kVectors / kMany * kMany;
    INTFORMER_UNROLL for (int v = 0; v < kWhole; v += kMany) {
      V x[kMany];
      INTFORMER_UNROLL for (int i = 0; i < kMany; ++i) x[i] = at(row, v + i);
      store_many(kType, out_, row * out_stride_ + v * kLanes, x);
    }
    INTFORMER_UNROLL for (int v = kWhole; v < kVectors; ++v) {
      store_as(kType, out_, row * out_stride_ + v * kLanes, at(row, v));
    }
  }

 private:
  inline __attribute__((always_inline)) V at(int row, int v) const {
    const int64_t column = t_.column + v * kLanes;
    const V sum = Isa::load(t_.sums + row * t_.stride + v * kLanes);
    Wide total = plus(product(sum, factor_at(e_.multiplier + column)), wide_at(e_.offset + column));
    if constexpr (kResidual) {
      const V b = Isa::load_i16(residual_row(e_, t_, row) + v * kLanes);
      total = plus(total, product(b, factor_at(e_.residual_multiplier + column)));
    }
    return merged(total, shift_);
  }

  // What this row of the tile being computed will write, and add.
  inline __attribute__((always_inline)) void fetch_ahead(int row) const {
    constexpr int64_t kWidth = kVectors * kLanes;
    const DType type = e_.table ? e_.table_type : kType;
    const auto* out = static_cast<const std::byte*>(place(e_, now_));
    fetch<kWidth * item_size(kType)>(out + row * e_.out_stride * item_size(type));
    if constexpr (kResidual) fetch<kWidth * 2>(residual_row(e_, now_, row));
  }

  template <int64_t kBytes>
  static inline __attribute__((always_inline)) void fetch(const void* from) {
    INTFORMER_UNROLL for (int64_t i = 0; i < kBytes; i += 64) {
      __builtin_prefetch(static_cast<const std::byte*>(from) + i);
    }
  }

  const Epilogue& e_;
  const Block t_, now_;
  void* const out_;
  const int64_t out_stride_;
  Isa::Shift shift_;
};

// Computes all tiles of a block.
template <DType kType, bool kResidual, bool kUpper, class Dot, int kRows, int kVectors, int kGroup>
void overlap(const Epilogue& e, const Product<Dot, kRows, kVectors, kGroup>& product) {
  const auto whole = [&](const Block& t) {
    return t.rows == kRows && t.columns == product.kColumns;
  };
  std::optional<Block> waiting;
  product.each_tile([&](const Block& t, const TileSource& source) {
    if (waiting && whole(*waiting) && whole(t)) {
      const Pending<kType, kResidual, kUpper, kRows, kVectors> between(e, *waiting, t,
                                                                       product.levels());
      tile_with<Dot, kRows, kVectors>(source, product.apart(), product.sums(t), product.kColumns,
                                      between);
      if (e.table) look_up(e, *waiting, product.levels());
    } else {
      if (waiting) finish(e, *waiting, product.levels());
      product.compute(t, source);
    }
    waiting = t;
  });
  if (waiting) finish(e, *waiting, product.levels());
}

// As product_block.
template <class Dot, int kRows, int kVectors, int kGroup>
void overlapped_block(const Gemm& g, Range rows, Range columns, std::byte* scratch) {
  const Product<Dot, kRows, kVectors, kGroup> product(g, rows, columns, scratch);
  const Epilogue& e = g.epilogue;
  if (e.finish == Finish::raw) return product.in_turn();
  if (e.finish == Finish::residual) {
    if (e.out_type != DType::i16) return product.in_turn();
    // The stream keeps its scale, so that its multiplier is about 2^shift.
    return e.shift < 32 ? overlap<DType::i16, true, false>(e, product)
                        : overlap<DType::i16, true, true>(e, product);
  }
  if (e.shift < 32) return product.in_turn();
  if (e.table || e.out_type == DType::u8) return overlap<DType::u8, false, true>(e, product);
  return e.out_type == DType::i16 ? overlap<DType::i16, false, true>(e, product)
                                  : product.in_turn();
}

}  // namespace
}  // namespace intformer
