#include "loops.h"

namespace intformer {

int64_t sequence_attention_scratch(int64_t keys, int64_t size) { return 4 * keys + 6 * size; }

namespace portable {
const SequenceKernels sequence = {sequence_attention, multiply, rotary, l1_norm};
}

}  // namespace intformer
