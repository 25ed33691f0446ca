"""The integer primitives on intervals: runs the arithmetic on ranges instead of numbers.

Running an operator here infers dtype and shape of its result and proves, from the actual constants,
that no sum, product, shift or cast leaves its range. A bound is one number or one per channel (the
last axis). All numbers are Python integers: the proof itself cannot overflow. What depends on
constants alone is computed: its value is then known as well as its range.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from intformer.arith import Immediate
from intformer.errors import VerifyError
from intformer.ir import shapes
from intformer.ir.graph import INTEGER_RANGES, Array, Dim, Shape

Bound = Any
"""A Python int, or an object array of Python ints along the last axis."""


def _exact(array: Array) -> Bound:
    """``array`` as Python integers (an object array), so that arithmetic on it is unbounded."""
    return array.astype(object)


def _exact_bound(bound: Bound) -> Bound:
    """``bound`` as Python integers, alone or in an object array: NumPy scalars would wrap."""
    if type(bound) is int:
        return bound
    return _exact(bound) if np.ndim(bound) else int(bound)


def lesser(a: Bound, b: Bound) -> Bound:
    """Element-wise minimum in Python integers."""
    if type(a) is type(b) is int:
        return min(a, b)
    return np.minimum(a, b, dtype=object)


def greater(a: Bound, b: Bound) -> Bound:
    """Element-wise maximum in Python integers."""
    if type(a) is type(b) is int:
        return max(a, b)
    return np.maximum(a, b, dtype=object)


class Interval:
    """A tensor of which only dtype, shape and range are known.

    Attributes:
        dtype, shape: of the tensor.
        low, high: bounds, inclusive.
        least, most: those of all channels.
        value: the tensor itself where it is a constant.
        origin: what relation produced it: ``("max", x)``, ``("at least", x, bound)``,
            ``("at most", x, bound)``, ``("shifted", x, s)`` for x >> s or ``("floored", x, s)``
            for (x >> s)·2^s.
    """

    def __init__(
        self,
        dtype: str,
        shape: Shape,
        low: Bound,
        high: Bound,
        value: Array | None = None,
        origin: tuple[Any, ...] = (),
    ) -> None:
        self.dtype, self.shape, self.value, self.origin = dtype, shape, value, origin
        self.low, self.high = _exact_bound(low), _exact_bound(high)
        self.least = self.low if type(self.low) is int else int(self.low.min())
        self.most = self.high if type(self.high) is int else int(self.high.max())
        least, most = INTEGER_RANGES[dtype]
        if self.least < least or self.most > most:
            raise VerifyError(
                f"a value in [{self.least}, {self.most}] does not fit {dtype} [{least}, {most}]"
            )

    @classmethod
    def constant(cls, array: Array) -> Interval:
        """The exact interval of a constant, per channel of its last axis."""
        axes = tuple(range(array.ndim - 1))
        low, high = (array.min(axis=axes), array.max(axis=axes)) if array.ndim else (array, array)
        return cls(str(array.dtype), array.shape, _exact(low), _exact(high), array)

    def flat(self) -> tuple[int, int]:
        """The range over all channels."""
        return self.least, self.most

    def __add__(self, other: Interval | int) -> Interval:
        right = self.coerce(other)
        return self._result(right, self.low + right.low, self.high + right.high, np.add)

    __radd__ = __add__

    def __sub__(self, other: Interval | int) -> Interval:
        if other is self:
            return Interval(self.dtype, self.shape, 0, 0)
        right = self.coerce(other)
        if right.origin[:1] == ("floored",) and right.origin[1] is self:
            return Interval(self.dtype, self.shape, 0, 2 ** right.origin[2] - 1)
        low, high = self.low - right.high, self.high - right.low
        if self.origin[:1] == ("max",) and self.origin[1] is other:
            low = greater(low, 0)
        return self._result(right, low, high, np.subtract)

    def __rsub__(self, other: int) -> Interval:
        return self.coerce(other) - self

    def __mul__(self, other: Interval | int) -> Interval:
        right = self.coerce(other)
        low, high = product_range(self.low, self.high, right.low, right.high)
        if other is self:
            low = greater(low, 0)
        result = self._result(right, low, high, np.multiply)
        if self.origin[:1] == ("shifted",) and right.flat() == (2 ** self.origin[2],) * 2:
            result.origin = ("floored", *self.origin[1:])
        return result

    __rmul__ = __mul__

    def __ge__(self, other: int) -> Interval:
        return self._compared(other, ("at least", self, other))

    def __le__(self, other: Interval | int) -> Interval:
        return self._compared(other, ("at most", self, other))

    def __lt__(self, other: Interval | int) -> Interval:
        return self._compared(other, ("at most", self, other))

    def coerce(self, other: Interval | int) -> Interval:
        """``other`` as an interval of this dtype; raises where two dtypes would mix."""
        if not isinstance(other, Interval):
            single = Interval(self.dtype, (), int(other), int(other))
            single.value = np.array(int(other), self.dtype)
            return single
        if other.dtype != self.dtype:
            raise VerifyError(f"operands of dtypes {self.dtype} and {other.dtype} cannot mix")
        return other

    def _result(self, other: Interval, low: Bound, high: Bound, function: Any) -> Interval:
        result = Interval(self.dtype, shapes.broadcast(self.shape, other.shape), low, high)
        return folded(result, function, self, other)

    def _compared(self, other: Interval | int, origin: tuple[Any, ...]) -> Interval:
        right = self.coerce(other)
        shape = shapes.broadcast(self.shape, right.shape)
        return Interval("bool", shape, 0, 1, origin=origin)


def folded(result: Interval, function: Callable[..., Array], *operands: Interval) -> Interval:
    """``result``, or the very value of ``function`` where all operands have one.

    The range of ``result`` was checked before, so that computing it cannot wrap.
    """
    arrays = [operand.value for operand in operands if operand.value is not None]
    if len(arrays) < len(operands):
        return result
    return Interval.constant(np.asarray(function(*arrays), result.dtype))


def product_range(al: Bound, ah: Bound, bl: Bound, bh: Bound) -> tuple[Bound, Bound]:
    """Range of a product from the ranges of its factors."""
    corners = (al * bl, al * bh, ah * bl, ah * bh)
    low = high = corners[0]
    for corner in corners[1:]:
        low, high = lesser(low, corner), greater(high, corner)
    return low, high


class IntervalPrimitives(Immediate):
    """Realises ``intformer.arith.Primitives`` on intervals.

    ``limits`` gives the largest value of each symbolic dimension.
    """

    def __init__(self, limits: dict[str, int]) -> None:
        self.limits = limits

    def size(self, dim: Dim) -> int:
        """The largest size ``dim`` may have."""
        if isinstance(dim, int):
            return dim
        if dim not in self.limits:
            raise VerifyError(f"dimension {dim} needs a limit: nothing bounds sums over it")
        return self.limits[dim]

    def cast(self, x: Interval, dtype: str) -> Interval:
        value = None if x.value is None else x.value.astype(dtype)
        return Interval(dtype, x.shape, x.low, x.high, value)

    def pow2(self, s: int) -> int:
        if not 0 <= s <= 62:
            raise VerifyError(f"shift {s} is outside [0, 62]")
        return 1 << s

    def floor_shift(self, x: Interval, s: int) -> Interval:
        self.pow2(s)
        if max(abs(x.least), abs(x.most)) >= 2**62:
            raise VerifyError(f"a shifted value in [{x.least}, {x.most}] must be below 2^62")
        low, high = x.low // (1 << s), x.high // (1 << s)
        result = Interval(x.dtype, x.shape, low, high, origin=("shifted", x, s))
        return folded(result, lambda array: array >> s, x)

    def floor_divide(self, x: Interval, y: Interval) -> Interval:
        right = x.coerce(y)
        if right.least <= 0:
            raise VerifyError(f"a divisor in [{right.least}, {right.most}] may not be positive")
        if x.least < 0:
            raise VerifyError(f"a dividend in [{x.least}, {x.most}] may be negative")
        shape = shapes.broadcast(x.shape, right.shape)
        result = Interval(x.dtype, shape, x.low // right.high, x.high // right.low)
        return folded(result, np.floor_divide, x, right)

    def minimum(self, x: Interval, y: Interval | int) -> Interval:
        return self._extreme(x, y, lesser)

    def maximum(self, x: Interval, y: Interval | int) -> Interval:
        return self._extreme(x, y, greater)

    def _extreme(self, x: Interval, y: Interval | int, function: Any) -> Interval:
        right = x.coerce(y)
        _require_int32(x)
        shape = shapes.broadcast(x.shape, right.shape)
        result = Interval("int32", shape, function(x.low, right.low), function(x.high, right.high))
        return folded(result, np.minimum if function is lesser else np.maximum, x, right)

    def where(self, condition: Interval, x: Interval, y: Interval) -> Interval:
        low, high, right = x.low, x.high, x.coerce(y)
        if condition.origin[:1] == ("at least",) and condition.origin[1] is x:
            low = greater(low, condition.origin[2])
        if condition.origin[:1] == ("at most",) and condition.origin[1] is x:
            high = lesser(high, x.coerce(condition.origin[2]).high)
        shape = shapes.broadcast(condition.shape, shapes.broadcast(x.shape, right.shape))
        lowest, highest = lesser(low, right.low), greater(high, right.high)
        return Interval(x.dtype, shape, lowest, highest)

    def sum(self, x: Interval, axis: int) -> Interval:
        axis = shapes.axis_of(x.shape, axis)
        shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        if axis == len(x.shape) - 1 and np.size(x.low) > 1 and np.size(x.high) > 1:
            return Interval(x.dtype, shape, int(np.sum(x.low)), int(np.sum(x.high)))
        count = self.size(x.shape[axis])
        bounds = x.flat() if axis == len(x.shape) - 1 else (x.low, x.high)
        low, high = (lesser(bounds[0] * count, bounds[0]), bounds[1] * count)
        return Interval(x.dtype, shape, low, greater(high, bounds[1]))

    def max(self, x: Interval, axis: int) -> Interval:
        axis = shapes.axis_of(x.shape, axis)
        _require_int32(x)
        shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        return Interval("int32", shape, *x.flat(), origin=("max", x))

    def argmax(self, x: Interval, axis: int) -> Interval:
        axis = shapes.axis_of(x.shape, axis)
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        return Interval("int64", shape, 0, self.size(x.shape[axis]) - 1)

    def lookup(self, table: Interval | list[int], index: Interval) -> Interval:
        if isinstance(table, list):
            entries, dtype = np.array(table, dtype=object), index.dtype
        else:
            entries, dtype = _exact(_concrete(table)), table.dtype
        low, high = _within(index, len(entries), "table")
        reach = entries[low : high + 1]
        return Interval(dtype, index.shape, min(reach), max(reach))

    def rows(self, table: Interval, index: Interval) -> Interval:
        low, high = _within(index, _concrete(table).shape[0], "rows of a table")
        entries = _concrete(table)
        reach = Interval.constant(entries[low : high + 1])
        result = Interval(table.dtype, (*index.shape, table.shape[1]), reach.low, reach.high)
        return folded(result, lambda array: entries[array], index)

    def leading_rows(self, table: Interval, like: Interval) -> Interval:
        length = like.shape[1]
        if self.size(length) > self.size(table.shape[0]):
            raise VerifyError(
                f"{self.size(length)} positions, but a table of {table.shape[0]} rows"
            )
        return Interval(table.dtype, (1, length, table.shape[1]), table.low, table.high)

    def arange(self, like: Interval, axis: int) -> Interval:
        dim = like.shape[shapes.axis_of(like.shape, axis)]
        return Interval("int32", (dim,), 0, self.size(dim) - 1)

    def matmul(self, a: Interval, b: Interval, a_zero: int, b_zero: int) -> Interval:
        for operand in (a, b):
            if operand.dtype not in ("uint8", "int8"):
                raise VerifyError(f"matmul takes 8-bit operands, got {operand.dtype}")
        shape = shapes.matmul(a.shape, b.shape)
        if b.value is not None and b.value.ndim == 2:
            low, high = _weighted(a, b.value, a_zero, b_zero)
        else:
            count = self.size(a.shape[-1])
            left, right = (
                (a.least - a_zero, a.most - a_zero),
                (b.least - b_zero, b.most - b_zero),
            )
            least, most = product_range(*left, *right)
            low, high = min(least, 0) * count, max(most, 0) * count
        return Interval("int32", shape, low, high)

    def reshape(self, x: Interval, shape: tuple[int, ...]) -> Interval:
        result = shapes.reshape(x.shape, shape)
        if x.value is not None:
            return Interval.constant(x.value.reshape([int(d) for d in result]))
        bounds = (x.low, x.high) if result[-1] == x.shape[-1] else x.flat()
        return Interval(x.dtype, result, *bounds)

    def transpose(self, x: Interval, perm: tuple[int, ...]) -> Interval:
        if sorted(perm) != list(range(len(x.shape))):
            raise VerifyError(f"{perm} is not a permutation of {len(x.shape)} axes")
        bounds = (x.low, x.high) if perm[-1] == len(perm) - 1 else x.flat()
        result = Interval(x.dtype, tuple(x.shape[p] for p in perm), *bounds)
        return folded(result, lambda array: array.transpose(perm), x)

    def slice(self, x: Interval, axis: int, start: int, stop: int, step: int = 1) -> Interval:
        shape = shapes.sliced(x.shape, axis, start, stop, step)
        if x.value is not None:
            return Interval.constant(x.value.take(range(start, stop, step), axis))
        if axis % len(x.shape) != len(x.shape) - 1:
            return Interval(x.dtype, shape, x.low, x.high)
        low, high = (b[start:stop:step] if np.size(b) > 1 else b for b in (x.low, x.high))
        return Interval(x.dtype, shape, low, high)

    def concat(self, xs: list[Interval], axis: int) -> Interval:
        if len({x.dtype for x in xs}) != 1:
            raise VerifyError("concat needs operands of one dtype")
        shape = shapes.concat([x.shape for x in xs], axis)
        values = [x.value for x in xs if x.value is not None]
        if len(values) == len(xs):
            return Interval.constant(np.concatenate(values, axis))
        last = axis % len(shape) == len(shape) - 1
        lows = [x.least if last else x.low for x in xs]
        highs = [x.most if last else x.high for x in xs]
        low, high = lows[0], highs[0]
        for other_low, other_high in zip(lows[1:], highs[1:], strict=True):
            low, high = lesser(low, other_low), greater(high, other_high)
        return Interval(xs[0].dtype, shape, low, high)

    def repeat_batch(self, x: Interval, like: Interval) -> Interval:
        if x.shape[:1] != (1,):
            raise VerifyError(f"repeat_batch needs a leading dimension of 1, got {x.shape}")
        return Interval(x.dtype, (like.shape[0], *x.shape[1:]), x.low, x.high)

    def pad(self, x: Interval, axis_pads: dict[int, tuple[int, int]]) -> Interval:
        shape = tuple(
            dim if not any(axis_pads.get(axis, (0, 0))) else self.size(dim) + sum(axis_pads[axis])
            for axis, dim in enumerate(x.shape)
        )
        return Interval(x.dtype, shape, lesser(x.low, 0), greater(x.high, 0))


def _require_int32(x: Interval) -> None:
    if x.dtype != "int32":
        raise VerifyError(f"minimum and maximum are defined on int32, got {x.dtype}")


def _concrete(x: Interval) -> Array:
    if x.value is None:
        raise VerifyError("a table must be a constant")
    return x.value


def _within(index: Interval, count: int, what: str) -> tuple[int, int]:
    low, high = index.flat()
    if low < 0 or high >= count:
        raise VerifyError(f"index in [{low}, {high}] reaches outside the {count} {what}")
    return low, high


_TOGETHER = 2**20
"""Weights whose bounds are computed together: on the way there they take 8 bytes each."""


def _weighted(x: Interval, weight: Array, x_zero: int, zero: int) -> tuple[Bound, Bound]:
    """Exact range of Σ_k (x_k - x_zero)·(w_ko - zero) for actual 8-bit weights, by channel."""
    step = max(1, _TOGETHER // len(weight))
    blocks = (weight[:, first : first + step] for first in range(0, weight.shape[1], step))
    factors = (block.astype(np.int16) - zero if zero else block for block in blocks)
    bounds = [_weighted_block(x, part, x_zero) for part in factors]
    low, high = (np.concatenate(parts) for parts in zip(*bounds, strict=True))
    return _exact(low), _exact(high)


def _weighted_block(x: Interval, factors: Array, x_zero: int) -> tuple[Array, Array]:
    """As ``_weighted``, for the ``factors`` of some channels, of 8 bits or int16; int64.

    int64 is wide enough: 9-bit factors and K < 2^45. Where all inputs have one range, the sums of
    the positive and of the negative weights are all that is needed.
    """
    if np.size(x.low) == np.size(x.high) == 1 or _uniform(x):
        low, high = x.least - x_zero, x.most - x_zero
        zeros = np.zeros(factors.shape[1], factors.dtype)  # NumPy is slow with a scalar here
        positive = _column_sums(np.maximum(factors, zeros))
        negative = _column_sums(factors) - positive
        return low * positive + high * negative, high * positive + low * negative
    lows, highs = (np.asarray(bound - x_zero, dtype=np.int64) for bound in (x.low, x.high))
    wide = factors.astype(np.int64)
    up, down = np.maximum(wide, 0), np.minimum(wide, 0)
    lows, highs = (np.broadcast_to(bound, len(wide)) for bound in (lows, highs))
    return lows @ up + highs @ down, highs @ up + lows @ down


def _column_sums(factors: Array) -> Array:
    """Σ_k of factors [K, O] of at most 9 bits, int64 [O]."""
    wide = np.int32 if len(factors) < 2**22 else np.int64
    sums: Array = np.einsum("ko->o", factors, dtype=wide, casting="unsafe")  # faster than sum()
    return sums.astype(np.int64)


def _uniform(x: Interval) -> bool:
    """Whether every channel has the same range."""
    return bool(np.all(x.low == x.least) and np.all(x.high == x.most))


def elements(shape: Shape, limits: dict[str, int]) -> int:
    """The largest number of elements a tensor of ``shape`` can have, symbols without limit as 1."""
    return math.prod(d if isinstance(d, int) else limits.get(d, 1) for d in shape)
