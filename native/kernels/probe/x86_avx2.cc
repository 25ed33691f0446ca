#include "run_probe.h"

namespace intformer::avx2 {
namespace {

using V = Isa::V;

inline V widened(V sum, V pairs) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

template <int kSteps>
struct Pairs {
  V operator()(V sum, V a, const std::byte* b) const {
    V total = _mm256_maddubs_epi16(a, Isa::load(b));
#pragma GCC unroll 4
    for (int i = 1; i < kSteps; ++i) {
      total = _mm256_add_epi16(total, _mm256_maddubs_epi16(a, Isa::load(b + 32 * i)));
    }
    return widened(sum, total);
  }
};

struct Sign {
  V operator()(V sum, V a, const std::byte* b) const {
    return widened(sum, _mm256_maddubs_epi16(a, _mm256_sign_epi8(Isa::load(b), a)));
  }
};

struct Wide {
  V operator()(V sum, V a, const std::byte* b) const {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, Isa::load(b)));
  }
};

// Two steps of pairs, and the sum that takes the place of the eighth bits' products.
struct Split {
  mutable V high = Isa::zero();

  V operator()(V sum, V a, const std::byte* b) const {
    high = _mm256_add_epi16(high, Isa::load(b + 64));
    asm volatile("" : "+x"(high));
    const V first = widened(sum, _mm256_maddubs_epi16(a, Isa::load(b)));
    return widened(first, _mm256_maddubs_epi16(a, Isa::load(b + 32)));
  }
};

}  // namespace

int64_t probe(Form form, int64_t rounds) {
  switch (form) {
    case Form::pairs2:
      return run_probe<8>(rounds, 32, Pairs<1>{});
    case Form::pairs4:
      return run_probe<8>(rounds, 64, Pairs<2>{});
    case Form::pairs8:
      return run_probe<8>(rounds, 128, Pairs<4>{});
    case Form::sign:
      return run_probe<8>(rounds, 32, Sign{});
    case Form::split:
      return run_probe<8>(rounds, 64, Split{});
    case Form::wide:
      return run_probe<8>(rounds, 16, Wide{});
    default:
      return 0;
  }
}

}  // namespace intformer::avx2
