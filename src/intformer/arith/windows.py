"""Attention with biases inside windows, and the softmax by itself."""

from __future__ import annotations

from collections.abc import Callable

from intformer.arith.primitives import Primitives, Scalar, Value
from intformer.arith.scaling import saturate
from intformer.arith.softmax import divide_by, mix, softmax_weights, weight_sum

BIAS_LIMIT = 2**29
"""Largest magnitude of what is added to a score."""


def biased_attention(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    bias: Value,
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
    """Attention inside windows: q [N,W,T,E], k [N,W,S,E], v [N,W,S,F] -> [N,W,T,F].

    ``bias`` int32 [W or 1, heads or 1, T or 1, S] is added to the scores, in their units: relative
    positions (Swin, BEiT, LeViT), and ``-BIAS_LIMIT`` for pairs that may not see each other. It is
    clipped to ±BIAS_LIMIT, so that no sum leaves int32. The rest is ``attention``.
    """
    scores, values = biased_scores(xp, q, k, v, bias, heads=heads, q_zero=q_zero, k_zero=k_zero)
    weights = softmax_weights(xp, scores, limit=limit, multiplier=multiplier, shift=exp_shift)
    total = weight_sum(xp, weights, 255)
    mixed = xp.cast(xp.matmul(weights, values, 0, v_zero), "int64")
    mean = divide_by(xp, mixed, total, gain=gain, offset=offset, shift=shift, dtype=dtype)
    return join_windows(xp, mean)


def normalized_windows(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    bias: Value,
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
    """``biased_attention`` with probabilities that ``weights`` makes of the biased scores.

    What happens after the scores is that of ``normalized_attention``.
    """
    scores, values = biased_scores(xp, q, k, v, bias, heads=heads, q_zero=q_zero, k_zero=k_zero)
    mixed = mix(xp, weights(scores), values, v_zero, bits)
    return join_windows(xp, saturate(xp, xp.floor_shift(mixed * gain + offset, shift), dtype))


def biased_scores(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    bias: Value,
    *,
    heads: int,
    q_zero: Scalar,
    k_zero: Scalar,
) -> tuple[Value, Value]:
    """q·kᵀ + bias per window and head, int32 [N,W,H,T,S], and v per window and head."""
    queries = split_windows(xp, q, heads, (0, 1, 3, 2, 4))
    keys = split_windows(xp, k, heads, (0, 1, 3, 4, 2))
    values = split_windows(xp, v, heads, (0, 1, 3, 2, 4))
    bounded = xp.minimum(xp.maximum(bias, -BIAS_LIMIT), BIAS_LIMIT)
    return xp.matmul(queries, keys, q_zero, k_zero) + bounded, values


def softmax(
    xp: Primitives,
    x: Value,
    *,
    limit: Scalar,
    multiplier: Scalar,
    exp_shift: Scalar,
    gain: Scalar,
    offset: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """Softmax over the last axis of int16 ``x``, where what follows is not P·V alone.

    ``clip((w·floor(gain / Σw) + offset) >> shift)`` with the weights of ``attention``.
    """
    scores = xp.cast(x, "int32")
    weights = softmax_weights(xp, scores, limit=limit, multiplier=multiplier, shift=exp_shift)
    wide = xp.cast(weights, "int64")
    total = weight_sum(xp, weights, 255)
    return divide_by(xp, wide, total, gain=gain, offset=offset, shift=shift, dtype=dtype)


def join_windows(xp: Primitives, x: Value) -> Value:
    """[N,W,H,T,D] -> [N,W,T,H·D]."""
    return xp.reshape(xp.transpose(x, (0, 1, 3, 2, 4)), (0, 0, 0, -1))


def split_windows(xp: Primitives, x: Value, heads: int, perm: tuple[int, ...]) -> Value:
    """[N,W,T,H·D] -> [N,W,T,H,D] -> transposed by ``perm``."""
    return xp.transpose(xp.reshape(x, (0, 0, 0, heads, -1)), perm)
