#include "block.h"
#include "x86_nibbles.h"
#include "x86_registers.h"
#include "x86_split_block.h"

namespace intformer::avx2 {

int64_t gemm_scratch_bytes(Form form, int64_t rows, int64_t depth) {
  if (form == Form::split) return SplitProduct::scratch_bytes(rows, depth);
  return form == Form::nibbles ? nibble_scratch_bytes(rows, depth) : scratch_bytes(rows, depth);
}

// Tiles are finished in turn: products leave no unit idle, so that an epilogue among them costs
// more than one between them.
void gemm(const Gemm& g, Range rows, Range columns, std::byte* scratch) {
  switch (g.form) {
    case Form::pairs2:
      return registers_block<LateSums<Pairs2Step>, DotPairs<1>, 4>(g, rows, columns, scratch);
    case Form::pairs4:
      return registers_block<LateSums<Pairs4Step>, DotPairs<2>, 4>(g, rows, columns, scratch);
    case Form::pairs8:
      return registers_block<Pairs8Sums, DotPairs<4>, 4>(g, rows, columns, scratch);
    case Form::sign:
      return product_block<DotSign, 6, 2, 4>(g, rows, columns, scratch);
    case Form::split:
      return split_block(g, rows, columns, scratch);
    case Form::nibbles:
      return nibble_product(g, rows, columns, scratch);
    default:
      return registers_block<LateSums<WideStep>, DotWide, 2>(g, rows, columns, scratch);
  }
}

}  // namespace intformer::avx2
