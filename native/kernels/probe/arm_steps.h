#pragma once

#include "../simd/tile.h"
#include "run_probe.h"

namespace intformer {
namespace {

// One product of a tile.
template <class Dot>
struct Step {
  V operator()(V sum, V a, const std::byte* b) const {
    return Dot::template add<0>(sum, vreinterpretq_s8_s32(a), b);
  }
};

}  // namespace
}  // namespace intformer
