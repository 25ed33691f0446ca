#include "../scalar.h"
#include "gemm.h"

namespace intformer::portable {
namespace {

constexpr int64_t kColumns = 64, kDepth = 32;

template <class A>
void accumulate(const A* a, const int8_t* b, int64_t k, int64_t n, int64_t width, int32_t* sums) {
  for (int64_t j = 0; j < width; ++j) sums[j] = 0;
  for (int64_t i = 0; i < k; ++i) {
    const int32_t value = a[i];
    const int8_t* row = b + i * n;
    for (int64_t j = 0; j < width; ++j) sums[j] = wrap_add32(sums[j], value * row[j]);
  }
}

// Up to kColumns columns of weights of 4 bits (see x86_nibbles.h, with one lane) as int8 rows.
void unpack(const std::byte* from, int64_t blocks, int64_t width, int8_t* to) {
  const int64_t panel = round_up(blocks * (kDepth / 2 + 1), 4);
  for (int64_t j = 0; j < width; ++j, from += panel) {
    const auto* halves = reinterpret_cast<const uint8_t*>(from);
    const auto* multipliers = reinterpret_cast<const int8_t*>(from + blocks * kDepth / 2);
    for (int64_t i = 0; i < blocks * kDepth; ++i) {
      const int pair = halves[i / 8 * 4 + i % 4], half = i % 8 < 4 ? pair & 15 : pair >> 4;
      to[i * kColumns + j] = static_cast<int8_t>((half - 8) * multipliers[i / kDepth]);
    }
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

int64_t gemm_scratch_bytes(Form form, int64_t, int64_t depth) {
  return form == Form::nibbles ? round_up(depth, kDepth) * kColumns : 0;
}

void gemm(const Gemm& g, Range rows, Range columns, std::byte* scratch) {
  int32_t sums[kColumns];
  const bool packed = g.form == Form::nibbles;
  const int64_t blocks = round_up(g.k, kDepth) / kDepth;
  const int64_t panel = round_up(blocks * (kDepth / 2 + 1), 4);
  for (int64_t c = columns.begin; c < columns.end; c += kColumns) {
    const int64_t width = columns.end - c < kColumns ? columns.end - c : kColumns;
    const auto* b = static_cast<const int8_t*>(g.b) + c;
    if (packed) {
      auto* unpacked = reinterpret_cast<int8_t*>(scratch);
      unpack(static_cast<const std::byte*>(g.b) + c * panel, blocks, width, unpacked);
      b = unpacked;
    }
    const int64_t apart = packed ? kColumns : g.n;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      if (g.a_type == DType::u8) {
        const auto* a = static_cast<const uint8_t*>(g.a) + row * g.a_stride;
        accumulate(a, b, g.k, apart, width, sums);
      } else {
        const auto* a = static_cast<const int16_t*>(g.a) + row * g.a_stride;
        accumulate(a, b, g.k, apart, width, sums);
      }
      for (int64_t j = 0; j < width; ++j) finish(g.epilogue, row, c + j, sums[j]);
    }
  }
}

}  // namespace intformer::portable
