"""Logarithms of probabilities as integers: one fixed-point log-sum-exp per row of logits.

Scores are int64 numbers of 2^-16 octaves: a score of -65536 is a probability of one half. Nothing
here touches a floating-point number; the tables come from exact integer roots and squarings. The
error bound is derived in docs/sequence.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intformer.errors import InputError

SCORE_BITS = 16
"""Fraction bits of a score in octaves (powers of two)."""

WEIGHT_BITS = 30
"""Fraction bits of 2^-x: the largest token has weight 2^30."""

STEP_BITS = 8
"""The tables of 2^-x and log2 x have 2^8 steps; between them they are straight."""

LOG_BITS = 40
"""Fraction bits inside the logarithm."""

LOG2_E = Fraction(13306513097844322492, 2**63)
"""log2(e) to 63 bits."""

Integers = NDArray[Any]


@dataclass(frozen=True)
class LogitScale:
    """From logits to octaves: ``(difference·multiplier + 2^(shift-1)) >> shift`` scores.

    Attributes:
        multiplier: 1 to 2^31.
        shift: 1 to 62.
    """

    multiplier: int
    shift: int

    @classmethod
    def of(cls, scale: float | Fraction, temperature: Fraction = Fraction(1)) -> LogitScale:
        """For logits that stand for ``scale``·integer, sharpened or flattened by a temperature.

        A float is taken as the exact binary fraction that it is.

        Raises:
            InputError: the scale or the temperature is not positive, or out of all proportion.
        """
        if temperature <= 0:
            raise InputError(f"temperature {float(temperature):g} must be positive")
        if scale <= 0:
            raise InputError(f"logit scale {float(scale):g} must be positive")
        ratio = Fraction(scale) * LOG2_E * 2**SCORE_BITS / temperature
        shift = 31 - _exponent(ratio)
        if not 1 <= shift <= 46:
            raise InputError(f"logit scale {float(scale)} is out of all proportion")
        return cls(int(ratio * 2**shift + Fraction(1, 2)), shift)

    def octaves(self, distance: Integers) -> Integers:
        """int64 scores of int64 ``distance`` in 0..2^17."""
        half = np.int64(1 << (self.shift - 1))
        return np.asarray((distance * np.int64(self.multiplier) + half) >> np.int64(self.shift))


def _exponent(ratio: Fraction) -> int:
    """The smallest e with ratio <= 2^e."""
    e = ratio.numerator.bit_length() - ratio.denominator.bit_length() + 1
    while ratio <= Fraction(2) ** (e - 1):
        e -= 1
    return e


def weights(octaves: Integers) -> Integers:
    """round(2^30·2^-x) as int64, for scores x >= 0; a straight line between 2^-8 of an octave."""
    table = exp2_table()
    fraction = octaves & ((1 << SCORE_BITS) - 1)
    low = SCORE_BITS - STEP_BITS
    step, rest = fraction >> low, fraction & ((1 << low) - 1)
    here, there = table[step], table[step + 1]
    line = (here << low) - (here - there) * rest
    shift = np.minimum((octaves >> SCORE_BITS) + low, 62)
    return np.asarray((line + (np.int64(1) << (shift - 1))) >> shift)


def log2(total: Integers) -> Integers:
    """log2(total) in 2^-16 octaves, rounded, for int64 ``total`` in 1..2^61."""
    table = log2_table()
    exponent = _floor_log2(total)
    mantissa = (total << (61 - exponent)) - (np.int64(1) << 61)
    step, rest = mantissa >> (61 - STEP_BITS), mantissa & ((1 << (61 - STEP_BITS)) - 1)
    rest >>= 61 - STEP_BITS - 20
    here, there = table[step], table[step + 1]
    fraction = here + (((there - here) * rest) >> 20)
    drop = LOG_BITS - SCORE_BITS
    return np.asarray((exponent << SCORE_BITS) + ((fraction + (1 << (drop - 1))) >> drop))


def _floor_log2(total: Integers) -> Integers:
    """Index of the highest set bit."""
    found = np.zeros_like(total)
    for step in (32, 16, 8, 4, 2, 1):
        larger = (total >> (found + step)) > 0
        found = found + step * larger
    return found


def normalizer(total: Integers) -> Integers:
    """Score of a row's sum of weights; a token's score is minus its octaves minus this."""
    return np.asarray(log2(total) - (WEIGHT_BITS << SCORE_BITS))


def log_probabilities(logits: Integers, scale: LogitScale) -> Integers:
    """Scores int64 [N, V] <= 0 of int16 ``logits`` [N, V]: log2 of their softmax.

    Each row is computed from itself alone.
    """
    wide = logits.astype(np.int64)
    octaves = scale.octaves(wide.max(axis=-1, keepdims=True) - wide)
    total = weights(octaves).sum(axis=-1, keepdims=True)
    return np.asarray(-octaves - normalizer(total))


@cache
def exp2_table() -> Integers:
    """round(2^30·2^(-i/256)) for i in 0..256."""
    count = 1 << STEP_BITS
    extra = 64
    root = 1 << (WEIGHT_BITS + extra)  # 2^(30+64)·2^(-i/256), by repeated square roots of 1/2
    halves = [_half_root(bit) for bit in range(1, STEP_BITS + 1)]
    found = []
    for i in range(count + 1):
        value = root if i < count else root >> 1
        for bit in range(STEP_BITS):
            if i < count and i >> (STEP_BITS - 1 - bit) & 1:
                value = value * halves[bit] >> 128
        found.append((value + (1 << (extra - 1))) >> extra)
    return np.array(found, np.int64)


def _half_root(times: int) -> int:
    """2^128·2^(-1/2^times), rounded down."""
    value = 1 << 127
    for _ in range(times):
        value = isqrt(value << 128)
    return value


@cache
def log2_table() -> Integers:
    """round(2^40·log2(1 + i/256)) for i in 0..256, a bit for each squaring."""
    count = 1 << STEP_BITS
    return np.array(
        [_log2_bits(count + i, count) for i in range(count)] + [1 << LOG_BITS], np.int64
    )


def _log2_bits(numerator: int, denominator: int) -> int:
    precision = 128
    x = (numerator << precision) // denominator
    bits = 0
    for _ in range(LOG_BITS + 1):
        x = x * x >> precision
        bits <<= 1
        if x >> (precision + 1):
            x >>= 1
            bits |= 1
    return (bits + 1) >> 1
