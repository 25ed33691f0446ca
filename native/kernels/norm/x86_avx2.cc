#include "../x86/vector256.h"
#include "../x86/rescale.h"
#include "x86_norm.h"

namespace intformer::avx2 {

void norm(const Norm& n, Range rows) { norm_rows(n, rows); }

}  // namespace intformer::avx2
