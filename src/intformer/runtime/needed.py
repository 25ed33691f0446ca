"""Computes only the rows that anything reads: a slice moves in front of what it cuts.

A classifier reads one token of its last block. Rows of a linear layer, a normalisation or a
residual do not depend on each other, and those of attention depend on their own query alone, so
that queries, output projection and MLP of that block need one row each; keys and values stay
whole. The bytes of the outputs are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from intformer.ir.graph import Graph, Node, TensorType
from intformer.ir.shapes import sliced

FIRST_OPERAND = {
    *("requantize", "table", "linear", "linear16", "shift_gelu"),
    *("layer_norm", "rms_norm", "l1_norm", "newton_norm", "layer_norm20", "rms_norm20"),
}
"""Operators whose result has the rows of their first operand, each computed from it alone."""

BOTH_OPERANDS = {"add", "multiply"}
"""Operators of two values, either of which may be broadcast."""

QUERIES = {"attention", "shift_attention", "quadratic_attention", "log2_attention"}
"""Attention whose queries, [N, T, C], see all keys: each row needs its own query."""


@dataclass(frozen=True)
class Span:
    """Rows ``start`` to ``stop`` of ``axis``, the only ones that are read."""

    axis: int
    start: int
    stop: int


def only_needed_rows(graph: Graph) -> Graph:
    """``graph`` with its slices as early as they can be; it is not changed itself."""
    made = _Backwards(graph)
    for node in reversed(graph.nodes):
        span = made.read_of(node)
        operands = _operands_to_cut(made.graph.types, node, span) if span else []
        if span is None or not operands:
            made.add(node)
        else:
            made.add_cut(node, span, operands)
    return made.finished()


class _Backwards:
    """The new nodes from the last to the first, and who reads a value."""

    def __init__(self, graph: Graph) -> None:
        self.graph = replace(graph, types=dict(graph.types))
        self._public = set(graph.outputs.values())
        self._nodes: list[Node | None] = []
        self._readers: dict[str, list[int]] = {}
        self._same: dict[str, str] = {}

    def add(self, node: Node) -> None:
        for value in dict.fromkeys(node.inputs):
            self._readers.setdefault(value, []).append(len(self._nodes))
        self._nodes.append(node)

    def read_of(self, node: Node) -> Span | None:
        """What slices read of a result, if nothing else reads it and that is not all of it."""
        shape, readers = self.graph.types[node.output].shape, list(self._slices(node.output))
        if node.output in self._public or len(readers) != len(self._readers.get(node.output, [])):
            return None
        parts = [_span(reader, len(shape)) for _, reader in readers]
        if len({part.axis for part in parts}) != 1:
            return None
        start, stop = min(p.start for p in parts), max(p.stop for p in parts)
        axis = parts[0].axis
        return None if (start, stop) == (0, shape[axis]) else Span(axis, start, stop)

    def _slices(self, value: str) -> Iterator[tuple[int, Node]]:
        for index in self._readers.get(value, []):
            node = self._nodes[index]
            if node is not None and node.op == "slice":
                yield index, node

    def add_cut(self, node: Node, span: Span, operands: list[tuple[int, int]]) -> None:
        """The node on the rows of ``span`` alone, its readers moved, and slices in front of it."""
        self._cut_type(node.output, node.output, span)
        for index, reader in self._slices(node.output):
            self._nodes[index] = self._moved(node.output, reader, span)
        inputs, before = list(node.inputs), []
        for position, axis in operands:
            part = self._new_slice(node.inputs[position], replace(span, axis=axis))
            inputs[position] = part.output
            before.append(part)
        self.add(replace(node, inputs=tuple(inputs)))
        for part in before:
            self.add(part)

    def _moved(self, value: str, reader: Node, span: Span) -> Node | None:
        """A slice that counts from the first row of ``span``; None if it reads all of that."""
        own = _span(reader, len(self.graph.types[value].shape))
        if (own.start, own.stop) == (span.start, span.stop):
            self._same[reader.output] = value
            return None
        moved = {"start": own.start - span.start, "stop": own.stop - span.start}
        return replace(reader, attrs={**reader.attrs, **moved})

    def _new_slice(self, value: str, span: Span) -> Node:
        name = self.graph.fresh(f"{value}.rows")
        self._cut_type(name, value, span)
        attrs = {"axis": span.axis, "start": span.start, "stop": span.stop}
        return Node("slice", (value,), (name,), dict(attrs), value)

    def _cut_type(self, name: str, of: str, span: Span) -> None:
        kind = self.graph.types[of]
        shape = sliced(kind.shape, span.axis, span.start, span.stop, 1)
        self.graph.types[name] = TensorType(kind.dtype, shape)

    def finished(self) -> Graph:
        """What was made, in order of execution."""
        nodes = [
            replace(node, inputs=tuple(self._same.get(value, value) for value in node.inputs))
            for node in reversed(self._nodes)
            if node is not None
        ]
        named = self.graph.outputs.items()
        outputs = {name: self._same.get(value, value) for name, value in named}
        return replace(self.graph, nodes=nodes, outputs=outputs)


def _span(node: Node, rank: int) -> Span:
    axis, start, stop = (cast(int, node.attrs[key]) for key in ("axis", "start", "stop"))
    return Span(axis % rank, start, stop)


def _operands_to_cut(types: dict[str, TensorType], node: Node, span: Span) -> list[tuple[int, int]]:
    """(position, axis) of the operands that lose rows; none if the slice has to stay behind."""
    rank = len(types[node.output].shape)
    if not 0 < span.axis < rank - 1:
        return []
    if node.op in FIRST_OPERAND:
        return [(0, span.axis)]
    if node.op in QUERIES:
        return [(0, 1)] if (rank, span.axis) == (3, 1) else []
    if node.op not in BOTH_OPERANDS:
        return []
    axes = [span.axis - rank + len(types[name].shape) for name in node.inputs[:2]]
    return [
        (position, axis)
        for position, axis in enumerate(axes)
        if axis >= 0 and types[node.inputs[position]].shape[axis] != 1
    ]
