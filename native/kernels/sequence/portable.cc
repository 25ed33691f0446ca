#include "../ranking/rank.h"
#include "loops.h"
#include "plain.h"

namespace intformer {

int64_t sequence_attention_scratch(int64_t keys, int64_t size) {
  const int64_t values = round_up(keys, kScratchLanes) + round_up(size, 4 * kScratchLanes);
  return 4 * values + 2 * size + round_up(keys, kScratchLanes);
}

namespace portable {
const SequenceKernels sequence = {sequence_attention<PlainProducts>, rotary, l1_norm, rank_row};
}

}  // namespace intformer
