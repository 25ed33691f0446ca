// What all tiles share.
#pragma once

#include "../common.h"

#define INTFORMER_UNROLL _Pragma("GCC unroll 16")

namespace intformer {
namespace {

// What a tile reads: rows of A (a stride in bytes apart), panels of B, steps of four bytes.
struct TileSource {
  const std::byte* a;
  int64_t a_stride;
  const std::byte* b;
  int64_t b_panel;  // bytes between panels
  int64_t steps;
  const std::byte* next;  // fetched for later tiles, one line per step
};

}  // namespace
}  // namespace intformer
