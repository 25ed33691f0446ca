// Softmax by other exponentials than ours, normalised before P·V: arith/shift.py, quadratic.py and
// log2.py for whole vectors.
#pragma once

#include "../simd/rescale.h"
#include "attention.h"

namespace intformer {
namespace {

// The constants of one attention, in all lanes.
struct Probability {
  Softmax kind;
  V limit, multiplier, half, end, unit, inverse_unit;
  V fraction, linear, constant, drop;
  int32_t top;  // the exponential of 0, the least sum of a row
  int exp_shift, shift;
};

Probability probability_of(const Attention& a) {
  const bool shifts = a.softmax == Softmax::shift;
  const int32_t inverse_unit = shifts ? ((1 << kUnitBits) + a.unit - 1) / a.unit : 0;
  return {a.softmax,
          Isa::set(a.limit),
          Isa::set(a.multiplier),
          Isa::set(1 << (a.exp_shift - 1)),
          Isa::set(shifts ? kShiftReach * a.unit : kQuadraticEnd),
          Isa::set(a.unit),
          Isa::set(inverse_unit),
          Isa::set((1 << kExpBits) - 1),
          Isa::set(kQuadraticLinear),
          Isa::set(kQuadraticConstant),
          Isa::set(kQuadraticDrop),
          shifts ? a.unit << kShiftOctaves : kQuadraticTop,
          a.exp_shift,
          31 - a.bits};
}

// arith.shift_exp. A division by the unit is a product, exact below 2^31 / inverse_unit.
inline V shift_exp(const Probability& p, V distance) {
  const V half = Isa::sra(Isa::add(distance, Isa::set(1)), 1);
  const V sixteenth = Isa::sra(Isa::add(distance, Isa::set(15)), 4);
  const V last = Isa::mul(p.unit, Isa::set(kShiftEnd));
  const V power = Isa::min(Isa::sub(Isa::add(distance, half), sixteenth), last);
  const V octave = Isa::sra(Isa::mul(power, p.inverse_unit), kUnitBits);
  const V rest = Isa::sub(power, Isa::mul(octave, p.unit));
  const V mantissa = Isa::sub(p.unit, Isa::sra(rest, 1));
  return Isa::srl_each(Isa::mul(mantissa, Isa::set(1 << kShiftOctaves)), octave);
}

// arith.quadratic_exp.
inline V quadratic_exp(const Probability& p, V exponent) {
  const V octave = Isa::sra(exponent, kExpBits), fraction = Isa::both(exponent, p.fraction);
  const V curve = Isa::sub(p.constant, Isa::mul(fraction, Isa::sub(p.linear, fraction)));
  return Isa::srl_each(curve, Isa::add(octave, p.drop));
}

// Replaces the scores of a row by exponentials and returns their sum; lanes past `keys` become 0.
int32_t raise_row(const Probability& p, int32_t most, int64_t keys, int64_t columns,
                  int32_t* scores) {
  const V top = Isa::set(most);
  V total = Isa::zero();
  for (int64_t s = 0; s < columns; s += kLanes) {
    const V distance = Isa::min(Isa::sub(top, Isa::load(scores + s)), p.limit);
    const V product = Isa::add(Isa::mul(distance, p.multiplier), p.half);
    const V grid = Isa::min(Isa::sra(product, p.exp_shift), p.end);
    V x = p.kind == Softmax::shift ? shift_exp(p, grid) : quadratic_exp(p, grid);
    if (s + kLanes > keys) x = first_lanes(x, keys - s);
    Isa::store(scores + s, x);
    total = Isa::add(total, x);
  }
  const int32_t sum = Isa::sum(total);
  return sum < p.top ? p.top : sum;
}

// Rounds to the nearest power of two by counting thresholds: arith.log2_weights.
struct Powers {
  V beyond[kLog2Levels];  // threshold + 1

  explicit Powers(int32_t total) {
    for (int level = 0; level < kLog2Levels; ++level) {
      const int64_t divisor = (int64_t{3} << level) - (level > 0);
      beyond[level] = Isa::set(static_cast<int32_t>(2 * int64_t{total} / divisor) + 1);
    }
  }

  V operator()(V raised) const {
    V count = Isa::zero();
    for (const V& bound : beyond) count = Isa::sub(count, Isa::sra(Isa::sub(raised, bound), 31));
    return Isa::srl_each(Isa::set(1 << (kLog2Levels - 1)), count);
  }
};

// Divides by the sum of the row: (e * F) >> (31 - bits).
struct Quotient {
  V inverse;
  int shift;

  Quotient(const Probability& p, int32_t total)
      : inverse(Isa::set(INT32_MAX / total)), shift(p.shift) {}

  V operator()(V raised) const { return Isa::sra(Isa::mul(raised, inverse), shift); }
};

}  // namespace
}  // namespace intformer
