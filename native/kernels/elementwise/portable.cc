#include "../scalar.h"
#include "elementwise.h"

namespace intformer::portable {
namespace {

template <class T>
void look_up(const uint8_t* x, const void* entries, void* out, int64_t n) {
  const auto* from = static_cast<const T*>(entries);
  auto* to = static_cast<T*>(out);
  for (int64_t i = 0; i < n; ++i) to[i] = from[x[i]];
}

}  // namespace

void rescale(const Rescale& r, const void* a, const void* b, void* out) {
  for (int64_t i = 0; i < r.columns; ++i) {
    int64_t total = wrap_add(wrap_mul(load(a, r.a_type, i), r.a_multiplier[i]), r.offset[i]);
    if (b) total = wrap_add(total, wrap_mul(load(b, r.b_type, i), r.b_multiplier[i]));
    store(out, r.out_type, i, shifted(total, r.shift));
  }
}

void multiply(const Multiply& m, const void* a, const void* b, void* out) {
  for (int64_t i = 0; i < m.columns; ++i) {
    const int64_t product = (load(a, m.a_type, i) - m.a_zero) * (load(b, m.b_type, i) - m.b_zero);
    const int64_t scaled = wrap_mul(product, m.multiplier[i]);
    store(out, m.out_type, i, shifted(wrap_add(scaled, m.offset[i]), m.shift));
  }
}

void table(const uint8_t* x, const void* entries, DType type, void* out, int64_t n) {
  if (item_size(type) == 1) {
    look_up<uint8_t>(x, entries, out, n);
  } else {
    look_up<int16_t>(x, entries, out, n);
  }
}

}  // namespace intformer::portable
