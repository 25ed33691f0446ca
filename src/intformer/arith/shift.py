"""Shiftmax and ShiftGELU: exponentials from shifts and additions (I-ViT, arXiv 2207.01405).

The exponential of -d/unit is 2 to the power of -d·1.4375/unit, where 1.4375 = 1 + 1/2 - 1/16 stands
for log2(e); the fraction of the exponent goes through the straight line 1 - f/2. Quantities are
named as in section 3.2 of the paper: ``unit`` is its I_0 = 1/S, the number of integer steps in 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from intformer.arith.primitives import Primitives, Scalar, Value
from intformer.arith.scaling import saturate
from intformer.arith.softmax import distances, normalized_attention, powers_of_two
from intformer.arith.windows import normalized_windows

SHIFT_OCTAVES = 15
"""Fraction bits of an exponential inside Shiftmax (the paper's n); the largest is unit·2^15."""

SHIFT_END = 30
"""Octaves after which an exponential is 0 for every unit."""

SHIFT_REACH = 21
"""Distances of 21 units and more end at SHIFT_END: 21·1.4375 > 30."""

SHIFT_BITS = 15
"""Fraction bits of a sigmoid, as of the 16-bit softmax output of the paper."""

SIGMOID_OCTAVES = 10
"""Fraction bits of an exponential inside the element-wise ShiftGELU."""

ROW_SIGMOID_BITS = 7
"""Fraction bits of the sigmoid of the published ShiftGELU: its 8-bit output."""

LARGEST = 2**31 - 1


def shift_exp(xp: Primitives, distance: Value, unit: Scalar, *, octaves: int, last: int) -> Value:
    """About e^(-distance/unit)·unit·2^octaves for an int32 distance of 0 to 21 units.

    (unit - (r >> 1))·2^octaves >> q, where q·unit + r is distance·log2(e) by shifts, limited to
    ``last`` octaves. The two bounds on r change nothing; they let intervals prove the range.
    """
    half, sixteenth = xp.floor_shift(distance + 1, 1), xp.floor_shift(distance + 15, 4)
    power = xp.minimum(xp.maximum(distance + half - sixteenth, 0), unit * last)
    octave = xp.floor_divide(power, distance - distance + unit)
    rest = xp.minimum(xp.maximum(power - octave * unit, 0), unit - 1)
    mantissa = distance - distance + unit - xp.floor_shift(rest, 1)
    return xp.floor_divide(mantissa * 2**octaves, xp.lookup(powers_of_two(0, 30), octave))


def shift_weights(
    xp: Primitives,
    scores: Value,
    *,
    bits: int,
    limit: Scalar,
    multiplier: Scalar,
    shift: Scalar,
    unit: Scalar,
) -> Value:
    """Shiftmax of int32 scores over the last axis: int32 with ``bits`` fraction bits.

    Σ >= unit·2^15, the exponential of the largest score: the ``maximum`` changes nothing.
    """
    grid = xp.minimum(distances(xp, scores, limit, multiplier, shift), unit * SHIFT_REACH)
    raised = shift_exp(xp, grid, unit, octaves=SHIFT_OCTAVES, last=SHIFT_END)
    total = xp.maximum(xp.sum(raised, -1), unit * 2**SHIFT_OCTAVES)
    inverse = xp.floor_divide(total - total + LARGEST, total)
    return xp.floor_shift(raised * inverse, 31 - bits)


def shift_attention(
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
    unit: Scalar,
    **attrs: Scalar,
) -> Value:
    """Attention with Shiftmax; ``extra`` and ``attrs`` are those of ``attend``."""
    weights = partial(
        shift_weights,
        xp,
        bits=bits,
        limit=limit,
        multiplier=multiplier,
        shift=exp_shift,
        unit=unit,
    )
    return attend(xp, q, k, v, extra, weights, bits=bits, **attrs)


biased_shift_attention = partial(shift_attention, attend=normalized_windows)
"""``shift_attention`` inside windows, with a bias on the scores as in ``biased_attention``."""


def shift_gelu(
    xp: Primitives,
    x: Value,
    *,
    octaves: int,
    dtype: str,
    zero: Scalar,
    unit: Scalar,
    multiplier: Scalar,
    offset: Scalar,
    shift: Scalar,
) -> Value:
    """The published ShiftGELU (section 3.3): x·σ(1.702·x) of uint8 rows [..., C].

    The sigmoid is e^(x-m) / (e^(x-m) + e^(-m)), where m is the largest value of the row and at
    least 0. Both exponentials end at ``octaves``: where m is larger than that, σ is 1/2 for every
    smaller x, which is the paper's operator (see docs/operators.md).
    """
    narrow = xp.cast(x, "int32") - zero
    top = xp.maximum(xp.max(narrow, -1), 0)
    own = shift_exp(xp, xp.maximum(top - narrow, 0), unit, octaves=octaves, last=octaves)
    other = shift_exp(xp, top, unit, octaves=octaves, last=octaves)
    wide, total = xp.cast(own, "int64"), xp.cast(own + other, "int64")
    total = xp.where(total >= 1, total, total - total + 1)
    sigmoid = xp.floor_shift(
        wide * xp.floor_divide(total - total + LARGEST, total), 31 - ROW_SIGMOID_BITS
    )
    top_sigmoid = sigmoid - sigmoid + 2**ROW_SIGMOID_BITS
    sigmoid = xp.cast(xp.where(sigmoid <= 2**ROW_SIGMOID_BITS, sigmoid, top_sigmoid), "int32")
    product = xp.cast(narrow * sigmoid, "int64") * multiplier + offset
    return saturate(xp, xp.floor_shift(product, shift), dtype)


def shift_sigmoid(xp: Primitives, x: Value, unit: Scalar) -> Value:
    """σ(x/unit) with 15 fraction bits of an int32 x of at most 21 units: ShiftGELU's sigmoid.

    Every value is shifted by max(x, 0) instead of the largest of its row. In exact arithmetic that
    is the same function; in 32 bits it keeps one exponential at e^0, so that no input range fails.
    """
    size = xp.maximum(x, 0 - x)
    far = shift_exp(xp, size, unit, octaves=SIGMOID_OCTAVES, last=SHIFT_END)
    near = far - far + unit * 2**SIGMOID_OCTAVES
    inverse = xp.floor_divide(near - near + LARGEST, near + far)
    return xp.floor_shift(xp.where(x >= 0, near, far) * inverse, 31 - SHIFT_BITS)
