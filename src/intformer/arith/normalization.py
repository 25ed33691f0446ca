"""LayerNorm and RMSNorm: an exact root and one division per row."""

from __future__ import annotations

from intformer.arith.primitives import Primitives, Scalar, Value
from intformer.arith.scaling import requantize

NORM_BITS = 12
"""Fraction bits of a normalised value (zero mean, unit variance) inside the normalisations."""

NORM_LIMIT = 2 ** (NORM_BITS + 7)
"""Largest normalised magnitude: 128 standard deviations; a row of C values cannot exceed √(C-1)."""


ROOT_STEPS = 4
"""Steps of a root that are written down together."""


def integer_sqrt(xp: Primitives, x: Value, bits: int) -> Value:
    """floor(√x) for an int64 x with 0 <= x < 4**bits, bit by bit from the top."""
    root, left = x - x, bits
    while left:
        steps = root_steps if left >= ROOT_STEPS else root_step
        root = xp.share(steps, root, x, 2 ** (left - 1))
        left -= ROOT_STEPS if left >= ROOT_STEPS else 1
    return root


def root_step(xp: Primitives, root: Value, x: Value, bit: Scalar) -> Value:
    """``root``, or ``root + bit`` where that is still at most √x."""
    candidate = root + bit
    return xp.where(candidate * candidate <= x, candidate, root)


def root_steps(xp: Primitives, root: Value, x: Value, bit: Scalar) -> Value:
    """``ROOT_STEPS`` of ``root_step``, for ``bit`` and those below it."""
    for step in range(ROOT_STEPS):
        bit = bit // 2 if step else bit
        root = root_step(xp, root, x, bit)
    return root


def normalize(
    xp: Primitives, centred: Value, energy: Value, *, eps: Scalar, bits: int, reciprocal: int
) -> Value:
    """centred / √(energy + eps) in NORM_BITS fraction bits, as int32.

    One square root and one division per row. The root is bounded below by ``2^(reciprocal - 30)``,
    so that the reciprocal fits 31 bits; rows with a smaller deviation (a fraction of one integer
    step) are treated as having that one.
    """
    root = xp.cast(integer_sqrt(xp, energy + eps, bits), "int32")
    return divide_by_root(xp, centred, root, reciprocal=reciprocal)


def divide_by_root(xp: Primitives, centred: Value, root: Value, *, reciprocal: int) -> Value:
    """centred / root in NORM_BITS fraction bits, as int32; ``root`` int32 has one value per row."""
    root = xp.cast(xp.maximum(root, 2 ** max(reciprocal - 30, 0)), "int64")
    inverse = xp.floor_divide(xp.floor_shift(root, 1) + 2**reciprocal, root)
    drop = reciprocal - NORM_BITS
    ratio = xp.floor_shift(xp.cast(centred, "int64") * inverse + 2 ** (drop - 1), drop)
    narrow = xp.cast(ratio, "int32")
    return xp.minimum(xp.maximum(narrow, -NORM_LIMIT), NORM_LIMIT)


def norm_constants(channels: int, width: int = 16) -> tuple[int, int]:
    """(bits of the root, fraction bits of its reciprocal) for rows of values of ``width`` bits."""
    size = (channels - 1).bit_length()
    return width + size, width + 12 + size


def layer_norm(
    xp: Primitives,
    x: Value,
    gain: Value,
    offset: Value,
    *,
    channels: int,
    eps: Scalar,
    shift: Scalar,
    dtype: str,
    width: int = 16,
) -> Value:
    """LayerNorm over the last axis of ``x`` [..., C] of 16 bits, C <= 8192; or 20, C < 2048.

    With d = C·x - Σx and V = C·Σx² - (Σx)² = C²·variance (both exact), the normalised value is
    d / √(V + eps), where eps = ε·C²/scale². ``gain`` int32 and ``offset`` int64 per channel carry
    gamma, beta, the output scale and zero point. (Ba et al., arXiv 1607.06450; exact root as
    opposed to the fixed-start Newton iteration of I-ViT, section 3.4.)
    """
    bits, reciprocal = norm_constants(channels, width)
    narrow = xp.cast(x, "int32")
    total = xp.sum(narrow, -1)
    wide = xp.cast(x, "int64")
    wide_total = xp.cast(total, "int64")
    energy = xp.sum(wide * wide, -1) * channels - wide_total * wide_total
    centred = narrow * channels - total
    ratio = normalize(
        xp, centred, nonnegative(xp, energy), eps=eps, bits=bits, reciprocal=reciprocal
    )
    return requantize(xp, ratio, gain, offset, shift=shift, dtype=dtype)


def nonnegative(xp: Primitives, x: Value) -> Value:
    """max(x, 0) of an int64: states what Cauchy-Schwarz guarantees, so that intervals prove it."""
    return xp.where(x >= 0, x, x - x)


def rms_norm(
    xp: Primitives,
    x: Value,
    gain: Value,
    offset: Value,
    *,
    channels: int,
    eps: Scalar,
    shift: Scalar,
    dtype: str,
    width: int = 16,
) -> Value:
    """RMSNorm over the last axis of ``x`` [..., C]: C·x / √(C·Σx² + eps), else as layer_norm."""
    bits, reciprocal = norm_constants(channels, width)
    wide = xp.cast(x, "int64")
    energy = xp.sum(wide * wide, -1) * channels
    centred = xp.cast(x, "int32") * channels
    ratio = normalize(xp, centred, energy, eps=eps, bits=bits, reciprocal=reciprocal)
    return requantize(xp, ratio, gain, offset, shift=shift, dtype=dtype)


def l1_norm(
    xp: Primitives,
    x: Value,
    gain: Value,
    offset: Value,
    *,
    channels: int,
    eps: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """L1 LayerNorm over the last axis of int16 ``x`` [..., C]: the mean absolute deviation divides.

    With d = C·x - Σx and A = Σ|d| (both exact) the normalised value is d / ((A + eps) / C), where
    eps = ε·C²/scale; no root is needed. (Lin et al., arXiv 2009.08034.)
    """
    _, reciprocal = norm_constants(channels)
    narrow = xp.cast(x, "int32")
    centred = narrow * channels - xp.sum(narrow, -1)
    distance = xp.maximum(xp.maximum(centred, 0 - centred), 0)
    total = xp.sum(xp.cast(distance, "int64"), -1) + eps
    root = xp.cast(xp.floor_divide(total, channels), "int32")
    ratio = divide_by_root(xp, centred, root, reciprocal=reciprocal)
    return requantize(xp, ratio, gain, offset, shift=shift, dtype=dtype)
