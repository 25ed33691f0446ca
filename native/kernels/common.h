// Types shared by all kernels. Integers only: no floating-point type may appear under
// native/kernels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace intformer {

// i20 is stored like i32; results are clipped to 20 bits.
enum class DType : int64_t { u8, i8, i16, i32, i64, i20 };

constexpr int64_t item_size(DType type) {
  constexpr int64_t sizes[] = {1, 1, 2, 4, 8, 4};
  return sizes[static_cast<int>(type)];
}

// Half-open range of rows, columns or work units.
struct Range {
  int64_t begin, end;
};

// Instruction-set levels, those of one architecture in rising order of speed.
enum class Level : int { portable, avx2, avxvnni, avx512vnni, dotprod, i8mm };

constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace intformer
