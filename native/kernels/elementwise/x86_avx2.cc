#include "rescale_row.h"

namespace intformer::avx2 {
namespace {

// One of `a` and `b` for each byte, by bit 7 of `bits`.
inline V either(V a, V b, V bits) { return _mm256_blendv_epi8(a, b, bits); }

// Sixteen tables of sixteen bytes: the low half of an index shuffles each, the bits of the upper
// half choose among the results two by two.
inline V look_up(const __m128i* tables, V index) {
  const V nibble = _mm256_and_si256(index, _mm256_set1_epi8(15));
  const V bits[4] = {_mm256_slli_epi16(index, 3), _mm256_slli_epi16(index, 2),
                     _mm256_slli_epi16(index, 1), index};
  V quarters[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    V eighths[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const V table = _mm256_broadcastsi128_si256(_mm_loadu_si128(tables + 4 * i + j));
      eighths[j] = _mm256_shuffle_epi8(table, nibble);
    }
    quarters[i] = either(either(eighths[0], eighths[1], bits[0]),
                         either(eighths[2], eighths[3], bits[0]), bits[1]);
  }
  return either(either(quarters[0], quarters[1], bits[2]),
                either(quarters[2], quarters[3], bits[2]), bits[3]);
}

}  // namespace

void rescale(const Rescale& r, const void* a, const void* b, void* out) {
  rescale_row(r, a, b, out);
}

void multiply(const Multiply& m, const void* a, const void* b, void* out) {
  multiply_row(m, a, b, out);
}

void table(const uint8_t* x, const void* entries, DType type, void* out, int64_t n) {
  if (item_size(type) != 1) return portable::table(x, entries, type, out, n);
  const auto* tables = static_cast<const __m128i*>(entries);
  auto* to = static_cast<uint8_t*>(out);
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) Isa::store(to + i, look_up(tables, Isa::load(x + i)));
  portable::table(x + i, entries, type, to + i, n - i);
}

}  // namespace intformer::avx2
