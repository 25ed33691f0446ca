#include "registry.h"

#include <cstdlib>
#include <stdexcept>

namespace intformer {
namespace {

constexpr Kernels kPortable = {
    Level::portable,
    "portable",
    1,
    portable::gemm,
    portable::gemm_scratch_bytes,
    portable::pack_attention,
    portable::attention_packed_bytes,
    portable::attention_scratch_bytes,
    portable::attention,
    portable::norm,
    portable::rescale,
    portable::table,
};

bool supported(Level level) { return level == Level::portable; }

const Kernels* const kLevels[] = {&kPortable};

const Kernels& best() {
  const Kernels* found = &kPortable;
  for (const Kernels* level : kLevels) {
    if (supported(level->level)) found = level;
  }
  return *found;
}

const Kernels& chosen() {
  const Kernels& top = best();
  const char* wanted = std::getenv("INTFORMER_ISA");
  if (!wanted || !*wanted) return top;
  std::string names;
  for (const Kernels* level : kLevels) {
    if (!supported(level->level)) continue;
    if (std::string(wanted) == level->name) return *level;
    names += std::string(names.empty() ? "" : ", ") + level->name;
  }
  throw std::invalid_argument("INTFORMER_ISA=" + std::string(wanted) +
                              " is not available on this CPU; choose one of " + names);
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& selected = chosen();
  return selected;
}

std::vector<std::string> available_levels() {
  std::vector<std::string> names;
  for (const Kernels* level : kLevels) {
    if (supported(level->level)) names.emplace_back(level->name);
  }
  return names;
}

std::vector<std::string> cpu_features() { return {}; }

}  // namespace intformer
