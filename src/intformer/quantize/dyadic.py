"""Real scale ratios as dyadic numbers ``multiplier / 2^shift``."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from intformer.errors import IntformerError

T = TypeVar("T", bound=np.generic)

MULTIPLIER_BITS = 30
LARGEST_SHIFT = 31
"""Keeps products of int32 factors below 2^61; kernels can take 32 result bits at once."""


def shift_for(*ratios: NDArray[np.float64] | float) -> int:
    """The largest shift at which every ``ratio·2^shift`` stays below 2^30.

    Raises:
        IntformerError: a ratio is not finite or too large to be a scale ratio.
    """
    largest = max(float(np.max(np.abs(r))) for r in ratios)
    if not math.isfinite(largest) or largest >= 2 ** (MULTIPLIER_BITS - 1):
        raise IntformerError(f"scale ratio {largest} cannot be expressed as an integer multiplier")
    if largest == 0:
        return LARGEST_SHIFT
    return max(1, min(LARGEST_SHIFT, MULTIPLIER_BITS - math.frexp(largest)[1]))


def dyadic_scale(scale: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """The next larger b / 2^c with b of ``bits`` bits, of each positive scale."""
    _, exponent = np.frexp(scale)
    step = np.ldexp(1.0, exponent - bits)
    return np.asarray(np.ceil(scale / step) * step)


def multipliers(ratio: NDArray[np.float64] | float, shift: int) -> NDArray[np.int32]:
    """round(ratio·2^shift) as an int32 vector of one value or one per channel."""
    scaled = np.floor(np.atleast_1d(np.asarray(ratio, np.float64)) * 2.0**shift + 0.5)
    return _compact(scaled.astype(np.int32))


def offsets(
    zero_point: int, shift: int, addend: NDArray[np.float64] | float = 0.0
) -> NDArray[np.int64]:
    """zero_point·2^shift + 2^(shift-1) + round(addend·2^shift): what is added before the shift."""
    extra = np.floor(np.atleast_1d(np.asarray(addend, np.float64)) * 2.0**shift + 0.5)
    return _compact(extra.astype(np.int64) + (zero_point << shift) + (1 << (shift - 1)))


def _compact(vector: NDArray[T]) -> NDArray[T]:
    return vector[:1] if (vector == vector[0]).all() else vector
