#include "rows.h"

namespace intformer::avx2 {

void norm(const Norm& n, Range rows) { norm_rows(n, rows); }

}  // namespace intformer::avx2
