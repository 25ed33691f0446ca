#include "block.h"
#include "x86_nibbles.h"

namespace intformer::avx2 {

int64_t gemm_scratch_bytes(Form form, int64_t rows, int64_t depth) {
  return form == Form::nibbles ? nibble_scratch_bytes(rows, depth) : scratch_bytes(rows, depth);
}

// Tiles are finished in turn: products keep the multipliers busy, so that an epilogue among them
// costs more than one between them.
void gemm(const Gemm& g, Range rows, Range columns, std::byte* scratch) {
  switch (g.form) {
    case Form::pairs2:
      return product_block<DotPairs<1>, 6, 2, 4>(g, rows, columns, scratch);
    case Form::pairs4:
      return product_block<DotPairs<2>, 6, 2, 4>(g, rows, columns, scratch);
    case Form::pairs8:
      return product_block<DotPairs<4>, 6, 2, 4>(g, rows, columns, scratch);
    case Form::sign:
      return product_block<DotSign, 6, 2, 4>(g, rows, columns, scratch);
    case Form::nibbles:
      return nibble_product(g, rows, columns, scratch);
    default:
      return product_block<DotWide, 6, 2, 2>(g, rows, columns, scratch);
  }
}

}  // namespace intformer::avx2
