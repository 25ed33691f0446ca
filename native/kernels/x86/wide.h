// 64-bit products of int32 vectors: multiplications take even lanes, so even and odd lanes go
// separate ways, and 64-bit parameters are stored in that order.
#pragma once

namespace intformer {
namespace {

using V = Isa::V;
constexpr int kLanes = Isa::kLanes;

// Multipliers of the even and of the odd lanes.
struct Factor {
  V even, odd;
};

inline Factor factor_at(const int32_t* multiplier) {
  const V m = Isa::load(multiplier);
  return {m, Isa::odd(m)};
}

// The same without an instruction for the odd lanes: reads one value more.
inline Factor factor_beside(const int32_t* multiplier) {
  return {Isa::load(multiplier), Isa::load(multiplier + 1)};
}

inline Factor factor_of(int32_t multiplier) { return {Isa::set(multiplier), Isa::set(multiplier)}; }

// 64-bit values of the even and of the odd lanes.
struct Wide {
  V even, odd;
};

inline Wide wide_at(const int64_t* split) {
  return {Isa::load(split), Isa::load(split + kLanes / 2)};
}

inline Wide wide_of(int64_t value) { return {Isa::set64(value), Isa::set64(value)}; }

inline Wide product(V x, const Factor& m) {
  return {Isa::even_product(x, m.even), Isa::even_product(Isa::odd(x), m.odd)};
}

inline Wide plus(const Wide& a, const Wide& b) {
  return {Isa::add64(a.even, b.even), Isa::add64(a.odd, b.odd)};
}

inline V merged(const Wide& x, const Isa::Shift& shift) { return Isa::merge(x.even, x.odd, shift); }

}  // namespace
}  // namespace intformer
