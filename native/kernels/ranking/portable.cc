#include <algorithm>

#include "ranking.h"

namespace intformer {
namespace {

int32_t largest(const Ranking& row) {
  int16_t found = row.logits[0];
  for (int64_t i = 1; i < row.count; ++i) found = std::max(found, row.logits[i]);
  return found;
}

int64_t sum_of_weights(const Ranking& row, int32_t top) {
  int64_t total = 0;
  for (int64_t i = 0; i < row.count; ++i) total += row.weights[top - row.logits[i]];
  return total;
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

}  // namespace

int64_t rank_row(const Ranking& row, int64_t keep, int64_t* tokens, int64_t* octaves) {
  const int32_t top = largest(row);
  int64_t used = 0;
  // Once the list is full, only a logit above its last one can cost less: most tokens fail this
  // test.
  int32_t least = INT16_MIN - 1;
  for (int64_t i = 0; i < row.count; ++i) {
    const int32_t logit = row.logits[i];
    if (logit <= least || row.closed[i]) continue;
    const int64_t cost = row.octaves[top - logit];
    if (used == keep) {
      if (cost >= octaves[keep - 1]) continue;
      --used;
    }
    insert(i, cost, used, tokens, octaves);
    if (++used == keep) least = row.logits[tokens[keep - 1]];
  }
  std::fill(tokens + used, tokens + keep, -1);
  std::fill(octaves + used, octaves + keep, 0);
  return sum_of_weights(row, top);
}

}  // namespace intformer
