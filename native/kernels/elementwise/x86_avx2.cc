#include "../x86/look_up.h"
#include "rescale_row.h"

namespace intformer::avx2 {

void rescale(const Rescale& r, const void* a, const void* b, void* out) {
  rescale_row(r, a, b, out);
}

void multiply(const Multiply& m, const void* a, const void* b, void* out) {
  multiply_row(m, a, b, out);
}

void table(const uint8_t* x, const void* entries, DType type, void* out, int64_t n) {
  if (item_size(type) != 1) return portable::table(x, entries, type, out, n);
  auto* to = static_cast<uint8_t*>(out);
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) Isa::store(to + i, look_up_bytes(entries, Isa::load(x + i)));
  portable::table(x + i, entries, type, to + i, n - i);
}

}  // namespace intformer::avx2
