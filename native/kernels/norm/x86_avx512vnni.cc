#include "rows.h"

namespace intformer::avx512vnni {

void norm(const Norm& n, Range rows) { norm_rows(n, rows); }

}  // namespace intformer::avx512vnni
