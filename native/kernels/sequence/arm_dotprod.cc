#include "loops.h"

namespace intformer {

namespace dotprod {
const SequenceKernels sequence = {sequence_attention, multiply, rotary, l1_norm};
}

}  // namespace intformer
