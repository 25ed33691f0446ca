// One line per kernel and level: what the dispatcher, the tests and the timings know about.
#pragma once

#include <string>
#include <vector>

#include "attention/attention.h"
#include "common.h"
#include "elementwise/elementwise.h"
#include "gemm/gemm.h"
#include "norm/norm.h"
#include "probe/probe.h"
#include "products/products.h"
#include "sequence/sequence.h"

namespace intformer {

struct Kernels {
  Level level;
  const char* name;
  int64_t lanes;     // int32 values per vector, to which parameters are padded
  bool split_lanes;  // 64-bit parameters: the even lanes of a vector come first, then the odd ones
  GemmFn gemm;
  GemmScratchFn gemm_scratch_bytes;
  AttentionPackFn pack_attention;
  AttentionBytesFn attention_packed_bytes;
  AttentionScratchFn attention_scratch_bytes;
  AttentionFn attention;
  NormFn norm;
  RescaleFn rescale;
  MultiplyFn multiply;
  TableFn table;
  ProbeFn probe;
  const SequenceKernels* sequence;
  const ProductKernels* products;
};

// The kernels of this process: the best level of the CPU, or a lower one named by INTFORMER_ISA.
// Throws std::invalid_argument where the variable names an unknown or unavailable level.
const Kernels& kernels();

// Names of the levels that this CPU can run, slowest first.
std::vector<std::string> available_levels();

// Instruction-set extensions of this CPU that matter here.
std::vector<std::string> cpu_features();

}  // namespace intformer
