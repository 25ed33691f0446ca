"""Linear layers: exact sums of 8-bit products."""

from __future__ import annotations

from intformer.arith.primitives import Primitives, Value


def linear(xp: Primitives, x: Value, weight: Value, bias: Value) -> Value:
    """x[..., K] uint8 @ weight[K, O] int8 + bias[O] int32 -> int32.

    The zero point of x is folded into the bias.
    """
    return xp.matmul(x, weight, 0, 0) + bias


def linear16(xp: Primitives, x: Value, weight: Value, bias: Value) -> Value:
    """x[..., K] int16 @ weight[K, O] int8 + bias[O] int32 -> int32, for layers kept at 16 bits.

    x is split into 256·high + low, both halves of 8 bits.
    """
    wide = xp.cast(x, "int32")
    high = xp.floor_shift(wide, 8)
    low = wide - high * 256
    upper = xp.matmul(xp.cast(high + 128, "uint8"), weight, 128, 0)
    return upper * 256 + xp.matmul(xp.cast(low, "uint8"), weight, 0, 0) + bias
