#include "rows.h"

namespace intformer::dotprod {

void norm(const Norm& n, Range rows) { norm_rows(n, rows); }

}  // namespace intformer::dotprod
