#include "rescale_row.h"

namespace intformer::dotprod {
namespace {

// 256 bytes in sixteen registers, sixty-four at a time: an index past those of one lookup leaves
// the byte to the next.
struct ByteTable {
  uint8x16x4_t quarters[4];

  explicit ByteTable(const uint8_t* entries) {
    for (int i = 0; i < 4; ++i) quarters[i] = vld1q_u8_x4(entries + 64 * i);
  }

  uint8x16_t at(uint8x16_t index) const {
    uint8x16_t found = vqtbl4q_u8(quarters[0], index);
    for (int i = 1; i < 4; ++i) {
      const uint8x16_t rest = vsubq_u8(index, vdupq_n_u8(static_cast<uint8_t>(64 * i)));
      found = vqtbx4q_u8(found, quarters[i], rest);
    }
    return found;
  }
};

}  // namespace

void rescale(const Rescale& r, const void* a, const void* b, void* out) {
  rescale_row(r, a, b, out);
}

void multiply(const Multiply& m, const void* a, const void* b, void* out) {
  multiply_row(m, a, b, out);
}

void table(const uint8_t* x, const void* entries, DType type, void* out, int64_t n) {
  if (item_size(type) != 1) return portable::table(x, entries, type, out, n);
  const ByteTable bytes(static_cast<const uint8_t*>(entries));
  auto* to = static_cast<uint8_t*>(out);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) vst1q_u8(to + i, bytes.at(vld1q_u8(x + i)));
  portable::table(x + i, entries, type, to + i, n - i);
}

}  // namespace intformer::dotprod
