#include "fused.h"

namespace intformer::avxvnni {

int64_t attention_packed_bytes(int64_t keys, int64_t size, int64_t value_size) {
  return layout_of(keys, size, value_size).bytes;
}

int64_t attention_scratch_bytes(int64_t keys, int64_t size, int64_t value_size) {
  return layout_of(keys, size, value_size).scratch;
}

void pack_attention(const Attention& a, int64_t unit) { pack_head(a, unit); }

void attention(const Attention& a, int64_t unit, Range queries, std::byte* scratch) {
  attend(a, unit, queries, scratch);
}

}  // namespace intformer::avxvnni
