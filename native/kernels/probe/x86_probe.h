#pragma once

#include "../x86/vector.h"
#include "probe.h"

namespace intformer {
namespace {

// kSums independent sums, enough to hide the latency of one step; `step(sum, a, b)` does `products`
// multiply-accumulates. All operands are opaque, so that nothing is moved out of the loop or
// shared.
template <int kSums, class Step>
int64_t run_probe(int64_t rounds, int64_t products, Step step) {
  Isa::V sums[kSums], a = Isa::set(0x01010101), b = Isa::set(0x01010101);
#pragma GCC unroll 24
  for (int j = 0; j < kSums; ++j) sums[j] = Isa::zero();
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 24
    for (int j = 0; j < kSums; ++j) {
      sums[j] = step(sums[j], a, b);
      asm volatile("" : "+v"(sums[j]));
    }
  }
#pragma GCC unroll 24
  for (int j = 0; j < kSums; ++j) asm volatile("" : : "v"(sums[j]));
  return rounds * kSums * products;
}

}  // namespace
}  // namespace intformer
