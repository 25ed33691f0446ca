"""I-LayerNorm: integer mean and a square root by Newton's iteration (I-ViT, section 3.4)."""

from __future__ import annotations

from intformer.arith.primitives import Primitives, Scalar, Value
from intformer.arith.scaling import requantize

NEWTON_BITS = 20
"""Fraction bits kept of (x - mean) / √Σ(x - mean)²; the paper has 30."""

NEWTON_STEPS = 6
"""Enough for the exact root from the bit-length start: the error squares with each step."""

FIXED_STEPS = 10
"""Steps of the published code, whose start is the same for all rows."""

LARGEST = 2**31 - 1


def newton_bits(channels: int) -> int:
    """Bits of the root for rows of int16 values: Σ(x - mean)² + eps < 4^bits."""
    return 17 + (channels - 1).bit_length()


def newton_sqrt(xp: Primitives, x: Value, bits: int) -> Value:
    """floor(√x) for an int64 x with 1 <= x < 4^bits (I-BERT, algorithm 4).

    The start 2^⌈b/2⌉, b the bit length of x, is above the root and at most twice as large. Each
    step is taken only while it descends, so that the exact root is a fixed point.
    """
    one = x - x + 1
    root = one
    for bit in range(bits):
        root = xp.where(x >= 4**bit, one * 2 ** (bit + 1), root)
    for _ in range(NEWTON_STEPS):
        better = xp.floor_shift(root + xp.floor_divide(x, root), 1)
        better = xp.where(better >= 1, better, one)
        root = xp.where(better < root, better, root)
    return root


def fixed_newton_sqrt(xp: Primitives, x: Value, start: int) -> Value:
    """Ten Newton steps from 2^start, as published: wrong for roots far from there."""
    root = x - x + 2**start
    for _ in range(FIXED_STEPS):
        root = xp.floor_shift(root + xp.floor_divide(x, root), 1)
    return root


def newton_norm(
    xp: Primitives,
    x: Value,
    gain: Value,
    offset: Value,
    *,
    channels: int,
    start: int,
    eps: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """LayerNorm over the last axis of int16 ``x`` [..., C] around a mean rounded to an integer.

    (x - mean) / √(Σ(x - mean)² + eps) in NEWTON_BITS; √C, gamma, beta and the output scale are in
    ``gain`` int32 and ``offset`` int64 per channel; eps = ε·C/scale². ``start`` 0 takes the start
    of the root from the bit length, another number is the exponent of a fixed one. No quotient is
    beyond 1 (|y|² <= Σy²) where the root is exact: the two limits say so to the proof.
    """
    narrow = xp.cast(x, "int32")
    total = xp.sum(narrow, -1)
    lifted = total + (channels * 2**15 + channels // 2)
    mean = xp.floor_divide(lifted, total - total + channels) - 2**15
    centred = xp.cast(narrow - mean, "int64")
    energy = xp.sum(centred * centred, -1) + eps
    root = (
        fixed_newton_sqrt(xp, energy, start)
        if start
        else newton_sqrt(xp, energy, newton_bits(channels))
    )
    factor = xp.floor_divide(root - root + LARGEST, root)
    ratio = xp.floor_shift(centred * factor, 31 - NEWTON_BITS)
    one = ratio - ratio + 2**NEWTON_BITS
    ratio = xp.where(ratio <= 2**NEWTON_BITS, ratio, one)
    ratio = xp.where(ratio >= -(2**NEWTON_BITS), ratio, 0 - one)
    return requantize(xp, xp.cast(ratio, "int32"), gain, offset, shift=shift, dtype=dtype)
