#include "arm_steps.h"

namespace intformer::i8mm {

int64_t probe(Form form, int64_t rounds) {
  if (form == Form::i8mm) {
    return run_probe<24>(rounds, 32, [](V sum, V a, const std::byte* b) {
      const int8x16_t columns = vreinterpretq_s8_s32(Isa::load(b));
      return vusmmlaq_s32(sum, vreinterpretq_u8_s32(a), columns);
    });
  }
  if (form == Form::dotprod) return run_probe<24>(rounds, 16, Step<DotSigned>{});
  if (form == Form::single) return run_probe<24>(rounds, 8, Step<DotSingle>{});
  return 0;
}

}  // namespace intformer::i8mm
