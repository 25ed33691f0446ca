"""What a realisation of the arithmetic provides, and the ranges of element types."""

from __future__ import annotations

from collections.abc import Callable
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
    "int20": (-(2**19), 2**19 - 1),
    "int32": (-(2**31), 2**31 - 1),
}
"""Range of a result by dtype. uint4 and uint6 are uint8 tensors with fewer levels; int20 is an
int32 tensor, the residual stream of models with a few very large values."""

STORAGE = {"uint4": "uint8", "uint6": "uint8", "int20": "int32"}
"""The element type that holds a dtype of fewer bits."""


class Immediate:
    """What realisations have in common that compute at once."""

    def share(self, function: Callable[..., Value], *values: Value) -> Value:
        return function(self, *values)


class Primitives(Protocol):
    """What a realisation of the arithmetic must provide, besides ``+ - * < <= >=`` of its values.

    All operate element-wise with NumPy broadcasting unless said otherwise. Operands of a binary
    operator have one dtype; Python integers take the dtype of the other operand.
    """

    def share(self, function: Callable[..., Value], *values: Value) -> Value:
        """``function(self, *values)`` of int64 values, which may be written down once."""

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

    def arange(self, like: Value, axis: int) -> Value:
        """0, 1, ... up to the size of an axis of ``like``, int32 [size]."""

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
        """Zeros before and after, for every axis; int32."""
