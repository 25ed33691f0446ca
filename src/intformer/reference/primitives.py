"""The integer primitives on NumPy arrays: the definition, without any regard for speed but one.

The one exception is ``matmul``, which may use floating-point BLAS: products and sums of integers
below 2^24 (float32) or 2^53 (float64) in magnitude are exact in any order, and the bound is
computed from the operands before every call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from intformer.arith import Immediate

Array = NDArray[Any]


class NumpyPrimitives(Immediate):
    """Realises ``intformer.arith.Primitives`` on ``numpy.ndarray``."""

    def cast(self, x: Array, dtype: str) -> Array:
        return x.astype(dtype, copy=False)

    def pow2(self, s: int) -> int:
        return 1 << s

    def floor_shift(self, x: Array, s: int) -> Array:
        return x >> s

    def floor_divide(self, x: Array, y: Array) -> Array:
        return np.floor_divide(x, y)

    def minimum(self, x: Array, y: Array | int) -> Array:
        return np.minimum(x, y)

    def maximum(self, x: Array, y: Array | int) -> Array:
        return np.maximum(x, y)

    def where(self, condition: Array, x: Array, y: Array) -> Array:
        return np.where(condition, x, y)

    def sum(self, x: Array, axis: int) -> Array:
        return np.asarray(x.sum(axis=axis, keepdims=True, dtype=x.dtype))

    def max(self, x: Array, axis: int) -> Array:
        return np.asarray(x.max(axis=axis, keepdims=True))

    def argmax(self, x: Array, axis: int) -> Array:
        return np.asarray(x.argmax(axis=axis)).astype(np.int64)

    def lookup(self, table: Array | list[int], index: Array) -> Array:
        entries = np.asarray(table, index.dtype) if isinstance(table, list) else table
        return entries[index]

    def rows(self, table: Array, index: Array) -> Array:
        return table[index]

    def leading_rows(self, table: Array, like: Array) -> Array:
        return table[None, : like.shape[1]]

    def arange(self, like: Array, axis: int) -> Array:
        return np.arange(like.shape[axis], dtype=np.int32)

    def matmul(self, a: Array, b: Array, a_zero: int, b_zero: int) -> Array:
        """Exact int32 product through BLAS: float32 below 2^24, float64 otherwise (see module)."""
        left = a.astype(np.int16) - np.int16(a_zero)
        right = b.astype(np.int16) - np.int16(b_zero)
        kind = np.float32 if _product_bound(left, right) < 2**24 else np.float64
        product: Array = np.matmul(left.astype(kind), right.astype(kind)).astype(np.int32)
        return product

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        return x.reshape([x.shape[i] if d == 0 else d for i, d in enumerate(shape)])

    def transpose(self, x: Array, perm: tuple[int, ...]) -> Array:
        return x.transpose(perm)

    def slice(self, x: Array, axis: int, start: int, stop: int, step: int = 1) -> Array:
        index = [slice(None)] * x.ndim
        index[axis] = slice(start, stop, step)
        return x[tuple(index)]

    def concat(self, xs: list[Array], axis: int) -> Array:
        return np.concatenate(xs, axis)

    def repeat_batch(self, x: Array, like: Array) -> Array:
        return np.broadcast_to(x, (like.shape[0], *x.shape[1:]))

    def pad(self, x: Array, axis_pads: dict[int, tuple[int, int]]) -> Array:
        return np.pad(x, [axis_pads.get(axis, (0, 0)) for axis in range(x.ndim)])


def _product_bound(left: Array, right: Array) -> int:
    """No partial sum of left @ right exceeds this in magnitude."""
    if left.size == 0 or right.size == 0:
        return 0
    largest = int(np.abs(left).max())
    columns = np.abs(right).sum(axis=-2, dtype=np.int64)
    return largest * int(columns.max())
