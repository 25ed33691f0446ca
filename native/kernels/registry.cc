#include "registry.h"

#include <cstdlib>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace intformer {
namespace {

constexpr Kernels kPortable = {
    Level::portable,
    "portable",
    1,
    false,
    portable::gemm,
    portable::gemm_scratch_bytes,
    portable::pack_attention,
    portable::attention_packed_bytes,
    portable::attention_scratch_bytes,
    portable::attention,
    portable::norm,
    portable::rescale,
    portable::multiply,
    portable::table,
    portable::probe,
    &portable::sequence,
    &portable::products,
};

#if defined(__x86_64__)
constexpr Kernels kAvx2 = {
    Level::avx2,
    "avx2",
    8,
    true,
    avx2::gemm,
    avx2::gemm_scratch_bytes,
    avx2::pack_attention,
    avx2::attention_packed_bytes,
    avx2::attention_scratch_bytes,
    avx2::attention,
    avx2::norm,
    avx2::rescale,
    avx2::multiply,
    avx2::table,
    avx2::probe,
    &avx2::sequence,
    &avx2::products,
};

constexpr Kernels kAvxVnni = {
    Level::avxvnni,
    "avxvnni",
    8,
    true,
    avxvnni::gemm,
    avxvnni::gemm_scratch_bytes,
    avxvnni::pack_attention,
    avxvnni::attention_packed_bytes,
    avxvnni::attention_scratch_bytes,
    avxvnni::attention,
    avx2::norm,
    avx2::rescale,
    avx2::multiply,
    avx2::table,
    avxvnni::probe,
    &avx2::sequence,
    &avx2::products,
};

constexpr Kernels kAvx512Vnni = {
    Level::avx512vnni,
    "avx512vnni",
    16,
    true,
    avx512vnni::gemm,
    avx512vnni::gemm_scratch_bytes,
    avx512vnni::pack_attention,
    avx512vnni::attention_packed_bytes,
    avx512vnni::attention_scratch_bytes,
    avx512vnni::attention,
    avx512vnni::norm,
    avx512vnni::rescale,
    avx512vnni::multiply,
    avx2::table,
    avx512vnni::probe,
    &avx512vnni::sequence,
    &avx512vnni::products,
};

// VBMI is an extra of most CPUs with AVX512-VNNI, not a level of its own.
const Kernels& with_vbmi() {
  static const Kernels result = [] {
    Kernels best = kAvx512Vnni;
    if (__builtin_cpu_supports("avx512vbmi")) best.table = avx512vbmi::table;
    return best;
  }();
  return result;
}

const Kernels* const kLevels[] = {&kPortable, &kAvx2, &kAvxVnni, &with_vbmi()};

bool has_avxvnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}

bool has_avx512vnni() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

bool supported(Level level) {
  switch (level) {
    case Level::portable:
      return true;
    case Level::avx2:
      return __builtin_cpu_supports("avx2");
    case Level::avxvnni:
      return __builtin_cpu_supports("avx2") && has_avxvnni();
    default:
      return __builtin_cpu_supports("avx2") && has_avx512vnni();
  }
}
#elif defined(__aarch64__)
constexpr Kernels kDotprod = {
    Level::dotprod,
    "dotprod",
    4,
    false,
    dotprod::gemm,
    dotprod::gemm_scratch_bytes,
    dotprod::pack_attention,
    dotprod::attention_packed_bytes,
    dotprod::attention_scratch_bytes,
    dotprod::attention,
    dotprod::norm,
    dotprod::rescale,
    dotprod::multiply,
    dotprod::table,
    dotprod::probe,
    &dotprod::sequence,
    &dotprod::products,
};

constexpr Kernels kI8mm = {
    Level::i8mm,
    "i8mm",
    4,
    false,
    i8mm::gemm,
    i8mm::gemm_scratch_bytes,
    dotprod::pack_attention,
    dotprod::attention_packed_bytes,
    dotprod::attention_scratch_bytes,
    dotprod::attention,
    dotprod::norm,
    dotprod::rescale,
    dotprod::multiply,
    dotprod::table,
    i8mm::probe,
    &dotprod::sequence,
    &dotprod::products,
};

const Kernels* const kLevels[] = {&kPortable, &kDotprod, &kI8mm};

#if defined(__linux__)
bool has_dotprod() { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }
bool has_i8mm() { return getauxval(AT_HWCAP2) & HWCAP2_I8MM; }
#else
bool has_dotprod() { return false; }
bool has_i8mm() { return false; }
#endif

bool supported(Level level) {
  switch (level) {
    case Level::portable:
      return true;
    case Level::dotprod:
      return has_dotprod();
    default:
      return has_dotprod() && has_i8mm();
  }
}
#else
constexpr const Kernels* kLevels[] = {&kPortable};

bool supported(Level) { return true; }
#endif

const Kernels& best() {
  const Kernels* found = &kPortable;
  for (const Kernels* level : kLevels) {
    if (supported(level->level)) found = level;
  }
  return *found;
}

const Kernels& chosen() {
  const char* wanted = std::getenv("INTFORMER_ISA");
  if (!wanted || !*wanted) return best();
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

std::vector<std::string> cpu_features() {
  std::vector<std::string> names;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) names.emplace_back("avx2");
  if (__builtin_cpu_supports("avx512f")) names.emplace_back("avx512f");
  if (__builtin_cpu_supports("avx512bw")) names.emplace_back("avx512bw");
  if (__builtin_cpu_supports("avx512vnni")) names.emplace_back("avx512vnni");
  if (__builtin_cpu_supports("avx512vbmi")) names.emplace_back("avx512vbmi");
  if (has_avxvnni()) names.emplace_back("avxvnni");
#elif defined(__aarch64__)
  if (has_dotprod()) names.emplace_back("dotprod");
  if (has_i8mm()) names.emplace_back("i8mm");
#endif
  return names;
}

}  // namespace intformer
