#include "../ranking/rank.h"
#include "loops.h"
#include "vectors.h"

namespace intformer {

namespace avx512vnni {
const SequenceKernels sequence = {sequence_attention<VectorProducts>, rotary, l1_norm, rank_row};
}

}  // namespace intformer
