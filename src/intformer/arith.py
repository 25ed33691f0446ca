"""The integer arithmetic of intformer: the definition of what every program computes.

Each function is written once over a small set of integer primitives (``xp``), so that the same text
runs on NumPy arrays (the reference), on torch tensors (the forward pass of training), on integer
intervals (the proof that nothing overflows) and on graph nodes (the ONNX artifact). Hand-written
kernels are held to it by ``==``. ``docs/arithmetic.md`` derives it from first principles.

Conventions. 8-bit activations are ``uint8`` with a zero point; weights are ``int8``; accumulators
are ``int32``; the residual stream is ``int16``. Rounding happens once per result, to nearest with
ties towards plus infinity: ``(x + 2^(s-1)) >> s`` with a floor shift; the ``2^(s-1)`` is part of an
``offset`` that the lowering computes. ``min``, ``max`` and ``clip`` are used on ``int32`` alone,
division only with a positive divisor. Every range these functions rely on is proved by
``intformer.ir.verify``.
"""

from __future__ import annotations

from typing import Any, Protocol

Value = Any
"""An integer tensor of whatever kind ``xp`` works on, with ``+``, ``-``, ``*`` and comparisons."""

Scalar = Any
"""A Python integer, or an attribute of a graph operator that stands for one."""

SATURATION = {
    "uint4": (0, 15),
    "uint6": (0, 63),
    "uint8": (0, 255),
    "int8": (-128, 127),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
}
"""Range of a result by dtype; uint4 and uint6 are uint8 tensors with fewer levels."""

STORAGE = {"uint4": "uint8", "uint6": "uint8"}
"""The element type that holds a dtype of fewer bits."""

NORM_BITS = 12
"""Fraction bits of a normalised value (zero mean, unit variance) inside the normalisations."""

NORM_LIMIT = 2 ** (NORM_BITS + 7)
"""Largest normalised magnitude: 128 standard deviations; a row of C values cannot exceed √(C-1)."""

EXP_BITS = 8
"""Fraction bits of the base-2 exponent inside the softmax."""

EXP_STEPS = 9 << EXP_BITS
"""Exponents of 9 octaves and more have weight 0: 255·2^-9 rounds to 0."""

EXP_SCALE = 21
"""Fraction bits of a softmax weight before rounding to 8 bits."""

EXP_CONSTANT, EXP_LINEAR, EXP_QUADRATIC = 255 << EXP_SCALE, 1403781, 1412
"""255·2^(-f/256) ≈ (EXP_CONSTANT - f·(EXP_LINEAR - f·EXP_QUADRATIC)) / 2^21 for f in 0..255."""


class Primitives(Protocol):
    """What a realisation of the arithmetic must provide, besides ``+ - * < <= >=`` of its values.

    All operate element-wise with NumPy broadcasting unless said otherwise. Operands of a binary
    operator have one dtype; Python integers take the dtype of the other operand.
    """

    def cast(self, x: Value, dtype: str) -> Value:
        """Change the element type; the value must fit (proved, never wrapped)."""

    def pow2(self, s: Scalar) -> Scalar:
        """2**s for 0 <= s <= 62."""

    def floor_shift(self, x: Value, s: Scalar) -> Value:
        """floor(x / 2**s) of an int32 or int64 ``x`` with |x| < 2**62."""

    def floor_divide(self, x: Value, y: Value) -> Value:
        """floor(x / y) for x >= 0 and y > 0, same dtype (int32 or int64)."""

    def minimum(self, x: Value, y: Value) -> Value:
        """Element-wise minimum, int32."""

    def maximum(self, x: Value, y: Value) -> Value:
        """Element-wise maximum, int32."""

    def where(self, condition: Value, x: Value, y: Value) -> Value:
        """x where condition holds, else y."""

    def sum(self, x: Value, axis: int) -> Value:
        """Sum over one axis, kept as 1, in the dtype of x (int32 or int64)."""

    def max(self, x: Value, axis: int) -> Value:
        """Maximum over one axis, kept as 1, int32."""

    def argmax(self, x: Value, axis: int) -> Value:
        """int64 index of the first maximum over one axis, which is removed."""

    def lookup(self, table: Value, index: Value) -> Value:
        """table[index] for a 1-D table; ``index`` is any integer within it."""

    def rows(self, table: Value, index: Value) -> Value:
        """table[index, :] for a 2-D table: shape of index + (columns,)."""

    def leading_rows(self, table: Value, like: Value) -> Value:
        """table[None, :like.shape[1], :]."""

    def matmul(self, a: Value, b: Value, a_zero: Scalar, b_zero: Scalar) -> Value:
        """(a - a_zero) @ (b - b_zero) as int32, exact; a and b are uint8 or int8."""

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        """Reshape; 0 copies a dimension, -1 infers one."""

    def transpose(self, x: Value, perm: tuple[int, ...]) -> Value:
        """Permute axes."""

    def slice(self, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
        """x[..., start:stop:step, ...] along ``axis``."""

    def concat(self, xs: list[Value], axis: int) -> Value:
        """Join along ``axis``."""

    def repeat_batch(self, x: Value, like: Value) -> Value:
        """Repeat the leading dimension of 1 to that of ``like``."""

    def pad(self, x: Value, axis_pads: dict[int, tuple[int, int]]) -> Value:
        """Zeros before and after, by axis; int32."""


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


def integer_sqrt(xp: Primitives, x: Value, bits: int) -> Value:
    """floor(√x) for an int64 x with 0 <= x < 4**bits, bit by bit from the top."""
    root = x - x
    for bit in reversed(range(bits)):
        candidate = root + 2**bit
        root = xp.where(candidate * candidate <= x, candidate, root)
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
    root = xp.cast(xp.maximum(root, 2 ** max(reciprocal - 30, 0)), "int64")
    inverse = xp.floor_divide(xp.floor_shift(root, 1) + 2**reciprocal, root)
    drop = reciprocal - NORM_BITS
    ratio = xp.floor_shift(xp.cast(centred, "int64") * inverse + 2 ** (drop - 1), drop)
    narrow = xp.cast(ratio, "int32")
    return xp.minimum(xp.maximum(narrow, -NORM_LIMIT), NORM_LIMIT)


def norm_constants(channels: int) -> tuple[int, int]:
    """(bits of the root, fraction bits of its reciprocal) for rows of int16 values."""
    size = (channels - 1).bit_length()
    return 16 + size, 28 + size


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
) -> Value:
    """LayerNorm over the last axis of int16 ``x`` [..., C], C <= 8192.

    With d = C·x - Σx and V = C·Σx² - (Σx)² = C²·variance (both exact), the normalised value is
    d / √(V + eps), where eps = ε·C²/scale². ``gain`` int32 and ``offset`` int64 per channel carry
    gamma, beta, the output scale and zero point. (Ba et al., arXiv 1607.06450; exact root as
    opposed to the fixed-start Newton iteration of I-ViT, section 3.4.)
    """
    bits, reciprocal = norm_constants(channels)
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
) -> Value:
    """RMSNorm over the last axis of int16 ``x`` [..., C]: C·x / √(C·Σx² + eps), else layer_norm."""
    bits, reciprocal = norm_constants(channels)
    wide = xp.cast(x, "int64")
    energy = xp.sum(wide * wide, -1) * channels
    centred = xp.cast(x, "int32") * channels
    ratio = normalize(xp, centred, energy, eps=eps, bits=bits, reciprocal=reciprocal)
    return requantize(xp, ratio, gain, offset, shift=shift, dtype=dtype)


def exp2_weight(xp: Primitives, exponent: Value) -> Value:
    """round(255·2^(-exponent/256)) for an int32 exponent in 0..EXP_STEPS, as uint8.

    The fraction goes through a quadratic (error below 0.24 %), the octave is a shift.
    """
    octave = xp.floor_shift(exponent, EXP_BITS)
    fraction = exponent - octave * (1 << EXP_BITS)
    curve = EXP_CONSTANT - fraction * (EXP_LINEAR - fraction * EXP_QUADRATIC)
    half = xp.lookup(powers_of_two(EXP_SCALE - 1, EXP_SCALE + 8), octave)
    twice = xp.floor_divide(curve, half)
    return xp.cast(xp.floor_shift(twice + 1, 1), "uint8")


def powers_of_two(first: int, last: int) -> list[int]:
    """[2**first, ..., 2**last] as a small constant table."""
    return [2**e for e in range(first, last + 1)]


def softmax_weights(
    xp: Primitives, scores: Value, *, limit: Scalar, multiplier: Scalar, shift: Scalar
) -> Value:
    """Unnormalised uint8 softmax weights of int32 scores over the last axis; the largest is 255.

    exponent = (min(max - score, limit)·multiplier + 2^(shift-1)) >> shift in 1/256 octaves;
    ``limit`` is the distance at which weights vanish and keeps the product inside int32.
    """
    distance = xp.minimum(xp.max(scores, -1) - scores, limit)
    half = xp.pow2(shift - 1)
    exponent = xp.floor_shift(distance * multiplier + half, shift)
    return exp2_weight(xp, xp.minimum(exponent, EXP_STEPS))


def attention(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None = None,
    *,
    heads: int,
    q_zero: Scalar,
    k_zero: Scalar,
    v_zero: Scalar,
    limit: Scalar,
    multiplier: Scalar,
    exp_shift: Scalar,
    gain: Scalar,
    offset: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """Multi-head softmax attention of uint8 q [N,T,E], k [N,S,E], v [N,S,E] -> [N,T,E].

    Weights stay unnormalised; after P·V each row is divided once by their sum:
    ``clip((acc·floor(gain / Σw) + offset) >> shift)``. The largest weight is 255, so Σw >= 255: the
    ``maximum`` changes nothing and lets intervals prove the division. ``mask`` uint8 [N,S] drops
    keys with 0, whose weight is then exactly 0: padding never changes a result. A row that keeps no
    key at all averages the values of all.
    """
    queries = split_heads(xp, q, heads, (0, 2, 1, 3))
    keys = split_heads(xp, k, heads, (0, 2, 3, 1))
    values = split_heads(xp, v, heads, (0, 2, 1, 3))
    scores = xp.matmul(queries, keys, q_zero, k_zero)
    if mask is not None:
        keep = xp.cast(xp.reshape(mask, (0, 1, 1, -1)), "int32") >= 1
        scores = xp.where(keep, scores, scores - scores - 2**30)
    weights = softmax_weights(xp, scores, limit=limit, multiplier=multiplier, shift=exp_shift)
    total = xp.cast(xp.maximum(xp.sum(xp.cast(weights, "int32"), -1), 255), "int64")
    mixed = xp.cast(xp.matmul(weights, values, 0, v_zero), "int64")
    inverse = xp.floor_divide(total - total + gain, total)
    result = saturate(xp, xp.floor_shift(mixed * inverse + offset, shift), dtype)
    return xp.reshape(xp.transpose(result, (0, 2, 1, 3)), (0, 0, -1))


def split_heads(xp: Primitives, x: Value, heads: int, perm: tuple[int, ...]) -> Value:
    """[N,T,H·D] -> [N,T,H,D] -> transposed by ``perm``."""
    return xp.transpose(xp.reshape(x, (0, 0, heads, -1)), perm)


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
    if padding != (0, 0):
        level = xp.cast(pad, "int32")
        around = {1: (padding[0],) * 2, 2: (padding[1],) * 2}
        x = xp.cast(xp.pad(xp.cast(x, "int32") - level, around) + level, "uint8")
    height, width = (s + 2 * p for s, p in zip(size, padding, strict=True))
    rows, columns = (height - kernel[0]) // stride[0], (width - kernel[1]) // stride[1]
    windows = []
    for i in range(kernel[0]):
        band = xp.slice(x, 1, i, i + rows * stride[0] + 1, stride[0])
        for j in range(kernel[1]):
            windows.append(xp.slice(band, 2, j, j + columns * stride[1] + 1, stride[1]))
    return windows[0] if len(windows) == 1 else xp.concat(windows, -1)
