#include "run_probe.h"

namespace intformer::avx512vnni {

int64_t probe(Form form, int64_t rounds) {
  using V = Isa::V;
  if (form == Form::vnni) {
    return run_probe<24>(rounds, 64, [](V s, V a, const std::byte* b) {
      return _mm512_dpbusd_epi32(s, a, Isa::load(b));
    });
  }
  if (form == Form::wide) {
    return run_probe<24>(rounds, 32, [](V s, V a, const std::byte* b) {
      return _mm512_dpwssd_epi32(s, a, Isa::load(b));
    });
  }
  return 0;
}

}  // namespace intformer::avx512vnni
