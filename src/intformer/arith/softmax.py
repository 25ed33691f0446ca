"""Softmax weights by powers of two, and attention with one division per row."""

from __future__ import annotations

from intformer.arith.primitives import Primitives, Scalar, Value
from intformer.arith.scaling import saturate

EXP_BITS = 8
"""Fraction bits of the base-2 exponent inside the softmax."""

EXP_STEPS = 9 << EXP_BITS
"""Exponents of 9 octaves and more have weight 0: 255·2^-9 rounds to 0."""

EXP_SCALE = 21
"""Fraction bits of a softmax weight before rounding to 8 bits."""

EXP_CONSTANT, EXP_LINEAR, EXP_QUADRATIC = 255 << EXP_SCALE, 1403781, 1412
"""255·2^(-f/256) ≈ (EXP_CONSTANT - f·(EXP_LINEAR - f·EXP_QUADRATIC)) / 2^21 for f in 0..255."""


def exp2_weight(xp: Primitives, exponent: Value) -> Value:
    """round(255·2^(-exponent/256)) for an int32 exponent in 0..EXP_STEPS, as uint8.

    The fraction goes through a quadratic (error below 0.24 %), the octave is a shift.
    """
    octave = xp.floor_shift(exponent, EXP_BITS)
    fraction = exponent - octave * (1 << EXP_BITS)
    curve = EXP_CONSTANT - fraction * (EXP_LINEAR - fraction * EXP_QUADRATIC)
    half = xp.lookup(powers_of_two(EXP_SCALE - 1, EXP_SCALE + 8), octave)
    twice = xp.floor_divide(curve, half)
    return xp.cast(xp.floor_shift(twice + 1, 1), "uint8")


def powers_of_two(first: int, last: int) -> list[int]:
    """[2**first, ..., 2**last] as a small constant table."""
    return [2**e for e in range(first, last + 1)]


def softmax_weights(
    xp: Primitives, scores: Value, *, limit: Scalar, multiplier: Scalar, shift: Scalar
) -> Value:
    """Unnormalised uint8 softmax weights of int32 scores over the last axis; the largest is 255.

    exponent = (min(max - score, limit)·multiplier + 2^(shift-1)) >> shift in 1/256 octaves;
    ``limit`` is the distance at which weights vanish and keeps the product inside int32.
    """
    distance = xp.minimum(xp.max(scores, -1) - scores, limit)
    half = xp.pow2(shift - 1)
    exponent = xp.floor_shift(distance * multiplier + half, shift)
    return exp2_weight(xp, xp.minimum(exponent, EXP_STEPS))


def attention(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None = None,
    *,
    heads: int,
    q_zero: Scalar,
    k_zero: Scalar,
    v_zero: Scalar,
    limit: Scalar,
    multiplier: Scalar,
    exp_shift: Scalar,
    gain: Scalar,
    offset: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """Multi-head softmax attention of uint8 q [N,T,E], k [N,S,E], v [N,S,E] -> [N,T,E].

    Weights stay unnormalised; after P·V each row is divided once by their sum:
    ``clip((acc·floor(gain / Σw) + offset) >> shift)``. The largest weight is 255, so Σw >= 255: the
    ``maximum`` changes nothing and lets intervals prove the division. ``mask`` uint8 [N,S] drops
    keys with 0, whose weight is then exactly 0: padding never changes a result. A row that keeps no
    key at all averages the values of all.
    """
    queries = split_heads(xp, q, heads, (0, 2, 1, 3))
    keys = split_heads(xp, k, heads, (0, 2, 3, 1))
    values = split_heads(xp, v, heads, (0, 2, 1, 3))
    scores = xp.matmul(queries, keys, q_zero, k_zero)
    if mask is not None:
        keep = xp.cast(xp.reshape(mask, (0, 1, 1, -1)), "int32") >= 1
        scores = xp.where(keep, scores, scores - scores - 2**30)
    weights = softmax_weights(xp, scores, limit=limit, multiplier=multiplier, shift=exp_shift)
    total = xp.cast(xp.maximum(xp.sum(xp.cast(weights, "int32"), -1), 255), "int64")
    mixed = xp.cast(xp.matmul(weights, values, 0, v_zero), "int64")
    inverse = xp.floor_divide(total - total + gain, total)
    result = saturate(xp, xp.floor_shift(mixed * inverse + offset, shift), dtype)
    return xp.reshape(xp.transpose(result, (0, 2, 1, 3)), (0, 0, -1))


def split_heads(xp: Primitives, x: Value, heads: int, perm: tuple[int, ...]) -> Value:
    """[N,T,H·D] -> [N,T,H,D] -> transposed by ``perm``."""
    return xp.transpose(xp.reshape(x, (0, 0, heads, -1)), perm)
