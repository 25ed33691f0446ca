#include <immintrin.h>

#include "elementwise.h"

namespace intformer::avx512vbmi {
namespace {

// 256 bytes in four registers; bit 7 of the index chooses the pair, VPERMI2B does the rest.
struct ByteTable {
  __m512i quarters[4];

  explicit ByteTable(const void* entries) {
    for (int i = 0; i < 4; ++i) {
      quarters[i] = _mm512_loadu_si512(static_cast<const uint8_t*>(entries) + 64 * i);
    }
  }

  __m512i at(__m512i index) const {
    const __m512i low = _mm512_permutex2var_epi8(quarters[0], index, quarters[1]);
    const __m512i high = _mm512_permutex2var_epi8(quarters[2], index, quarters[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
  }
};

}  // namespace

void table(const uint8_t* x, const void* entries, DType type, void* out, int64_t n) {
  if (item_size(type) != 1) return portable::table(x, entries, type, out, n);
  const ByteTable bytes(entries);
  auto* to = static_cast<uint8_t*>(out);
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    _mm512_storeu_si512(to + i, bytes.at(_mm512_loadu_si512(x + i)));
  }
  if (i < n) {
    const __mmask64 left = (uint64_t{1} << (n - i)) - 1;
    _mm512_mask_storeu_epi8(to + i, left, bytes.at(_mm512_maskz_loadu_epi8(left, x + i)));
  }
}

}  // namespace intformer::avx512vbmi
