"""The integer primitives as ONNX nodes: running an operator's arithmetic here writes its graph.

What many bodies repeat (a floor shift, a step of a root) is a function of its own that they call.

Only what is exact in ONNX Runtime, and elsewhere where integers are integers, is used: products of
8-bit matrices are uint8 by uint8 (other pairings saturate on some processors), minima and maxima
are int32, divisions have positive operands, and a floor shift is a division of a number made
positive.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np

from intformer.artifact.emitter import Emitter, Value, name_result, short_names
from intformer.artifact.messages import encoded_function
from intformer.artifact.schema import DOMAIN

RESULT = "result"
"""The output of every function."""

LARGEST = 62
"""Numbers to be shifted are below 2**62 in magnitude."""


def power_of_two(xp: OnnxPrimitives, s: Value) -> Value:
    """2**s, from a table."""
    powers = xp.emitter.constant([1 << i for i in range(LARGEST + 1)], "int64")
    return xp.emitter.node("Gather", [powers, s], "int64", scalar=True, axis=0)


def floor_shift(xp: OnnxPrimitives, x: Value, s: Value | int) -> Value:
    """Division truncates; a multiple of 2**s added to make x positive turns it into a floor."""
    quotient = xp.emitter.binary("Div", x + (1 << LARGEST), xp.pow2(s))
    return quotient - xp.pow2(LARGEST - s)


class OnnxPrimitives:
    """Realises ``intformer.arith.Primitives`` on ``Value``."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter

    def _axes(self, *axes: int) -> Value:
        return self.emitter.constant(axes, "int64")

    def cast(self, x: Value, dtype: str) -> Value:
        return self.emitter.cast(x, dtype)

    def share(self, function: Callable[..., Value], *values: Value | int) -> Value:
        """A call of a function that holds it; in a flat graph its nodes."""
        emitter, name = self.emitter, function.__name__
        if emitter.inlines:
            return function(self, *values)
        if name not in emitter.functions:
            self._write(function)
        called = [v if isinstance(v, Value) else emitter.constant(v, "int64") for v in values]
        scalar = all(not isinstance(v, Value) or v.scalar for v in values)
        return emitter.node(name, called, "int64", scalar=scalar, domain=DOMAIN)

    def _write(self, function: Callable[..., Value]) -> None:
        """Add the function of this format that computes ``function`` of int64 operands."""
        name, parameters = function.__name__, list(signature(function).parameters)[1:]
        body = Emitter(short_names({RESULT, *parameters}))
        operands = [Value(body, parameter, "int64") for parameter in parameters]
        name_result(body, function(OnnxPrimitives(body), *operands), RESULT)
        self.emitter.functions |= body.functions
        self.emitter.functions[name] = encoded_function(name, parameters, RESULT, [], body.nodes)

    def pow2(self, s: Value | int) -> Value | int:
        return self.share(power_of_two, s) if isinstance(s, Value) else 1 << s

    def floor_shift(self, x: Value, s: Value | int) -> Value:
        wide = self.share(floor_shift, self.cast(x, "int64"), s)
        return self.cast(wide, str(x.dtype))

    def floor_divide(self, x: Value, y: Value) -> Value:
        return self.emitter.binary("Div", x, y)

    def minimum(self, x: Value, y: Any) -> Value:
        return self.emitter.binary("Min", x, y)

    def maximum(self, x: Value, y: Any) -> Value:
        return self.emitter.binary("Max", x, y)

    def where(self, condition: Value, x: Value, y: Any) -> Value:
        return self.emitter.node("Where", [condition, x, self.emitter.operand(y, x)], x.dtype)

    def sum(self, x: Value, axis: int) -> Value:
        return self.emitter.node("ReduceSum", [x, self._axes(axis)], x.dtype, keepdims=1)

    def max(self, x: Value, axis: int) -> Value:
        return self.emitter.node("ReduceMax", [x, self._axes(axis)], x.dtype, keepdims=1)

    def argmax(self, x: Value, axis: int) -> Value:
        return self.emitter.node("ArgMax", [x], "int64", axis=axis, keepdims=0)

    def lookup(self, table: Value | list[int], index: Value) -> Value:
        """On the flattened index: the fast way in ONNX Runtime."""
        if isinstance(table, list):
            table = self.emitter.constant(table, str(index.dtype))
        wide = index if index.dtype == "int64" else self.cast(index, "int32")
        flat = self.emitter.node("GatherElements", [table, self.reshape(wide, (-1,))], table.dtype)
        shape = self.emitter.node("Shape", [index], "int64")
        return self.emitter.node("Reshape", [flat, shape], table.dtype)

    def rows(self, table: Value, index: Value) -> Value:
        return self.emitter.node("Gather", [table, index], table.dtype, axis=0)

    def leading_rows(self, table: Value, like: Value) -> Value:
        length = self.emitter.node("Shape", [like], "int64", start=1, end=2)
        zero = self._axes(0)
        top = self.emitter.node("Slice", [table, zero, length, zero], table.dtype)
        return self.emitter.node("Unsqueeze", [top, zero], table.dtype)

    def arange(self, like: Value, axis: int) -> Value:
        """``Range`` takes scalars: the size is a ``Gather`` of the shape with a scalar index."""
        shape = self.emitter.node("Shape", [like], "int64")
        index, zero, one = (self.emitter.constant(n, "int64") for n in (axis, 0, 1))
        size = self.emitter.node("Gather", [shape, index], "int64", axis=0)
        return self.cast(self.emitter.node("Range", [zero, size, one], "int64"), "int32")

    def matmul(self, a: Value, b: Value, a_zero: Any, b_zero: Any) -> Value:
        left, left_zero = self._unsigned(a, a_zero)
        right, right_zero = self._unsigned(b, b_zero)
        return self.emitter.node("MatMulInteger", [left, right, left_zero, right_zero], "int32")

    def _unsigned(self, x: Value, zero: Any) -> tuple[Value, Value]:
        """An 8-bit operand and its zero point as uint8: int8 values are raised by 128."""
        if x.dtype == "int8":
            x, zero = self._raised(x), zero + 128
        if isinstance(zero, Value):
            return x, self.cast(zero, "uint8")
        return x, self.emitter.constant(zero, "uint8")

    def _raised(self, x: Value) -> Value:
        if x.array is not None:
            return self.emitter.constant(x.array.astype(np.int16) + 128, "uint8")
        return self.cast(self.cast(x, "int32") + 128, "uint8")

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        return self.emitter.node("Reshape", [x, self._axes(*shape)], x.dtype)

    def transpose(self, x: Value, perm: tuple[int, ...]) -> Value:
        return self.emitter.node("Transpose", [x], x.dtype, perm=perm)

    def slice(self, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
        numbers = (start, stop, axis) if step == 1 else (start, stop, axis, step)
        bounds = [self._axes(number) for number in numbers]
        return self.emitter.node("Slice", [x, *bounds], x.dtype)

    def concat(self, xs: list[Value], axis: int) -> Value:
        return self.emitter.node("Concat", xs, xs[0].dtype, axis=axis)

    def repeat_batch(self, x: Value, like: Value) -> Value:
        batch = self.emitter.node("Shape", [like], "int64", start=0, end=1)
        rest = self.emitter.node("Shape", [x], "int64", start=1)
        shape = self.concat([batch, rest], 0)
        return self.emitter.node("Expand", [x, shape], x.dtype)

    def pad(self, x: Value, axis_pads: dict[int, tuple[int, int]]) -> Value:
        """All axes are named: ONNX Runtime mistakes ``axes`` when it moves transpositions."""
        before, after = zip(*axis_pads.values(), strict=True)
        inputs = [x, self._axes(*before, *after), self.emitter.constant(0, "int32")]
        assert list(axis_pads) == list(range(len(axis_pads)))
        return self.emitter.node("Pad", inputs, x.dtype)
