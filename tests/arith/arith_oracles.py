"""The arithmetic once more, value by value, in Python integers: what tests hold ``arith`` to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from intformer.quantize.torch_primitives import TorchPrimitives, tensor
from intformer.reference.primitives import NumpyPrimitives

RANGES = {
    "uint4": (0, 15),
    "uint6": (0, 63),
    "uint8": (0, 255),
    "int8": (-128, 127),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
}


def edges(dtype: str, limit: int | None = None) -> list[int]:
    """Range ends, zero, and every power of two with its neighbours, of both signs."""
    low, high = RANGES[dtype]
    if limit is not None:
        low, high = max(low, -limit), min(high, limit)
    powers = {s * (2**e) + d for e in range(63) for s in (1, -1) for d in (-1, 0, 1)}
    return sorted(v for v in powers | {0, low, high} if low <= v <= high)


def run(function: Callable[..., Any], *operands: Any, **attrs: Any) -> np.ndarray:
    """``function`` with NumPy, after checking that torch computes the same bytes."""
    result = np.asarray(function(NumpyPrimitives(), *operands, **attrs))
    tensors = [tensor(x) if isinstance(x, np.ndarray) else x for x in operands]
    other = function(TorchPrimitives(), *tensors, **attrs).numpy()
    assert (result.dtype, result.shape) == (other.dtype, other.shape)
    assert (result == other).all()
    return result


def clip(value: int, dtype: str) -> int:
    low, high = RANGES[dtype]
    return min(max(value, low), high)


def nearest(value: Fraction) -> int:
    """To the nearest integer, ties upwards."""
    return math.floor(value + Fraction(1, 2))


def rescaled(total: int, shift: int, dtype: str) -> int:
    return clip(math.floor(Fraction(total, 2**shift)), dtype)


def smallest_shift(total: int) -> int:
    """The least shift that brings magnitudes up to ``total`` into int32."""
    return max(1, total.bit_length() - 31)


def normalized(centred: list[int], energy: int, eps: int, channels: int) -> list[int]:
    """centred / √(energy + eps) with 12 fraction bits, limited to ±128."""
    size = math.ceil(math.log2(channels)) if channels > 1 else 0
    bits = 28 + size
    root = max(math.isqrt(energy + eps), 2 ** max(bits - 30, 0))
    inverse = nearest(Fraction(2**bits, root))
    ratios = [nearest(Fraction(d * inverse, 2 ** (bits - 12))) for d in centred]
    return [min(max(r, -(2**19)), 2**19) for r in ratios]


def norm_row(
    row: list[int],
    gain: list[int],
    offset: list[int],
    eps: int,
    shift: int,
    dtype: str,
    *,
    rms: bool,
) -> list[int]:
    channels = len(row)
    total = 0 if rms else sum(row)
    centred = [channels * x - total for x in row]
    energy = channels * sum(x * x for x in row) - total * total
    ratios = normalized(centred, energy, eps, channels)
    return [rescaled(r * g + o, shift, dtype) for r, g, o in zip(ratios, gain, offset, strict=True)]


def exp2_weight(exponent: int) -> int:
    """255·2^(-exponent/256) by the quadratic of the specification, rounded once."""
    octave, f = divmod(exponent, 256)
    curve = 255 * 2**21 - 1403781 * f + 1412 * f * f
    return nearest(Fraction(curve, 2 ** (21 + octave)))


def softmax_weights(scores: list[int], limit: int, multiplier: int, shift: int) -> list[int]:
    top = max(scores)
    weights = []
    for score in scores:
        exponent = nearest(Fraction(min(top - score, limit) * multiplier, 2**shift))
        weights.append(exp2_weight(min(exponent, 9 * 256)))
    return weights


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None, **attrs: Any
) -> np.ndarray:
    """Loops over images, heads, queries, keys and channels."""
    result = np.zeros(q.shape, object)
    size = q.shape[2] // attrs["heads"]
    for n, head, t in np.ndindex(q.shape[0], attrs["heads"], q.shape[1]):
        part = slice(head * size, (head + 1) * size)
        keep = None if mask is None else [int(m) for m in mask[n]]
        result[n, t, part] = _attend(
            [int(x) - attrs["q_zero"] for x in q[n, t, part]],
            [[int(x) - attrs["k_zero"] for x in row] for row in k[n, :, part]],
            [[int(x) - attrs["v_zero"] for x in row] for row in v[n, :, part]],
            keep,
            attrs,
        )
    return result


def _attend(
    q: list[int],
    k: list[list[int]],
    v: list[list[int]],
    keep: list[int] | None,
    attrs: dict[str, Any],
) -> list[int]:
    scores = [sum(a * b for a, b in zip(q, key, strict=True)) for key in k]
    if keep is not None:
        scores = [s if flag else -(2**30) for s, flag in zip(scores, keep, strict=True)]
    weights = softmax_weights(scores, attrs["limit"], attrs["multiplier"], attrs["exp_shift"])
    inverse = attrs["gain"] // sum(weights)
    mixed = [sum(w * row[i] for w, row in zip(weights, v, strict=True)) for i in range(len(q))]
    return [rescaled(m * inverse + attrs["offset"], attrs["shift"], attrs["dtype"]) for m in mixed]


def patches(
    x: np.ndarray,
    pad: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> np.ndarray:
    """Each window read pixel by pixel; channels vary fastest, then columns."""
    n, height, width, channels = x.shape
    rows = (height + 2 * padding[0] - kernel[0]) // stride[0] + 1
    columns = (width + 2 * padding[1] - kernel[1]) // stride[1] + 1
    result = np.zeros((n, rows, columns, kernel[0], kernel[1], channels), np.uint8)
    for image, r, c, i, j in np.ndindex(n, rows, columns, *kernel):
        y, z = r * stride[0] + i - padding[0], c * stride[1] + j - padding[1]
        inside = 0 <= y < height and 0 <= z < width
        result[image, r, c, i, j] = x[image, y, z] if inside else pad
    return result.reshape(n, rows, columns, -1)


def values(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random values over the whole range of ``dtype``, a few replaced by its edges."""
    rng = np.random.default_rng(seed)
    low, high = RANGES[dtype]
    array = rng.integers(low, high, shape, dtype=dtype, endpoint=True)
    special = rng.random(shape) < 0.1
    array[special] = rng.choice(np.array(edges(dtype), dtype), special.sum())
    return array


def rows_of(array: np.ndarray) -> Iterator[list[int]]:
    """The last axis of every row as Python integers."""
    for row in array.reshape(-1, array.shape[-1]):
        yield [int(v) for v in row]
