// Where the rows of two operands lie that are broadcast to one shape.
#pragma once

#include "../kernels/layout/layout.h"
#include "reader.h"

namespace intformer {

struct Walk {
  int64_t rank, dims[kMaxRank], a[kMaxRank], b[kMaxRank];
};

inline Walk read_walk(Reader& r) {
  Walk w{};
  w.rank = r.number();
  for (auto* field : {w.dims, w.a, w.b}) {
    for (int64_t i = 0; i < w.rank; ++i) field[i] = r.number();
  }
  return w;
}

inline int64_t row_offset(const Walk& w, const int64_t* strides, int64_t row) {
  if (w.rank == 1) return row * strides[0];
  int64_t offset = 0;
  for (int64_t i = w.rank - 1; i >= 0; --i) {
    offset += row % w.dims[i] * strides[i];
    row /= w.dims[i];
  }
  return offset;
}

}  // namespace intformer
