"""Values gathered from tables and images, and sums of them."""

from __future__ import annotations

from intformer.arith.primitives import Primitives, Scalar, Value
from intformer.arith.scaling import saturate, scaled


def embedding(
    xp: Primitives,
    ids: Value,
    rows: Value,
    multiplier: Value,
    *,
    shift: Scalar,
    dtype: str,
) -> Value:
    """rows[ids] int8 [V, C], each row with its own multiplier int32 [V] -> [..., C]."""
    gathered = xp.rows(rows, ids)
    factor = xp.rows(xp.reshape(multiplier, (-1, 1)), ids)
    product = scaled(xp, gathered, factor) + xp.pow2(shift - 1)
    return saturate(xp, xp.floor_shift(product, shift), dtype)


def sum_axis(xp: Primitives, x: Value, *, axis: int) -> Value:
    """Σ over ``axis`` (kept as 1) as int32; pooling is this and a requantize."""
    return xp.sum(xp.cast(x, "int32"), axis)


def max_axis(xp: Primitives, x: Value, *, axis: int, dtype: str) -> Value:
    """The largest value along ``axis`` (kept as 1); ``dtype`` is that of x."""
    return xp.cast(xp.max(xp.cast(x, "int32"), axis), dtype)


def patches(
    xp: Primitives,
    x: Value,
    pad: Value,
    *,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Value:
    """Windows of an image x [N,H,W,C] uint8 -> [N,H',W',kh·kw·C]; a linear makes it a convolution.

    ``size`` is (H, W); ``pad`` uint8 [C] surrounds the image (the zero point of each channel).
    """
    windows = image_windows(xp, x, pad, size=size, kernel=kernel, stride=stride, padding=padding)
    return windows[0] if len(windows) == 1 else xp.concat(windows, -1)


def image_windows(
    xp: Primitives,
    x: Value,
    pad: Value,
    *,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> list[Value]:
    """For each position of the kernel, row by row, what lies under it: [N,H',W',C]."""
    if padding != (0, 0):
        level = xp.cast(pad, "int32")
        around = {0: (0, 0), 1: (padding[0],) * 2, 2: (padding[1],) * 2, 3: (0, 0)}
        x = xp.cast(xp.pad(xp.cast(x, "int32") - level, around) + level, "uint8")
    height, width = (s + 2 * p for s, p in zip(size, padding, strict=True))
    rows, columns = (height - kernel[0]) // stride[0], (width - kernel[1]) // stride[1]
    windows = []
    for i in range(kernel[0]):
        band = xp.slice(x, 1, i, i + rows * stride[0] + 1, stride[0])
        for j in range(kernel[1]):
            windows.append(xp.slice(band, 2, j, j + columns * stride[1] + 1, stride[1]))
    return windows
