#include "../ranking/rank.h"
#include "loops.h"
#include "vectors.h"

namespace intformer {

namespace dotprod {
const SequenceKernels sequence = {sequence_attention<VectorProducts>, rotary, l1_norm, rank_row};
}

}  // namespace intformer
