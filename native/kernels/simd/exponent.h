// Unnormalised softmax weights of vectors of scores.
#pragma once

#include "rescale.h"

namespace intformer {
namespace {

// The constants of arith.softmax_weights.
struct Exponent {
  V limit, multiplier, half, steps, fraction, quadratic, linear, constant, one_half, scale;
  int shift;
};

Exponent exponent_of(int32_t limit, int32_t multiplier, int shift) {
  return {Isa::set(limit),
          Isa::set(multiplier),
          Isa::set(1 << (shift - 1)),
          Isa::set(kExpSteps),
          Isa::set((1 << kExpBits) - 1),
          Isa::set(kExpQuadratic),
          Isa::set(kExpLinear),
          Isa::set(kExpConstant),
          Isa::set(1 << (kExpScale - 1)),
          Isa::set(kExpScale),
          shift};
}

// arith.softmax_weights of the distances to the maximum.
inline V weights_of(const Exponent& e, V distance) {
  const V product = Isa::mul(Isa::min(distance, e.limit), e.multiplier);
  const V exponent = Isa::min(Isa::sra(Isa::add(product, e.half), e.shift), e.steps);
  const V octave = Isa::sra(exponent, kExpBits), fraction = Isa::both(exponent, e.fraction);
  const V slope = Isa::sub(e.linear, Isa::mul(fraction, e.quadratic));
  const V curve = Isa::sub(e.constant, Isa::mul(fraction, slope));
  const V rounded = Isa::add(curve, Isa::sll_each(e.one_half, octave));
  return Isa::srl_each(rounded, Isa::add(e.scale, octave));
}

}  // namespace
}  // namespace intformer
