"""i-exp and i-GELU: second-order polynomials (I-BERT, arXiv 2101.01321, sections 3.4 and 3.5)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from intformer.arith.primitives import Primitives, Scalar, Value
from intformer.arith.softmax import EXP_BITS, distances, normalized_attention, powers_of_two
from intformer.arith.windows import normalized_windows

QUADRATIC_LINEAR, QUADRATIC_CONSTANT = 1000, 380857
"""e^x ≈ 0.35815147·x² + 0.96963238·x + 1 on (-ln 2, 0], in steps of x of ln(2)/256 and values of
0.35815147·(ln(2)/256)²: QUADRATIC_CONSTANT - f·(QUADRATIC_LINEAR - f)."""

QUADRATIC_DROP = 3
"""Bits dropped from that, which leaves the 16 of the paper's exponentials."""

QUADRATIC_TOP = QUADRATIC_CONSTANT >> QUADRATIC_DROP
"""The exponential of 0, the largest."""

QUADRATIC_END = 16 << EXP_BITS
"""Exponents from which on an exponential is 0: QUADRATIC_TOP < 2^16."""

LARGEST = 2**31 - 1


def quadratic_exp(xp: Primitives, exponent: Value) -> Value:
    """About QUADRATIC_TOP·2^(-exponent/256) for an int32 exponent in 0..QUADRATIC_END."""
    octave = xp.floor_shift(exponent, EXP_BITS)
    fraction = exponent - octave * (1 << EXP_BITS)
    curve = QUADRATIC_CONSTANT - fraction * (QUADRATIC_LINEAR - fraction)
    return xp.floor_divide(curve, xp.lookup(powers_of_two(QUADRATIC_DROP, 19), octave))


def exponentials(
    xp: Primitives, scores: Value, limit: Scalar, multiplier: Scalar, shift: Scalar
) -> tuple[Value, Value]:
    """i-exp of the distances of int32 scores to the largest of their row, and the sum per row."""
    exponent = xp.minimum(distances(xp, scores, limit, multiplier, shift), QUADRATIC_END)
    raised = quadratic_exp(xp, exponent)
    return raised, xp.maximum(xp.sum(raised, -1), QUADRATIC_TOP)


def quadratic_weights(
    xp: Primitives,
    scores: Value,
    *,
    bits: int,
    limit: Scalar,
    multiplier: Scalar,
    shift: Scalar,
) -> Value:
    """I-BERT's softmax of int32 scores over the last axis: int32 with ``bits`` fraction bits.

    The largest is 2^bits - 1.
    """
    raised, total = exponentials(xp, scores, limit, multiplier, shift)
    inverse = xp.floor_divide(total - total + LARGEST, total)
    return xp.floor_shift(raised * inverse, 31 - bits)


def quadratic_attention(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    extra: Value | None = None,
    *,
    attend: Callable[..., Value] = normalized_attention,
    bits: int,
    limit: Scalar,
    multiplier: Scalar,
    exp_shift: Scalar,
    **attrs: Scalar,
) -> Value:
    """Attention with I-BERT's softmax; ``extra`` and ``attrs`` are those of ``attend``."""
    weights = partial(
        quadratic_weights, xp, bits=bits, limit=limit, multiplier=multiplier, shift=exp_shift
    )
    return attend(xp, q, k, v, extra, weights, bits=bits, **attrs)


biased_quadratic_attention = partial(quadratic_attention, attend=normalized_windows)
"""``quadratic_attention`` inside windows, with a bias on the scores as in ``biased_attention``."""


def quadratic_erf(xp: Primitives, x: Value, *, bend: int, constant: int) -> Value:
    """sign(x)·(constant - (bend - min(|x|, bend))²) of an int32 x, constant >= bend².

    erf(x) ≈ sign(x)·(1 - 0.2888·(1.769 - min(|x|, 1.769))²): with a step s of x, bend = 1.769/s and
    constant = 1/(0.2888·s²), in values of 0.2888·s².
    """
    size = xp.minimum(xp.maximum(x, 0 - x), bend)
    below = bend - size
    curve = constant - below * below
    return xp.where(x >= 0, curve, 0 - curve)
