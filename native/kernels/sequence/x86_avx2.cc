#include "../ranking/rank.h"
#include "loops.h"
#include "vectors.h"

namespace intformer {

namespace avx2 {
const SequenceKernels sequence = {sequence_attention<VectorProducts>, rotary, l1_norm, rank_row};
}

}  // namespace intformer
