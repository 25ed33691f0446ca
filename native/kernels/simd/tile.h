// Register-blocked products: a few rows of A times a few vectors of columns of B, in int32.
//
// Four bytes of a row of A (four 8-bit or two 16-bit values along K) are a step. B is packed as
// [columns / lanes][K / group][lanes][group], so that one vector holds the matching values of
// `lanes` columns.
#pragma once

#include <utility>

#if defined(__aarch64__)
#include "../arm/tile.h"
#else
#include "../x86/tile.h"
#endif

namespace intformer {
namespace {

using TileFn = void (*)(const TileSource&, int64_t apart, int32_t* out, int64_t out_stride);

// Tiles of all sizes up to kRows x kVectors.
template <class Dot, int kRows, int kVectors>
struct Tiles {
  template <int... I>
  static TileFn pick(int index, std::integer_sequence<int, I...>) {
    static constexpr TileFn all[] = {tile<Dot, I / kVectors + 1, I % kVectors + 1>...};
    return all[index];
  }

  // rows in 1..kRows, vectors in 1..kVectors.
  static void run(const TileSource& s, int64_t apart, int rows, int vectors, int32_t* out,
                  int64_t out_stride) {
    const int index = (rows - 1) * kVectors + vectors - 1;
    pick(index, std::make_integer_sequence<int, kRows * kVectors>())(s, apart, out, out_stride);
  }
};

}  // namespace
}  // namespace intformer
