"""Linear layers: exact sums of 8-bit products."""

from __future__ import annotations

from intformer.arith.moves import image_windows
from intformer.arith.primitives import Primitives, Scalar, Value


def linear(xp: Primitives, x: Value, weight: Value, bias: Value, *, x_zero: Scalar) -> Value:
    """(x[..., K] uint8 - x_zero) @ weight[K, O] int8 + bias[O] -> int32.

    ``bias`` is int8, int16 or int32. A zero point that differs by channel is part of the bias.
    """
    return xp.matmul(x, weight, x_zero, 0) + xp.cast(bias, "int32")


def linear16(xp: Primitives, x: Value, weight: Value, bias: Value) -> Value:
    """x[..., K] int16 @ weight[K, O] int8 + bias[O] int32 -> int32, for layers kept at 16 bits.

    x is split into 256·high + low, both halves of 8 bits.
    """
    wide = xp.cast(x, "int32")
    high = xp.floor_shift(wide, 8)
    low = wide - high * 256
    upper = xp.matmul(xp.cast(high + 128, "uint8"), weight, 128, 0)
    return upper * 256 + xp.matmul(xp.cast(low, "uint8"), weight, 0, 0) + bias


def unpack4(xp: Primitives, packed: Value, multiplier: Value, *, rows: int) -> Value:
    """4-bit weights times a small multiplier per group: int8 [rows, O] from bytes, all constants.

    ``packed`` uint8 [O, G, H] holds G groups of 2·H weights for each output channel: the low halves
    of the bytes are the first H of a group, the high halves the others; a half is a weight in
    -8..7, plus 8. ``multiplier`` int8 [O, G]. Weights past ``rows`` fill the last group up. Every
    product must fit int8: the result is an ordinary weight of ``linear``, known to factor.
    """
    pairs = xp.cast(packed, "int32")
    high = xp.floor_divide(pairs, 16)
    levels = xp.concat([pairs - high * 16, high], 2) - 8
    products = levels * xp.reshape(xp.cast(multiplier, "int32"), (0, 0, 1))
    flat = xp.slice(xp.reshape(xp.cast(products, "int8"), (0, -1)), 1, 0, rows)
    return xp.transpose(flat, (1, 0))


def matmul(xp: Primitives, a: Value, b: Value, *, a_zero: Scalar, b_zero: Scalar) -> Value:
    """(a - a_zero) @ (b - b_zero) of two uint8 activations [..., M, K] and [..., K, N] -> int32."""
    return xp.matmul(a, b, a_zero, b_zero)


def depthwise(
    xp: Primitives,
    x: Value,
    pad: Value,
    weight: Value,
    bias: Value,
    *,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Value:
    """A convolution of each channel alone: uint8 [N,H,W,C], int8 [kh·kw,C] -> int32 [N,H',W',C].

    The attributes and ``pad`` are those of ``patches``; the zero point of x is folded into ``bias``
    int32 [C].
    """
    total = bias
    windows = image_windows(xp, x, pad, size=size, kernel=kernel, stride=stride, padding=padding)
    for index, window in enumerate(windows):
        row = xp.reshape(xp.slice(weight, 0, index, index + 1), (1, 1, 1, -1))
        total = xp.cast(window, "int32") * xp.cast(row, "int32") + total
    return total
