// The rate of multiply-accumulates that this machine reaches from registers alone.
#pragma once

#include "../common.h"
#include "../gemm/gemm.h"

namespace intformer {

// Runs `rounds` rounds of the inner step of `form` and returns the multiply-accumulates done; 0
// where the level does not have the form.
using ProbeFn = int64_t (*)(Form form, int64_t rounds);

namespace portable {
int64_t probe(Form form, int64_t rounds);
}
namespace avx2 {
int64_t probe(Form form, int64_t rounds);
}
namespace avxvnni {
int64_t probe(Form form, int64_t rounds);
}
namespace avx512vnni {
int64_t probe(Form form, int64_t rounds);
}
namespace dotprod {
int64_t probe(Form form, int64_t rounds);
}
namespace i8mm {
int64_t probe(Form form, int64_t rounds);
}

}  // namespace intformer
