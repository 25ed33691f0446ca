// The product of one block and its epilogue, for any vector width and any form.
#pragma once

#include <algorithm>

#include "../simd/rescale.h"
#include "../simd/tile.h"
#include "gemm.h"

namespace intformer {
namespace {

// Scratch: a tile in int32, its levels, what a table makes of them, then rows of A.
constexpr int64_t kTileBytes = 8192, kLevelBytes = kTileBytes / 4;
constexpr int64_t kByteRows = 3 * kLevelBytes;

int64_t scratch_bytes(int64_t rows, int64_t depth) {
  return kTileBytes + kByteRows + rows * (round_up(depth, 16) * 2 + 64);
}

// A finished tile in int32 and where it belongs.
struct Block {
  const int32_t* sums;
  int64_t stride;
  int64_t row, column;
  int rows;
  int64_t columns;
};

void finish_raw(const Epilogue& e, const Block& t) {
  auto* out = static_cast<int32_t*>(e.out);
  for (int64_t c = 0; c < t.columns; c += kLanes) {
    const V bias = Isa::load(e.bias + t.column + c);
    for (int r = 0; r < t.rows; ++r) {
      const V x = Isa::add(Isa::load(t.sums + r * t.stride + c), bias);
      store_lanes(DType::i32, out, (t.row + r) * e.out_stride + t.column + c, x, t.columns - c);
    }
  }
}

// The scale change of `kCount` vectors of columns from `column` on.
template <int kCount, bool kResidual>
class Rescaling {
 public:
  Rescaling(const Epilogue& e, int64_t column) : shift_(Isa::shift(e.shift)) {
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) {
      multiplier_[v] = factor_at(e.multiplier + column + v * kLanes);
      offset_[v] = wide_at(e.offset + column + v * kLanes);
      if constexpr (kResidual) other_[v] = factor_at(e.residual_multiplier + column + v * kLanes);
    }
  }

  // Vector v of a row whose int16 residual is `b`.
  V at(const int32_t* sums, int v, V b) const {
    const V sum = Isa::load(sums + v * kLanes);
    Wide total = plus(product(sum, multiplier_[v]), offset_[v]);
    if constexpr (kResidual) total = plus(total, product(b, other_[v]));
    return merged(total, shift_);
  }

 private:
  Factor multiplier_[kCount], other_[kCount];
  Wide offset_[kCount];
  Isa::Shift shift_;
};

const int16_t* residual_row(const Epilogue& e, const Block& t, int row) {
  return e.residual + (t.row + row) % e.residual_rows * e.residual_stride + t.column;
}

// Scales the columns from `c` on in steps of kCount vectors, as long as whole steps are left
// (kCount > 1) or to the end (kCount == 1), and returns where it stopped.
template <DType kType, bool kResidual, int kCount>
int64_t rescale_columns(const Epilogue& e, const Block& t, void* out, int64_t out_stride,
                        int64_t c) {
  constexpr int64_t kStep = kCount * kLanes;
  for (; kCount == 1 ? c < t.columns : c + kStep <= t.columns; c += kStep) {
    const Rescaling<kCount, kResidual> rescaling(e, t.column + c);
    for (int r = 0; r < t.rows; ++r) {
      const int32_t* sums = t.sums + r * t.stride + c;
      const int16_t* b = kResidual ? residual_row(e, t, r) + c : nullptr;
      if constexpr (kCount == 1) {
        const V y = kResidual ? load_lanes(DType::i16, b, 0, t.columns - c) : Isa::zero();
        store_lanes(kType, out, r * out_stride + c, rescaling.at(sums, 0, y), t.columns - c);
      } else {
        V x[kCount];
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) {
          x[v] = rescaling.at(sums, v, kResidual ? Isa::load_i16(b + v * kLanes) : Isa::zero());
        }
        store_many(kType, out, r * out_stride + c, x);
      }
    }
  }
  return c;
}

template <DType kType, bool kResidual>
void finish_rescaled(const Epilogue& e, const Block& t, void* out, int64_t out_stride) {
  const int64_t c = rescale_columns<kType, kResidual, kMany>(e, t, out, out_stride, 0);
  rescale_columns<kType, kResidual, 1>(e, t, out, out_stride, c);
}

// Requantizes into `levels`, looks all bytes of the tile up at once, and spreads the rows.
void finish_table(const Epilogue& e, const Block& t, std::byte* out, uint8_t* levels) {
  const int64_t item = item_size(e.table_type), count = t.rows * t.stride;
  auto* found = levels + kLevelBytes;
  finish_rescaled<DType::u8, false>(e, t, levels, t.stride);
  e.look_up(levels, e.table, e.table_type, found, count);
  for (int r = 0; r < t.rows; ++r) {
    __builtin_memcpy(out + r * e.out_stride * item, found + r * t.stride * item,
                     static_cast<size_t>(t.columns * item));
  }
}

template <DType kType>
void finish_as(const Epilogue& e, const Block& t, void* out) {
  if (e.finish == Finish::residual) {
    finish_rescaled<kType, true>(e, t, out, e.out_stride);
  } else {
    finish_rescaled<kType, false>(e, t, out, e.out_stride);
  }
}

void finish(const Epilogue& e, const Block& t, uint8_t* levels) {
  if (e.finish == Finish::raw) return finish_raw(e, t);
  const DType type = e.table ? e.table_type : e.out_type;
  const int64_t start = (t.row * e.out_stride + t.column) * item_size(type);
  std::byte* out = static_cast<std::byte*>(e.out) + start;
  if (e.table) return finish_table(e, t, out, levels);
  switch (type) {
    case DType::u8:
      return finish_as<DType::u8>(e, t, out);
    case DType::i8:
      return finish_as<DType::i8>(e, t, out);
    case DType::i16:
      return finish_as<DType::i16>(e, t, out);
    default:
      return finish_as<DType::i32>(e, t, out);
  }
}

// Rows of A as tiles read them.
struct Rows {
  const std::byte* data;
  int64_t stride, apart;
};

void pad_row(const uint8_t* from, int64_t depth, int64_t padded, uint8_t* to) {
  __builtin_memcpy(to, from, static_cast<size_t>(depth));
  for (int64_t i = depth; i < padded; ++i) to[i] = 0;
}

template <class T>
void widen_row(const T* from, int64_t depth, int64_t padded, int16_t* to) {
  for (int64_t i = 0; i < depth; ++i) to[i] = from[i];
  for (int64_t i = depth; i < padded; ++i) to[i] = 0;
}

// a - 128 and its magnitude; padding is 0 in both.
void centre_row(const uint8_t* from, int64_t depth, int64_t padded, uint8_t* to) {
  for (int64_t i = 0; i < depth; ++i) {
    const int centred = from[i] - 128;
    to[i] = static_cast<uint8_t>(centred);
    to[padded + i] = static_cast<uint8_t>(centred < 0 ? -centred : centred);
  }
  for (int64_t i = depth; i < padded; ++i) to[i] = to[padded + i] = 0;
}

// a - 128, as a signed byte.
void shift_row(const uint8_t* from, int64_t depth, int64_t padded, uint8_t* to) {
  for (int64_t i = 0; i < depth; ++i) to[i] = from[i] ^ 0x80;
  for (int64_t i = depth; i < padded; ++i) to[i] = 0;
}

// Eight bytes of one row and eight of the next in turn; `to` is the place of one of the two.
void interleave_row(const uint8_t* from, int64_t depth, int64_t padded, uint8_t* to) {
  for (int64_t i = 0; i < padded; i += 8, to += 16) {
    const int64_t left = std::clamp<int64_t>(depth - i, 0, 8);
    __builtin_memset(to, 0, 8);
    __builtin_memcpy(to, from + i, static_cast<size_t>(left));
  }
}

void prepare_row(const Gemm& g, int64_t row, int64_t padded, std::byte* to) {
  const int64_t start = row * g.a_stride;
  const auto* bytes = static_cast<const uint8_t*>(g.a) + start;
  auto* levels = reinterpret_cast<uint8_t*>(to);
  auto* wide = reinterpret_cast<int16_t*>(to);
  switch (g.form) {
    case Form::sign:
      return centre_row(bytes, g.k, padded, levels);
    case Form::dotprod:
      return shift_row(bytes, g.k, padded, levels);
    case Form::wide:
    case Form::single:
      if (g.a_type == DType::u8) return widen_row(bytes, g.k, padded, wide);
      return widen_row(static_cast<const int16_t*>(g.a) + start, g.k, padded, wide);
    default:
      return pad_row(bytes, g.k, padded, levels);
  }
}

// Pairs of rows for Form::i8mm; the row that an odd number of them lacks is 0.
Rows prepare_pairs(const Gemm& g, Range rows, int64_t padded, std::byte* to) {
  auto* levels = reinterpret_cast<uint8_t*>(to);
  for (int64_t row = rows.begin; row < rows.end; row += 2, levels += 2 * padded) {
    const auto* bytes = static_cast<const uint8_t*>(g.a) + row * g.a_stride;
    interleave_row(bytes, g.k, padded, levels);
    const bool both = row + 1 < rows.end;
    interleave_row(bytes + (both ? g.a_stride : 0), both ? g.k : 0, padded, levels + 8);
  }
  return {to, padded, 0};
}

Rows prepare_rows(const Gemm& g, Range rows, int64_t padded, std::byte* to) {
  if (g.form == Form::i8mm) return prepare_pairs(g, rows, padded, to);
  const bool wide = g.form == Form::wide || g.form == Form::single;
  const bool as_is = !wide && g.form != Form::sign && g.form != Form::dotprod;
  if (as_is && padded == g.k) {
    return {static_cast<const std::byte*>(g.a) + rows.begin * g.a_stride, g.a_stride, 0};
  }
  const Rows result{to, wide || g.form == Form::sign ? 2 * padded : padded, padded};
  for (int64_t row = rows.begin; row < rows.end; ++row, to += result.stride) {
    prepare_row(g, row, padded, to);
  }
  return result;
}

// kGroup: values along K in four bytes.
template <class Dot, int kRows, int kVectors, int kGroup>
void product_block(const Gemm& g, Range rows, Range columns, std::byte* scratch) {
  constexpr int64_t kColumns = kVectors * kLanes;
  auto* sums = reinterpret_cast<int32_t*>(scratch);
  auto* levels = reinterpret_cast<uint8_t*>(scratch + kTileBytes);
  const int64_t padded = round_up(g.k, kGroup * Dot::kSteps), steps = padded / kGroup;
  const int64_t panel = steps * 4 * kLanes;
  const Rows a = prepare_rows(g, rows, padded, scratch + kTileBytes + kByteRows);
  for (int64_t c = columns.begin; c < columns.end; c += kColumns) {
    const int64_t width = columns.end - c < kColumns ? columns.end - c : kColumns;
    const int vectors = static_cast<int>((width + kLanes - 1) / kLanes);
    const std::byte* b = static_cast<const std::byte*>(g.b) + c / kLanes * panel;
    for (int64_t row = rows.begin; row < rows.end; row += kRows) {
      const int count = static_cast<int>(rows.end - row < kRows ? rows.end - row : kRows);
      const std::byte* from = a.data + (row - rows.begin) * a.stride;
      Tiles<Dot, kRows, kVectors>::run({from, a.stride, b, panel, steps}, a.apart, count, vectors,
                                       sums, kColumns);
      finish(g.epilogue, {sums, kColumns, row, c, count, width}, levels);
    }
  }
}

}  // namespace
}  // namespace intformer
