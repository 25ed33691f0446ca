// Sums over the cells of a window: a few vectors of channels in registers, cell after cell.
#pragma once

#include <immintrin.h>

#include "../scalar.h"

namespace intformer {
namespace {

constexpr int64_t kCellLanes = 8;

// kVectors vectors of channels. A byte times a byte is a 16-bit product whose neighbour is 0.
template <int kVectors>
void add_vectors(const uint8_t* const* cells, int64_t count, const int8_t* weight, int64_t channels,
                 int64_t c, int32_t* sums) {
  __m256i found[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    found[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + c) + v);
  }
  for (int64_t k = 0; k < count; ++k) {
    const auto* in = reinterpret_cast<const int64_t*>(cells[k] + c);
    const auto* w = reinterpret_cast<const int64_t*>(weight + k * channels + c);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m128i level = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in + v));
      const __m128i factor = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(w + v));
      const __m256i product =
          _mm256_madd_epi16(_mm256_cvtepu8_epi32(level), _mm256_cvtepi8_epi32(factor));
      found[v] = _mm256_add_epi32(found[v], product);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + c) + v, found[v]);
  }
}

// Adds `count` cells, each times its weights, to the sums of all channels.
void add_cells(const uint8_t* const* cells, int64_t count, const int8_t* weight, int64_t channels,
               int32_t* sums) {
  int64_t c = 0;
  for (; c + 4 * kCellLanes <= channels; c += 4 * kCellLanes) {
    add_vectors<4>(cells, count, weight, channels, c, sums);
  }
  for (; c + kCellLanes <= channels; c += kCellLanes) {
    add_vectors<1>(cells, count, weight, channels, c, sums);
  }
  for (; c < channels; ++c) {
    for (int64_t k = 0; k < count; ++k) {
      sums[c] = wrap_add32(sums[c], cells[k][c] * weight[k * channels + c]);
    }
  }
}

}  // namespace
}  // namespace intformer
