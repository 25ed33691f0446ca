// Steps of operators that treat each value by itself, one row after the other.
#include "../kernels/layout/layout.h"
#include "../kernels/registry.h"
#include "reader.h"
#include "walk.h"

namespace intformer {
namespace {

// --- rescale: numbers [rows, columns, shift, a_type, b_type, out_type, rank, dims..., a.., b..]

void rescale_run(const Step& step, const Pointers& pointers, Range rows, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  Rescale s{};
  s.columns = r.number();
  s.shift = r.as_int();
  s.a_type = r.as<DType>();
  s.b_type = r.as<DType>();
  s.out_type = r.as<DType>();
  const Walk walk = read_walk(r);
  const auto* a = r.slot<const std::byte>();
  const auto* b = r.slot<const std::byte>();
  auto* out = r.slot<std::byte>();
  s.a_multiplier = r.slot<const int32_t>();
  s.b_multiplier = r.slot<const int32_t>();
  s.offset = r.slot<const int64_t>();
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const auto* b_row = b ? b + row_offset(walk, walk.b, row) * item_size(s.b_type) : nullptr;
    kernels().rescale(s, a + row_offset(walk, walk.a, row) * item_size(s.a_type), b_row,
                      out + row * s.columns * item_size(s.out_type));
  }
}

// --- multiply: numbers [rows, columns, shift, a_type, b_type, out_type, a_zero, b_zero, rank, ...]

void multiply_run(const Step& step, const Pointers& pointers, Range rows, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  Multiply m{};
  m.columns = r.number();
  m.shift = r.as_int();
  m.a_type = r.as<DType>();
  m.b_type = r.as<DType>();
  m.out_type = r.as<DType>();
  m.a_zero = r.as_int();
  m.b_zero = r.as_int();
  const Walk walk = read_walk(r);
  const auto* a = r.slot<const std::byte>();
  const auto* b = r.slot<const std::byte>();
  auto* out = r.slot<std::byte>();
  m.multiplier = r.slot<const int32_t>();
  m.offset = r.slot<const int64_t>();
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    kernels().multiply(m, a + row_offset(walk, walk.a, row) * item_size(m.a_type),
                       b + row_offset(walk, walk.b, row) * item_size(m.b_type),
                       out + row * m.columns * item_size(m.out_type));
  }
}

// --- table: numbers [rows, columns, type]

void table_run(const Step& step, const Pointers& pointers, Range rows, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  const int64_t columns = r.number();
  const auto type = r.as<DType>();
  const auto* x = r.slot<const uint8_t>();
  const auto* entries = r.slot<const void>();
  auto* out = r.slot<std::byte>();
  kernels().table(x + rows.begin * columns, entries, type,
                  out + rows.begin * columns * item_size(type), (rows.end - rows.begin) * columns);
}

// --- row_table: numbers [rows, columns, type]

void row_table_run(const Step& step, const Pointers& pointers, Range rows, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  const int64_t columns = r.number();
  const auto type = r.as<DType>();
  const auto* x = r.slot<const uint8_t>();
  const auto* tables = r.slot<const std::byte>();
  auto* out = r.slot<std::byte>();
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const uint8_t* values = x + row * columns;
    const std::byte* entries = tables + largest(values, columns) * 256 * item_size(type);
    kernels().table(values, entries, type, out + row * columns * item_size(type), columns);
  }
}

constexpr Operation kOperations[] = {
    {"rescale", first_number, rescale_run, nullptr},
    {"multiply", first_number, multiply_run, nullptr},
    {"table", first_number, table_run, nullptr},
    {"row_table", first_number, row_table_run, nullptr},
};

}  // namespace

std::span<const Operation> elementwise_operations() { return kOperations; }

}  // namespace intformer
