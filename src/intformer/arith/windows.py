"""Attention with biases inside windows, and the softmax by itself."""

from __future__ import annotations

from intformer.arith.primitives import Primitives, Scalar, Value
from intformer.arith.softmax import divide_by, softmax_weights, weight_sum

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
    queries = split_windows(xp, q, heads, (0, 1, 3, 2, 4))
    keys = split_windows(xp, k, heads, (0, 1, 3, 4, 2))
    values = split_windows(xp, v, heads, (0, 1, 3, 2, 4))
    bounded = xp.minimum(xp.maximum(bias, -BIAS_LIMIT), BIAS_LIMIT)
    scores = xp.matmul(queries, keys, q_zero, k_zero) + bounded
    weights = softmax_weights(xp, scores, limit=limit, multiplier=multiplier, shift=exp_shift)
    total = weight_sum(xp, weights, 255)
    mixed = xp.cast(xp.matmul(weights, values, 0, v_zero), "int64")
    result = divide_by(xp, mixed, total, gain=gain, offset=offset, shift=shift, dtype=dtype)
    return xp.reshape(xp.transpose(result, (0, 1, 3, 2, 4)), (0, 0, 0, -1))


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


def split_windows(xp: Primitives, x: Value, heads: int, perm: tuple[int, ...]) -> Value:
    """[N,W,T,H·D] -> [N,W,T,H,D] -> transposed by ``perm``."""
    return xp.transpose(xp.reshape(x, (0, 0, 0, heads, -1)), perm)
