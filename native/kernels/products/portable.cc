#include "loops.h"

namespace intformer::portable {

const ProductKernels products = {product, depthwise, softmax};

}  // namespace intformer::portable
