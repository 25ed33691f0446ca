#include "../scalar.h"
#include "gemm.h"

namespace intformer::portable {
namespace {

constexpr int64_t kColumns = 64;

template <class A>
void accumulate(const A* a, const int8_t* b, int64_t k, int64_t n, int64_t width, int32_t* sums) {
  for (int64_t j = 0; j < width; ++j) sums[j] = 0;
  for (int64_t i = 0; i < k; ++i) {
    const int32_t value = a[i];
    const int8_t* row = b + i * n;
    for (int64_t j = 0; j < width; ++j) sums[j] = wrap_add32(sums[j], value * row[j]);
  }
}

void store_looked_up(const Epilogue& e, int64_t index, int32_t x) {
  const int32_t level = clip(x, 0, 255);
  const auto entry = static_cast<int32_t>(load(e.table, e.table_type, level));
  store(e.out, e.table_type, index, entry);
}

int64_t finished(const Epilogue& e, int64_t row, int64_t column, int32_t sum) {
  int64_t total = wrap_add(wrap_mul(sum, e.multiplier[column]), e.offset[column]);
  if (e.finish == Finish::residual) {
    const int64_t b = e.residual[row % e.residual_rows * e.residual_stride + column];
    total = wrap_add(total, b * e.residual_multiplier[column]);
  }
  return total;
}

void finish(const Epilogue& e, int64_t row, int64_t column, int32_t sum) {
  const int64_t index = row * e.out_stride + column;
  if (e.finish == Finish::raw) {
    store(e.out, DType::i32, index, wrap_add32(sum, e.bias[column]));
    return;
  }
  const int32_t x = shifted(finished(e, row, column, sum), e.shift);
  if (e.table) {
    store_looked_up(e, index, x);
  } else {
    store(e.out, e.out_type, index, x);
  }
}

}  // namespace

int64_t gemm_scratch_bytes(int64_t, int64_t) { return 0; }

void gemm(const Gemm& g, Range rows, Range columns, std::byte*) {
  int32_t sums[kColumns];
  const auto* b = static_cast<const int8_t*>(g.b);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t c = columns.begin; c < columns.end; c += kColumns) {
      const int64_t width = columns.end - c < kColumns ? columns.end - c : kColumns;
      if (g.a_type == DType::u8) {
        accumulate(static_cast<const uint8_t*>(g.a) + row * g.a_stride, b + c, g.k, g.n, width,
                   sums);
      } else {
        accumulate(static_cast<const int16_t*>(g.a) + row * g.a_stride, b + c, g.k, g.n, width,
                   sums);
      }
      for (int64_t j = 0; j < width; ++j) finish(g.epilogue, row, c + j, sums[j]);
    }
  }
}

}  // namespace intformer::portable
