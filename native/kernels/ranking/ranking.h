// The sum of softmax weights of a row of logits, and its most likely tokens.
#pragma once

#include "../common.h"

namespace intformer {

// A row of `count` logits. A token at distance d = largest - logit has the weight `weights[d]` and
// costs `octaves[d]`, which never falls as d grows; both tables have 2^16 entries. Tokens with
// `closed` != 0 count in the sum but are never chosen.
struct Ranking {
  const int16_t* logits;
  int64_t count;
  const int32_t* weights;
  const int64_t* octaves;
  const uint8_t* closed;
};

// Writes the `keep` open tokens of the smallest octaves in rising order, of equals the smaller
// token first, and -1 with octaves 0 behind the last one; returns the sum of all weights.
using RankRowFn = int64_t (*)(const Ranking& row, int64_t keep, int64_t* tokens, int64_t* octaves);

}  // namespace intformer
