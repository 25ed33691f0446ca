"""Constants in fewer bytes: what operators read is computed, exactly, from what is stored.

All operands are constants, so the results are, too: a backend computes them once.
"""

from __future__ import annotations

from intformer.arith.primitives import Primitives, Scalar, Value

TURN_BITS = 14
"""Fraction bits of the sines and cosines that ``turned_positions`` multiplies by."""


def related_multiplier(
    xp: Primitives, source: Value, rest: Value, *, factor: Scalar, shift: Scalar
) -> Value:
    """((source·factor + 2^(shift-1)) >> shift) + rest, int32 [C].

    ``source`` int32 [C] are the multipliers of another operator on the same matrix, which follow
    the same scales; ``rest`` int8 [C] is what rounding leaves.
    """
    product = xp.cast(source, "int64") * factor + xp.pow2(shift - 1)
    return xp.cast(xp.floor_shift(product, shift), "int32") + xp.cast(rest, "int32")


def pair_bias(xp: Primitives, values: Value, pairs: Value) -> Value:
    """What window attention adds to its scores, int32 [W, H, T, S], from a table of relations.

    ``values`` int16 or int32 [R, H] holds a number per head for each relation (a relative position,
    seen or not); ``pairs`` uint8 or int16 [W, T, S] says which relation a query has to a key.
    """
    found = xp.rows(values, xp.cast(pairs, "int32"))
    return xp.cast(xp.transpose(found, (0, 3, 1, 2)), "int32")


def turned_positions(
    xp: Primitives, coarse: Value, fine: Value, residue: Value, *, rows: int, width: int
) -> Value:
    """A table of sines and cosines of positions, int16 [rows, width], by sums of two angles.

    Row ``a·B + b`` is row a of ``coarse`` int16 [A, width] turned by the angles in row b of
    ``fine`` int16 [B, width], plus what is left: for channel i of the sines (the first half of a
    row) and of the cosines (the second) the lower and the upper half of byte i of ``residue`` uint8
    [A, B, width/2], less 8. ``fine`` has ``TURN_BITS`` fraction bits.
    """
    half = width // 2
    sine, cosine = (xp.reshape(part, (0, 1, -1)) for part in _halves(xp, coarse, half))
    fine_sine, fine_cosine = (xp.reshape(part, (1, -1, half)) for part in _halves(xp, fine, half))
    turned = xp.concat(
        [sine * fine_cosine + cosine * fine_sine, cosine * fine_cosine - sine * fine_sine], 2
    )
    whole = xp.cast(residue, "int32")
    upper = xp.floor_divide(whole, 16)
    left = xp.concat([whole - upper * 16, upper], 2) - 8
    table = xp.floor_shift(turned + 2 ** (TURN_BITS - 1), TURN_BITS) + left
    return xp.cast(xp.slice(xp.reshape(table, (-1, width)), 0, 0, rows), "int16")


def _halves(xp: Primitives, table: Value, half: int) -> list[Value]:
    """Sines and cosines, int32."""
    return [xp.cast(xp.slice(table, 1, start, start + half), "int32") for start in (0, half)]
