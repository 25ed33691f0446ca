// The kernel as loops that each level compiles for its instruction set.
#pragma once

#include "ranking.h"

namespace intformer {
namespace {

// Logits looked at together: few of them have one that is likely enough.
constexpr int64_t kRankBlock = 64;

int16_t largest_logit(const int16_t* x, int64_t count) {
  int16_t found = x[0];
  for (int64_t i = 1; i < count; ++i) found = x[i] > found ? x[i] : found;
  return found;
}

int64_t sum_of_weights(const Ranking& row, int32_t top) {
  const int32_t* weights = row.weights + top;
  int64_t sums[4] = {};
  int64_t i = 0;
  for (; i + 4 <= row.count; i += 4) {
    for (int j = 0; j < 4; ++j) sums[j] += weights[-int64_t{row.logits[i + j]}];
  }
  for (; i < row.count; ++i) sums[0] += weights[-int64_t{row.logits[i]}];
  return sums[0] + sums[1] + sums[2] + sums[3];
}

// Insertion into the rising list of `used` entries; of equals the earlier one stays in front.
void insert(int64_t token, int64_t cost, int64_t used, int64_t* tokens, int64_t* octaves) {
  int64_t place = used;
  for (; place > 0 && octaves[place - 1] > cost; --place) {
    octaves[place] = octaves[place - 1];
    tokens[place] = tokens[place - 1];
  }
  octaves[place] = cost;
  tokens[place] = token;
}

// The best tokens found so far.
struct Best {
  int64_t keep, *tokens, *octaves;
  int64_t used = 0;
  // Once the list is full, only a logit above its last one can cost less: most tokens fail this
  // test.
  int32_t least = INT16_MIN - 1;

  void offer(const Ranking& row, int32_t top, int64_t token) {
    const int32_t logit = row.logits[token];
    if (logit <= least || row.closed[token]) return;
    const int64_t cost = row.octaves[top - logit];
    if (used == keep) {
      if (cost >= octaves[keep - 1]) return;
      --used;
    }
    insert(token, cost, used, tokens, octaves);
    if (++used == keep) least = row.logits[tokens[keep - 1]];
  }
};

int64_t rank_row(const Ranking& row, int64_t keep, int64_t* tokens, int64_t* octaves) {
  const int32_t top = largest_logit(row.logits, row.count);
  Best best{keep, tokens, octaves};
  int64_t first = 0;
  for (; first + kRankBlock <= row.count; first += kRankBlock) {
    if (largest_logit(row.logits + first, kRankBlock) <= best.least) continue;
    for (int64_t i = 0; i < kRankBlock; ++i) best.offer(row, top, first + i);
  }
  for (; first < row.count; ++first) best.offer(row, top, first);
  for (int64_t i = best.used; i < keep; ++i) {
    tokens[i] = -1;
    octaves[i] = 0;
  }
  return sum_of_weights(row, top);
}

}  // namespace
}  // namespace intformer
