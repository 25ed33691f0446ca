#include "loops.h"

namespace intformer::avx512vnni {

const ProductKernels products = {product, depthwise, softmax};

}  // namespace intformer::avx512vnni
