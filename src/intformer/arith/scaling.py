"""Changes of scale with one rounding, and functions of a byte."""

from __future__ import annotations

from intformer.arith.primitives import SATURATION, STORAGE, Primitives, Scalar, Value


def saturate(xp: Primitives, x: Value, dtype: str) -> Value:
    """Clip ``x`` (within int32) to the range of ``dtype`` and cast to its element type."""
    low, high = SATURATION[dtype]
    narrow = xp.cast(x, "int32")
    if dtype != "int32":
        narrow = xp.minimum(xp.maximum(narrow, low), high)
    return xp.cast(narrow, STORAGE.get(dtype, dtype))


def scaled(xp: Primitives, x: Value, multiplier: Value) -> Value:
    """The exact int64 product of two integers of at most 32 bits."""
    return xp.cast(x, "int64") * xp.cast(multiplier, "int64")


def requantize(
    xp: Primitives, x: Value, multiplier: Value, offset: Value, *, shift: Scalar, dtype: str
) -> Value:
    """clip((x·multiplier + offset) >> shift): a scale change with one rounding.

    ``multiplier`` int32 and ``offset`` int64 hold one value or one per channel; ``offset`` contains
    the rounding constant ``2^(shift-1)`` and the zero points, scaled by ``2^shift``.
    """
    return saturate(xp, xp.floor_shift(scaled(xp, x, multiplier) + offset, shift), dtype)


def add(
    xp: Primitives,
    a: Value,
    b: Value,
    a_multiplier: Value,
    b_multiplier: Value,
    offset: Value,
    *,
    shift: Scalar,
    dtype: str,
) -> Value:
    """clip((a·a_multiplier + b·b_multiplier + offset) >> shift): both branches, one rounding."""
    total = scaled(xp, a, a_multiplier) + scaled(xp, b, b_multiplier) + offset
    return saturate(xp, xp.floor_shift(total, shift), dtype)


def table(xp: Primitives, x: Value, entries: Value) -> Value:
    """entries[x] for a uint8 ``x``: any function of an 8-bit value, exactly rounded."""
    return xp.lookup(entries, x)


def multiply(
    xp: Primitives,
    a: Value,
    b: Value,
    multiplier: Value,
    offset: Value,
    *,
    a_zero: Scalar,
    b_zero: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """clip(((a - a_zero)·(b - b_zero)·multiplier + offset) >> shift) of 8- or 16-bit a and b."""
    product = (xp.cast(a, "int32") - a_zero) * (xp.cast(b, "int32") - b_zero)
    return requantize(xp, product, multiplier, offset, shift=shift, dtype=dtype)
