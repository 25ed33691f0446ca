"""Softmax weights by powers of two, and attention with one division per row."""

from __future__ import annotations

from collections.abc import Callable

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
    exponent = distances(xp, scores, limit, multiplier, shift)
    return exp2_weight(xp, xp.minimum(exponent, EXP_STEPS))


def distances(
    xp: Primitives, scores: Value, limit: Scalar, multiplier: Scalar, shift: Scalar
) -> Value:
    """(min(max - score, limit)·multiplier + 2^(shift-1)) >> shift over the last axis, int32."""
    distance = xp.minimum(xp.max(scores, -1) - scores, limit)
    half = xp.pow2(shift - 1)
    return xp.floor_shift(distance * multiplier + half, shift)


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
    scores, values = scored(xp, q, k, v, mask, heads=heads, q_zero=q_zero, k_zero=k_zero)
    weights = softmax_weights(xp, scores, limit=limit, multiplier=multiplier, shift=exp_shift)
    total = weight_sum(xp, weights, 255)
    mixed = xp.cast(xp.matmul(weights, values, 0, v_zero), "int64")
    mean = divide_by(xp, mixed, total, gain=gain, offset=offset, shift=shift, dtype=dtype)
    return join_heads(xp, mean)


def weight_sum(xp: Primitives, weights: Value, least: int) -> Value:
    """Σ of uint8 weights over the last axis, at least ``least``, as int64 [..., 1]."""
    return xp.cast(xp.maximum(xp.sum(xp.cast(weights, "int32"), -1), least), "int64")


def divide_by(
    xp: Primitives,
    mixed: Value,
    total: Value,
    *,
    gain: Scalar,
    offset: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """``clip((mixed·floor(gain / total) + offset) >> shift)`` of int64: one division per row."""
    inverse = xp.floor_divide(total - total + gain, total)
    return saturate(xp, xp.floor_shift(mixed * inverse + offset, shift), dtype)


def scored(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None,
    *,
    heads: int,
    q_zero: Scalar,
    k_zero: Scalar,
) -> tuple[Value, Value]:
    """q·kᵀ per head, int32 [N,H,T,S], and v per head; keys that the mask drops score -2^30."""
    queries = split_heads(xp, q, heads, (0, 2, 1, 3))
    keys = split_heads(xp, k, heads, (0, 2, 3, 1))
    values = split_heads(xp, v, heads, (0, 2, 1, 3))
    scores = xp.matmul(queries, keys, q_zero, k_zero)
    if mask is None:
        return scores, values
    keep = xp.cast(xp.reshape(mask, (0, 1, 1, -1)), "int32") >= 1
    return xp.where(keep, scores, scores - scores - 2**30), values


def normalized_attention(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None,
    weights: Callable[[Value], Value],
    *,
    bits: int,
    heads: int,
    q_zero: Scalar,
    k_zero: Scalar,
    v_zero: Scalar,
    gain: Scalar,
    offset: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """Attention as ``attention``, with probabilities that ``weights`` makes of the scores.

    They are int32 in 0..2^bits; above 8 bits their two bytes are multiplied with v one after the
    other: ``clip((P·V·gain + offset) >> shift)``. There is no division after P·V.
    """
    scores, values = scored(xp, q, k, v, mask, heads=heads, q_zero=q_zero, k_zero=k_zero)
    mixed = mix(xp, weights(scores), values, v_zero, bits)
    return join_heads(xp, saturate(xp, xp.floor_shift(mixed * gain + offset, shift), dtype))


def mix(xp: Primitives, weights: Value, values: Value, v_zero: Scalar, bits: int) -> Value:
    """weights @ (values - v_zero) as int64, for int32 weights of one or of two bytes."""
    if bits <= 8:
        return xp.cast(xp.matmul(xp.cast(weights, "uint8"), values, 0, v_zero), "int64")
    high = xp.floor_shift(weights, 8)
    low = weights - high * 256
    upper = xp.cast(xp.matmul(xp.cast(high, "uint8"), values, 0, v_zero), "int64")
    return upper * 256 + xp.cast(xp.matmul(xp.cast(low, "uint8"), values, 0, v_zero), "int64")


def join_heads(xp: Primitives, x: Value) -> Value:
    """[N,H,T,D] -> [N,T,H·D]."""
    return xp.reshape(xp.transpose(x, (0, 2, 1, 3)), (0, 0, -1))


def split_heads(xp: Primitives, x: Value, heads: int, perm: tuple[int, ...]) -> Value:
    """[N,T,H·D] -> [N,T,H,D] -> transposed by ``perm``."""
    return xp.transpose(xp.reshape(x, (0, 0, heads, -1)), perm)
