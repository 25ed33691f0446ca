// Tiles of two vectors finished from registers: for AVX2.
#pragma once

#include "../x86/look_up.h"
#include "../x86/vector.h"
#include "finished.h"

namespace intformer {
namespace {

constexpr int64_t kByteColumns = 2 * kLanes;
constexpr int kWholeShift = 32;  // plans raise multipliers to it where they can

// Whether results are bytes that need no shift.
bool makes_bytes(const Epilogue& e) {
  const bool bytes = e.out_type == DType::u8 && (!e.table || item_size(e.table_type) == 1);
  return bytes && e.finish == Finish::requantize && e.shift == kWholeShift;
}

// Whether finish_bytes can take a tile.
bool are_bytes(const Epilogue& e, const Block& t) {
  return makes_bytes(e) && t.columns == kByteColumns && t.stride == kByteColumns;
}

// sum·m + o of a vector of columns, shifted by 32: of each four lanes 0, 2, 1, 3, because one
// shuffle of upper halves does what a shift of the even lanes and a blend would do in order.
inline __attribute__((always_inline)) V upper_halves(V sum, const Epilogue& e, int64_t column) {
  const Wide x =
      plus(product(sum, factor_beside(e.multiplier + column)), wide_at(e.offset + column));
  const __m256 even = _mm256_castsi256_ps(x.even), odd = _mm256_castsi256_ps(x.odd);
  return _mm256_castps_si256(_mm256_shuffle_ps(even, odd, 0xDD));
}

// One row of two vectors as int16.
inline __attribute__((always_inline)) V byte_row(const V (&sums)[2], const Epilogue& e,
                                                 int64_t column) {
  return _mm256_packs_epi32(upper_halves(sums[0], e, column),
                            upper_halves(sums[1], e, column + kLanes));
}

// The order of upper_halves undone, in bytes.
inline V lanes_in_order(V x) {
  return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                    0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15)));
}

// Stores two rows of bytes, or the first of them.
template <bool kTable>
inline __attribute__((always_inline)) void store_byte_rows(V x, const Epilogue& e, uint8_t* out,
                                                           bool both) {
  if constexpr (kTable) x = look_up_bytes(e.table, x);
  x = lanes_in_order(x);
  const __m128i low = _mm256_castsi256_si128(x), high = _mm256_extracti128_si256(x, 1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi32(low, high));
  if (!both) return;
  auto* next = reinterpret_cast<__m128i*>(out + e.out_stride);
  _mm_storeu_si128(next, _mm_unpackhi_epi32(low, high));
}

// Finishes rows of sums in registers. Look-ups come last: they need the registers of the sums.
template <bool kTable, int kRows>
inline __attribute__((always_inline)) void finish_bytes(const V (&sums)[kRows][2],
                                                        const Epilogue& e, int64_t column,
                                                        uint8_t* out) {
  constexpr int kHalf = (kRows + 1) / 2;
  V pairs[kHalf];
#pragma GCC unroll 16
  for (int i = 0; i < kHalf; ++i) {
    const int second = 2 * i + 1 < kRows ? 2 * i + 1 : 2 * i;
    pairs[i] =
        _mm256_packus_epi16(byte_row(sums[2 * i], e, column), byte_row(sums[second], e, column));
    if constexpr (!kTable) {
      store_byte_rows<false>(pairs[i], e, out + 2 * i * e.out_stride, 2 * i + 1 < kRows);
    }
  }
  if constexpr (!kTable) return;
#pragma GCC unroll 16
  for (int i = 0; i < kHalf; ++i) {
    store_byte_rows<kTable>(pairs[i], e, out + 2 * i * e.out_stride, 2 * i + 1 < kRows);
  }
}

// The same for a tile in memory.
template <bool kTable>
void finish_byte_rows(const Epilogue& e, const Block& t) {
  auto* out = static_cast<uint8_t*>(place(e, t));
  for (int r = 0; r < t.rows; r += 2, out += 2 * e.out_stride) {
    const int32_t* at = t.sums + r * kByteColumns;
    const int32_t* next = r + 1 < t.rows ? at + kByteColumns : at;
    const V first[2] = {Isa::load(at), Isa::load(at + kLanes)};
    const V second[2] = {Isa::load(next), Isa::load(next + kLanes)};
    const V x = _mm256_packus_epi16(byte_row(first, e, t.column), byte_row(second, e, t.column));
    store_byte_rows<kTable>(x, e, out, r + 1 < t.rows);
  }
}

void finish_bytes(const Epilogue& e, const Block& t) {
  e.table ? finish_byte_rows<true>(e, t) : finish_byte_rows<false>(e, t);
}

}  // namespace
}  // namespace intformer
