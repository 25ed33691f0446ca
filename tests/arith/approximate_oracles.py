"""The published operators once more, value by value, in Python integers."""

from __future__ import annotations

import math
from fractions import Fraction

from arith_oracles import nearest, rescaled

LARGEST = 2**31 - 1


def distances(scores: list[int], limit: int, multiplier: int, shift: int) -> list[int]:
    top = max(scores)
    return [nearest(Fraction(min(top - s, limit) * multiplier, 2**shift)) for s in scores]


def shift_exp(distance: int, unit: int, octaves: int, last: int) -> int:
    """I-ViT, algorithm 1, on the non-positive number -distance."""
    x = -distance
    power = x + math.floor(Fraction(x, 2)) - math.floor(Fraction(x, 16))
    power = max(power, -last * unit)
    q, r = divmod(-power, unit)
    return math.floor(Fraction((unit - r // 2) * 2**octaves, 2**q))


def divided(raised: list[int], bits: int) -> list[int]:
    factor = LARGEST // sum(raised)
    return [math.floor(Fraction(e * factor, 2 ** (31 - bits))) for e in raised]


def shift_weights(scores: list[int], bits: int, unit: int, **grid: int) -> list[int]:
    steps = [min(d, 21 * unit) for d in distances(scores, **grid)]
    return divided([shift_exp(d, unit, 15, 30) for d in steps], bits)


def quadratic_exp(exponent: int) -> int:
    octave, f = divmod(min(exponent, 16 * 256), 256)
    return (380857 - f * (1000 - f)) // 2 ** (3 + octave)


def quadratic_weights(scores: list[int], bits: int, **grid: int) -> list[int]:
    return divided([quadratic_exp(d) for d in distances(scores, **grid)], bits)


def log2_weights(scores: list[int], **grid: int) -> list[int]:
    """FQ-ViT: the rounded ratio Σ/e, then the nearest power of two of it."""
    raised = [quadratic_exp(d) for d in distances(scores, **grid)]
    return [log2_weight(e, sum(raised)) for e in raised]


def log2_weight(raised: int, total: int) -> int:
    if raised == 0:
        return 0
    ratio = nearest(Fraction(total, raised))
    power = ratio.bit_length() - 1
    if power > 0 and ratio - 2**power >= 2 ** (power - 1):
        power += 1
    return 2**15 // 2**power


def newton_row(
    row: list[int],
    gain: list[int],
    offset: list[int],
    *,
    eps: int,
    shift: int,
    dtype: str,
    start: int,
) -> list[int]:
    mean = nearest(Fraction(sum(row), len(row)))
    energy = sum((x - mean) ** 2 for x in row) + eps
    root = fixed_newton(energy, start) if start else math.isqrt(energy)
    ratios = [(x - mean) * (LARGEST // root) // 2**11 for x in row]
    return [rescaled(r * g + o, shift, dtype) for r, g, o in zip(ratios, gain, offset, strict=True)]


def fixed_newton(value: int, start: int) -> int:
    root = 2**start
    for _ in range(10):
        root = (root + value // root) // 2
    return root


def shift_gelu_row(
    row: list[int],
    *,
    zero: int,
    unit: int,
    octaves: int,
    multiplier: int,
    offset: int,
    shift: int,
    dtype: str,
) -> list[int]:
    """The published ShiftGELU; the row's largest value counts as 0 where it is below."""
    x = [v - zero for v in row]
    top = max(*x, 0)
    other = shift_exp(top, unit, octaves, octaves)
    result = []
    for value in x:
        own = shift_exp(top - value, unit, octaves, octaves)
        sigmoid = own * (LARGEST // (own + other)) // 2**24
        result.append(rescaled(value * sigmoid * multiplier + offset, shift, dtype))
    return result
