// Rows of A in the form that tiles read.
#pragma once

#include <algorithm>

#include "gemm.h"

namespace intformer {
namespace {

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

}  // namespace
}  // namespace intformer
