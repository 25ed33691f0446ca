#include "run_probe.h"

namespace intformer::avxvnni {

int64_t probe(Form form, int64_t rounds) {
  using V = Isa::V;
  if (form == Form::vnni) {
    return run_probe<12>(rounds, 32, [](V s, V a, const std::byte* b) {
      return _mm256_dpbusd_avx_epi32(s, a, Isa::load(b));
    });
  }
  if (form == Form::wide) {
    return run_probe<12>(rounds, 16, [](V s, V a, const std::byte* b) {
      return _mm256_dpwssd_avx_epi32(s, a, Isa::load(b));
    });
  }
  return 0;
}

}  // namespace intformer::avxvnni
