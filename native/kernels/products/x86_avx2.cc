#include "loops.h"

namespace intformer::avx2 {

const ProductKernels products = {product, depthwise, softmax};

}  // namespace intformer::avx2
