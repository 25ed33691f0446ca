"""The integer primitives as ONNX nodes: running an operator's arithmetic here writes its graph.

Only what is exact in ONNX Runtime, and elsewhere where integers are integers, is used: products of
8-bit matrices are uint8 by uint8 (other pairings saturate on some processors), minima and maxima
are int32, divisions have positive operands, and a floor shift is a division of a number made
positive.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np

from intformer.artifact.messages import OnnxNode, Reference
from intformer.artifact.schema import ELEMENT_TYPES
from intformer.ir.graph import Array

LARGEST = 62
"""Numbers to be shifted are below 2**62 in magnitude."""


class Value:
    """A tensor of the graph being written.

    Attributes:
        name: of the tensor.
        dtype: element type, None for an operand that may have several. Arithmetic needs a dtype,
            so a function body cannot depend on which one the operand has.
        scalar: it stands for a number (a dynamic attribute or what was computed from one) and takes
            the dtype of the tensor it meets.
        array: the content, where it is a constant known while writing.
    """

    def __init__(
        self,
        emitter: Emitter,
        name: str,
        dtype: str | None,
        *,
        scalar: bool = False,
        array: Array | None = None,
    ) -> None:
        self.emitter, self.name, self.dtype = emitter, name, dtype
        self.scalar, self.array = scalar, array

    def __add__(self, other: Any) -> Value:
        return self.emitter.binary("Add", self, other)

    def __radd__(self, other: int) -> Value:
        return self.emitter.binary("Add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.emitter.binary("Sub", self, other)

    def __rsub__(self, other: int) -> Value:
        return self.emitter.binary("Sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.emitter.binary("Mul", self, other)

    def __rmul__(self, other: int) -> Value:
        return self.emitter.binary("Mul", other, self)

    def __ge__(self, other: Any) -> Value:
        return self.emitter.binary("GreaterOrEqual", self, other, "bool")

    def __le__(self, other: Any) -> Value:
        return self.emitter.binary("LessOrEqual", self, other, "bool")

    def __lt__(self, other: Any) -> Value:
        return self.emitter.binary("Less", self, other, "bool")


class Emitter:
    """Collects nodes and constants of one graph or function body.

    Args:
        name: makes the name of a node's output from its operator.
        store: keeps a constant and returns its name (an initializer); without it a ``Constant``
            node is written, the only form a function can hold.
    """

    def __init__(
        self,
        name: Callable[[str], str],
        store: Callable[[Array], str] | None = None,
    ) -> None:
        self.nodes: list[OnnxNode] = []
        self._name, self._store = name, store
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}

    def node(
        self, op: str, inputs: list[Value], dtype: str | None, *, scalar: bool = False, **attrs: Any
    ) -> Value:
        """Append one node and return its output."""
        output = self._name(op)
        self.nodes.append(
            OnnxNode(op, [x.name for x in inputs], [output], dict(sorted(attrs.items())))
        )
        return Value(self, output, dtype, scalar=scalar)

    def constant(self, content: Any, dtype: str) -> Value:
        """A constant tensor; equal ones are written once."""
        array = np.asarray(content, dtype)
        key = (dtype, array.shape, sha256(array.tobytes()).digest())
        if key not in self._constants:
            self._constants[key] = self._write_constant(array, dtype)
        return self._constants[key]

    def _write_constant(self, array: Array, dtype: str) -> Value:
        if self._store is None:
            return self.node("Constant", [], dtype, value=array)
        return Value(self, self._store(array), dtype, array=array)

    def symbol(self, attribute: str) -> Value:
        """The value of a function's attribute, a scalar."""
        return self.node("Constant", [], "int64", scalar=True, value_int=Reference(attribute))

    def cast(self, x: Value, dtype: str) -> Value:
        """``x`` as ``dtype``; nothing is written where it is known to have it."""
        if x.dtype == dtype:
            return x
        return self.node("Cast", [x], dtype, scalar=x.scalar, to=ELEMENT_TYPES[dtype])

    def binary(self, op: str, x: Any, y: Any, dtype: str | None = None) -> Value:
        """A binary operator; a number or scalar takes the dtype of the tensor it meets."""
        left, right = self.operand(x, y), self.operand(y, x)
        if left.dtype is None or left.dtype != right.dtype:
            raise TypeError(f"{op} of {left.dtype} and {right.dtype}")
        scalar = all(not isinstance(z, Value) or z.scalar for z in (x, y))
        return self.node(op, [left, right], dtype or left.dtype, scalar=scalar)

    def operand(self, x: Any, other: Any) -> Value:
        """``x`` as a tensor that can meet ``other``."""
        kind = other.dtype if isinstance(other, Value) else "int64"
        if kind is None:
            raise TypeError(f"operand '{other.name}' may have several dtypes: cast it first")
        if not isinstance(x, Value):
            return self.constant(x, kind)
        tensor = isinstance(other, Value) and not other.scalar
        return self.cast(x, kind) if x.scalar and tensor else x


class OnnxPrimitives:
    """Realises ``intformer.arith.Primitives`` on ``Value``."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter

    def _axes(self, *axes: int) -> Value:
        return self.emitter.constant(axes, "int64")

    def cast(self, x: Value, dtype: str) -> Value:
        return self.emitter.cast(x, dtype)

    def pow2(self, s: Value | int) -> Value | int:
        if not isinstance(s, Value):
            return 1 << s
        powers = self.emitter.constant([1 << i for i in range(LARGEST + 1)], "int64")
        return self.emitter.node("Gather", [powers, s], "int64", scalar=True, axis=0)

    def floor_shift(self, x: Value, s: Value | int) -> Value:
        """Division truncates; a multiple of 2**s added to make x positive turns it into a floor."""
        lifted = self.cast(x, "int64") + (1 << LARGEST)
        quotient = self.emitter.binary("Div", lifted, self.pow2(s))
        return self.cast(quotient - self.pow2(LARGEST - s), str(x.dtype))

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
        bounds = [self._axes(number) for number in (start, stop, axis, step)]
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
