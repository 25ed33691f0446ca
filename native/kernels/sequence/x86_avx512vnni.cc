#include "loops.h"

namespace intformer {

namespace avx512vnni {
const SequenceKernels sequence = {sequence_attention, multiply, rotary, l1_norm};
}

}  // namespace intformer
