#include "loops.h"

namespace intformer::dotprod {

const ProductKernels products = {product, depthwise, softmax};

}  // namespace intformer::dotprod
