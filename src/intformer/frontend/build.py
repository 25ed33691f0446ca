"""Writing float-stage graphs: typed nodes, constants and the shape operators without no-ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from intformer.errors import CaptureError
from intformer.frontend import shapes
from intformer.ir.graph import Array, Attribute, Graph, Node, Shape, TensorType

BATCH_LIMIT = 4096
"""Largest batch that a graph declares."""


class Builder:
    """Appends nodes to a float graph and infers their types.

    ``path`` is the module that new nodes are said to come from. ``position`` is the index where
    nodes are inserted; ``None`` appends.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.path = ""
        self.position: int | None = None

    def emit(self, op: str, *inputs: str, path: str | None = None, **attrs: Attribute) -> str:
        """Add a node and return the name of its output.

        Raises:
            CaptureError: the inputs do not fit; the text names the module.
        """
        return self.emit_with(op, inputs, attrs, path)

    def emit_with(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Mapping[str, Attribute],
        path: str | None = None,
    ) -> str:
        """:meth:`emit` with inputs and attributes as collections."""
        path = self.path if path is None else path
        try:
            type_ = shapes.infer(op, [self.graph.types[x] for x in inputs], attrs)
        except CaptureError as error:
            raise CaptureError(f"{path or op}: {error}") from error
        output = self.graph.fresh(f"{path}.{op}" if path else op)
        node = Node(op, tuple(inputs), (output,), dict(attrs), path)
        self.graph.types[output] = type_
        if self.position is None:
            self.graph.nodes.append(node)
        else:
            self.graph.nodes.insert(self.position, node)
            self.position += 1
        return output

    def constant(self, name: str, array: Any) -> str:
        """Store a constant; floating-point arrays become float32."""
        array = np.asarray(array)
        if np.issubdtype(array.dtype, np.floating):
            array = np.ascontiguousarray(array, np.float32)
        return self.graph.add_constant(name, array)

    def shape(self, value: str) -> Shape:
        """The symbolic shape of a value."""
        return self.graph.types[value].shape

    def array(self, value: str) -> Array | None:
        """The contents of a constant, ``None`` for a computed value."""
        return self.graph.constants.get(value)

    def scalar(self, value: str) -> float | None:
        """The number held by a constant of one element, ``None`` for anything else."""
        array = self.array(value)
        return float(array.item()) if array is not None and array.size == 1 else None

    def reshape(self, value: str, shape: Shape) -> str:
        """``value`` with the given symbolic shape; ``value`` itself if it has it."""
        source = self.shape(value)
        if source == shape:
            return value
        return self.emit("reshape", value, shape=shapes.reshape_attribute(source, shape))

    def transpose(self, value: str, perm: tuple[int, ...]) -> str:
        """``value`` with permuted axes; negative axes count from the end."""
        perm = tuple(axis % len(perm) for axis in perm)
        if perm == tuple(range(len(perm))):
            return value
        return self.emit("transpose", value, perm=perm)

    def slice(self, value: str, axis: int, start: int, stop: int) -> str:
        """``value[start:stop]`` along ``axis``, with Python's meaning of bounds."""
        axis %= len(self.shape(value))
        size = self.shape(value)[axis]
        if isinstance(size, int):
            start, stop, _ = slice(start, stop).indices(size)
        if start == 0 and stop >= (size if isinstance(size, int) else 2**31):
            return value
        return self.emit("slice", value, axis=axis, start=start, stop=stop)

    def select(self, value: str, axis: int, index: int) -> str:
        """``value[index]`` along ``axis``; the axis disappears."""
        shape = self.shape(value)
        axis %= len(shape)
        size = shape[axis]
        if index < 0:
            if not isinstance(size, int):
                raise CaptureError(f"{self.path}: index {index} of the variable dimension {size}")
            index += size
        piece = self.slice(value, axis, index, index + 1)
        return self.reshape(piece, (*shape[:axis], *shape[axis + 1 :]))

    def mean(self, value: str, axes: tuple[int, ...], keepdims: bool) -> str:
        """The mean over one axis, or over neighbouring fixed axes."""
        shape = self.shape(value)
        axes = tuple(sorted(axis % len(shape) for axis in axes))
        first, last = axes[0], axes[-1]
        if axes != tuple(range(first, last + 1)):
            raise CaptureError(f"{self.path}: mean over the separate axes {axes}")
        if first == last:
            return self.emit("mean", value, axis=first, keepdims=keepdims)
        flat = self.reshape(
            value, (*shape[:first], shapes.product(shape[first : last + 1]), *shape[last + 1 :])
        )
        result = self.emit("mean", flat, axis=first, keepdims=False)
        ones: Shape = (1,) * len(axes)
        return (
            self.reshape(result, (*shape[:first], *ones, *shape[last + 1 :]))
            if keepdims
            else result
        )

    def input(self, name: str, dtype: str, shape: Shape) -> str:
        """Declare a graph input."""
        self.graph.inputs[name] = self.graph.types[name] = TensorType(dtype, shape)
        return name
