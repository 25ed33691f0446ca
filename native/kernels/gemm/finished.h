// A tile whose sums are complete, and where its results go.
#pragma once

#include "gemm.h"

namespace intformer {
namespace {

// A finished tile in int32 and where it belongs.
struct Block {
  const int32_t* sums;
  int64_t stride;
  int64_t row, column;
  int rows;
  int64_t columns;
};

// Where the results of a tile go.
void* place(const Epilogue& e, const Block& t) {
  const DType type = e.table ? e.table_type : e.out_type;
  return static_cast<std::byte*>(e.out) + (t.row * e.out_stride + t.column) * item_size(type);
}

const int16_t* residual_row(const Epilogue& e, const Block& t, int row) {
  return e.residual + (t.row + row) % e.residual_rows * e.residual_stride + t.column;
}

}  // namespace
}  // namespace intformer
