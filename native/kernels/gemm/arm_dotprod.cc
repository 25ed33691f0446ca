#include "block.h"

namespace intformer::dotprod {

int64_t gemm_scratch_bytes(Form, int64_t rows, int64_t depth) { return scratch_bytes(rows, depth); }

void gemm(const Gemm& g, Range rows, Range columns, std::byte* scratch) {
  if (g.form == Form::single) return product_block<DotSingle, 6, 4, 2>(g, rows, columns, scratch);
  product_block<DotSigned, 6, 4, 4>(g, rows, columns, scratch);
}

}  // namespace intformer::dotprod
