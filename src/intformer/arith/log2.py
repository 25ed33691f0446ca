"""Softmax quantized to powers of two (FQ-ViT, arXiv 2111.13824, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from intformer.arith.primitives import Primitives, Scalar, Value
from intformer.arith.quadratic import exponentials
from intformer.arith.softmax import normalized_attention
from intformer.arith.windows import normalized_windows

LOG2_LEVELS = 16
"""Probabilities are 2^0 to 2^-15, or 0: the paper's 4 bits."""


def log2_weights(
    xp: Primitives, scores: Value, *, limit: Scalar, multiplier: Scalar, shift: Scalar
) -> Value:
    """Probabilities 2^15·2^-n of int32 scores over the last axis, n = round(log2(round(Σ/e))).

    Rounding to the nearest power counts how many of the numbers 1.5·2^n the ratio reaches, and each
    of these comparisons is one of e with a threshold of its row: no element is divided.
    """
    raised, total = exponentials(xp, scores, limit, multiplier, shift)
    twice = xp.cast(total, "int64") * 2
    zero = raised - raised
    weights = zero + 2 ** (LOG2_LEVELS - 1)
    for level in range(LOG2_LEVELS):
        divisor = 3 * 2**level - (level > 0)
        threshold = xp.cast(xp.floor_divide(twice, twice - twice + divisor), "int32")
        smaller = zero + 2 ** (LOG2_LEVELS - 1) // 2 ** (level + 1)
        weights = xp.where(raised <= threshold, smaller, weights)
    return weights


def log2_attention(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    extra: Value | None = None,
    *,
    attend: Callable[..., Value] = normalized_attention,
    limit: Scalar,
    multiplier: Scalar,
    exp_shift: Scalar,
    **attrs: Scalar,
) -> Value:
    """Attention whose P are powers of two; ``extra`` and ``attrs`` are those of ``attend``.

    P·V is written as products: a shift by p is one with 2^-p.
    """
    weights = partial(log2_weights, xp, limit=limit, multiplier=multiplier, shift=exp_shift)
    return attend(xp, q, k, v, extra, weights, bits=LOG2_LEVELS, **attrs)


biased_log2_attention = partial(log2_attention, attend=normalized_windows)
"""``log2_attention`` inside windows, with a bias on the scores as in ``biased_attention``."""
