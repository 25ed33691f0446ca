#include "overlap.h"
#include "x86_nibbles.h"

namespace intformer::avx512vnni {

int64_t gemm_scratch_bytes(Form form, int64_t rows, int64_t depth) {
  return form == Form::nibbles ? nibble_scratch_bytes(rows, depth) : scratch_bytes(rows, depth);
}

void gemm(const Gemm& g, Range rows, Range columns, std::byte* scratch) {
  if (g.form == Form::nibbles) return nibble_product(g, rows, columns, scratch);
  if (g.form == Form::wide) return overlapped_block<DotWide, 6, 4, 2>(g, rows, columns, scratch);
  overlapped_block<DotVnni, 6, 4, 4>(g, rows, columns, scratch);
}

}  // namespace intformer::avx512vnni
