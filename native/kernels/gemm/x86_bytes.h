// Tiles of bytes finished in registers, two rows at a time: for AVX2.
#pragma once

#include "../x86/look_up.h"
#include "../x86/vector.h"
#include "finished.h"

namespace intformer {
namespace {

constexpr int64_t kByteColumns = 2 * kLanes;
constexpr int kWholeShift = 32;  // plans raise multipliers to it where they can

// Whether finish_bytes can take a tile.
bool are_bytes(const Epilogue& e, const Block& t) {
  const bool bytes = e.out_type == DType::u8 && (!e.table || item_size(e.table_type) == 1);
  return bytes && e.finish == Finish::requantize && e.shift == kWholeShift &&
         t.columns == kByteColumns && t.stride == kByteColumns;
}

// sum·m + o, shifted by 32: of each four lanes 0, 2, 1, 3, because one shuffle of upper halves does
// what a shift of the even lanes and a blend would do in order.
inline V upper_halves(V sum, const Factor& m, const Wide& o) {
  const Wide x = plus(product(sum, m), o);
  const __m256 even = _mm256_castsi256_ps(x.even), odd = _mm256_castsi256_ps(x.odd);
  return _mm256_castps_si256(_mm256_shuffle_ps(even, odd, 0xDD));
}

// Columns of a tile: what scales two vectors.
struct ByteColumns {
  Factor m[2];
  Wide o[2];

  ByteColumns(const Epilogue& e, int64_t column)
      : m{factor_at(e.multiplier + column), factor_at(e.multiplier + column + kLanes)},
        o{wide_at(e.offset + column), wide_at(e.offset + column + kLanes)} {}

  V row(const int32_t* sums) const {
    return _mm256_packs_epi32(upper_halves(Isa::load(sums), m[0], o[0]),
                              upper_halves(Isa::load(sums + kLanes), m[1], o[1]));
  }
};

// The order of upper_halves undone, in bytes.
inline V lanes_in_order(V x) {
  return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                    0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15)));
}

template <bool kTable>
void finish_byte_rows(const Epilogue& e, const Block& t) {
  const ByteColumns columns(e, t.column);
  auto* out = static_cast<uint8_t*>(place(e, t));
  for (int r = 0; r < t.rows; r += 2) {
    const bool both = r + 1 < t.rows;
    const int32_t* sums = t.sums + r * kByteColumns;
    V x = _mm256_packus_epi16(columns.row(sums), columns.row(both ? sums + kByteColumns : sums));
    if constexpr (kTable) x = look_up_bytes(e.table, x);
    x = lanes_in_order(x);
    const __m128i low = _mm256_castsi256_si128(x), high = _mm256_extracti128_si256(x, 1);
    auto* to = reinterpret_cast<__m128i*>(out + r * e.out_stride);
    _mm_storeu_si128(to, _mm_unpacklo_epi32(low, high));
    if (!both) return;
    to = reinterpret_cast<__m128i*>(out + (r + 1) * e.out_stride);
    _mm_storeu_si128(to, _mm_unpackhi_epi32(low, high));
  }
}

void finish_bytes(const Epilogue& e, const Block& t) {
  e.table ? finish_byte_rows<true>(e, t) : finish_byte_rows<false>(e, t);
}

}  // namespace
}  // namespace intformer
