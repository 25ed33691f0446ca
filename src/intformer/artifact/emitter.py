"""Collects ONNX nodes of one graph or function body, and the functions that these call."""

from __future__ import annotations

from collections.abc import Callable, Container
from hashlib import sha256
from itertools import count, product
from string import ascii_lowercase
from typing import Any

import numpy as np

from intformer.artifact.messages import OnnxNode, Reference
from intformer.artifact.schema import ELEMENT_TYPES
from intformer.ir.graph import Array


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

    def __floordiv__(self, other: int) -> Value:
        return self.emitter.binary("Div", self, other)

    def __ge__(self, other: Any) -> Value:
        return self.emitter.binary("GreaterOrEqual", self, other, "bool")

    def __le__(self, other: Any) -> Value:
        return self.emitter.binary("LessOrEqual", self, other, "bool")

    def __lt__(self, other: Any) -> Value:
        return self.emitter.binary("Less", self, other, "bool")


class Emitter:
    """Collects nodes and constants of one graph or function body.

    Args:
        name: makes the name of a node's output.
        store: keeps a constant and returns its name (an initializer); without it a ``Constant``
            node is written, the only form a function can hold.

    Attributes:
        nodes: in order.
        functions: name -> message of each function that nodes call; none with ``store``.
    """

    def __init__(
        self,
        name: Callable[[], str],
        store: Callable[[Array], str] | None = None,
    ) -> None:
        self.nodes: list[OnnxNode] = []
        self.functions: dict[str, bytes] = {}
        self._name, self._store = name, store
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}

    @property
    def inlines(self) -> bool:
        """Whether there are no functions to call."""
        return self._store is not None

    def node(
        self,
        op: str,
        inputs: list[Value],
        dtype: str | None,
        *,
        scalar: bool = False,
        domain: str = "",
        **attrs: Any,
    ) -> Value:
        """Append one node and return its output."""
        output, names = self._name(), [x.name for x in inputs]
        self.nodes.append(OnnxNode(op, names, [output], dict(sorted(attrs.items())), domain))
        return Value(self, output, dtype, scalar=scalar)

    def constant(self, content: Any, dtype: str) -> Value:
        """A constant tensor; equal ones are written once."""
        array = np.asarray(content, dtype)
        key = (dtype, array.shape, sha256(array.tobytes()).digest())
        if key not in self._constants:
            self._constants[key] = self._write_constant(array, dtype)
        return self._constants[key]

    def _write_constant(self, array: Array, dtype: str) -> Value:
        if self._store is not None:
            return Value(self, self._store(array), dtype, array=array)
        if dtype == "int64" and array.ndim == 0:
            return self.node("Constant", [], dtype, value_int=int(array))
        if dtype == "int64" and array.ndim == 1:
            return self.node("Constant", [], dtype, value_ints=tuple(array.tolist()))
        return self.node("Constant", [], dtype, value=array)

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


def short_names(taken: Container[str]) -> Callable[[], str]:
    """Makes names for inner results: a, b, ..., z, aa, ... but for those in ``taken``."""
    words = ("".join(w) for n in count(1) for w in product(ascii_lowercase, repeat=n))
    free = (word for word in words if word not in taken)
    return lambda: next(free)


def name_result(emitter: Emitter, result: Value, name: str) -> None:
    """Give the value ``result`` the name ``name``."""
    made = {output for node in emitter.nodes for output in node.outputs}
    if result.name not in made:
        result = emitter.node("Identity", [result], result.dtype)
    for node in emitter.nodes:
        for names in (node.inputs, node.outputs):
            for index, other in enumerate(names):
                if other == result.name:
                    names[index] = name
