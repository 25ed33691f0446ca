#include "rescale_row.h"

namespace intformer::avx512vnni {

void rescale(const Rescale& r, const void* a, const void* b, void* out) {
  rescale_row(r, a, b, out);
}

void multiply(const Multiply& m, const void* a, const void* b, void* out) {
  multiply_row(m, a, b, out);
}

}  // namespace intformer::avx512vnni
