#pragma once

#include "../simd/vector.h"
#include "probe.h"

#if defined(__aarch64__)
#define INTFORMER_VECTOR_REGISTER "w"
#else
#define INTFORMER_VECTOR_REGISTER "v"
#endif

namespace intformer {
namespace {

// kSums independent sums, enough to hide the latency of one step; `step(sum, a, b)` does `products`
// multiply-accumulates with up to four vectors at `b`, in the first-level cache. The compiler must
// take both operands to be new in every round.
template <int kSums, class Step>
int64_t run_probe(int64_t rounds, int64_t products, Step step) {
  constexpr int64_t kBytes = 4 * Isa::kLanes * 4;
  alignas(64) std::byte b[kSums * kBytes] = {};
  Isa::V sums[kSums], a = Isa::set(0x01010101);
#pragma GCC unroll 24
  for (int j = 0; j < kSums; ++j) sums[j] = Isa::zero();
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+" INTFORMER_VECTOR_REGISTER(a) : "r"(b) : "memory");
#pragma GCC unroll 24
    for (int j = 0; j < kSums; ++j) {
      sums[j] = step(sums[j], a, b + j * kBytes);
      asm volatile("" : "+" INTFORMER_VECTOR_REGISTER(sums[j]));
    }
  }
#pragma GCC unroll 24
  for (int j = 0; j < kSums; ++j) asm volatile("" : : INTFORMER_VECTOR_REGISTER(sums[j]));
  return rounds * kSums * products;
}

}  // namespace
}  // namespace intformer
