#include "arm_steps.h"

namespace intformer::dotprod {

int64_t probe(Form form, int64_t rounds) {
  if (form == Form::dotprod) return run_probe<24>(rounds, 16, Step<DotSigned>{});
  if (form == Form::single) return run_probe<24>(rounds, 8, Step<DotSingle>{});
  return 0;
}

}  // namespace intformer::dotprod
