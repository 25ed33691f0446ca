"""Local graph rewriting: a pattern looks at one node and replaces it with an equal expression."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from intformer.frontend.build import Builder
from intformer.frontend.shapes import is_vector
from intformer.ir.graph import Array, Graph, Node

Pattern = Callable[["Rewriter", Node], str | None]
"""Returns the value that replaces the node's output, or ``None`` if the pattern does not apply."""


class Rewriter(Builder):
    """A builder that inserts nodes before the one being rewritten and answers who uses what."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self._refresh()

    def _refresh(self) -> None:
        self._producers = self.graph.producers()
        self._consumers = self.graph.consumers()
        self._outputs = set(self.graph.outputs.values())

    def producer(self, value: str, *ops: str) -> Node | None:
        """The node that makes ``value``, if it is one of ``ops`` (any operator if none given)."""
        node = self._producers.get(value)
        return node if node is not None and (not ops or node.op in ops) else None

    def sole(self, value: str, *ops: str) -> Node | None:
        """Like :meth:`producer`, but only if nothing except one node reads ``value``."""
        alone = len(self._consumers.get(value, [])) == 1 and value not in self._outputs
        return self.producer(value, *ops) if alone else None

    def users(self, value: str) -> list[Node]:
        """The nodes that read ``value``."""
        return self._consumers.get(value, [])

    def vector(self, value: str) -> Array | None:
        """The contents of a constant that varies along the last axis only, as a 1-D array."""
        array = self.array(value)
        if array is None or array.ndim == 0 or not is_vector(array.shape):
            return None
        return array.reshape(-1)

    def sides(self, node: Node) -> list[tuple[str, str]]:
        """The inputs of a commutative node in both orders."""
        a, b = node.inputs
        return [(a, b), (b, a)]

    def parameter(self, like: str, array: Array) -> str:
        """A new constant with the name of an old one, which it replaces if that has no other use.

        Folding keeps parameter names this way: a scaled ``proj.weight`` is still ``proj.weight``.
        """
        if len(self.users(like)) == 1:
            del self.graph.constants[like], self.graph.types[like]
        return self.constant(like, array)

    def apply(self, patterns: Sequence[Pattern]) -> None:
        """Apply patterns until none applies any more."""
        changed = True
        while changed:
            changed = False
            for pattern in patterns:
                changed |= self._sweep(pattern)

    def _sweep(self, pattern: Pattern) -> bool:
        changed = False
        for node in list(self.graph.nodes):
            if self._producers.get(node.output) is node:
                changed |= self._rewrite(pattern, node)
        return changed

    def _rewrite(self, pattern: Pattern, node: Node) -> bool:
        self.position = next(i for i, n in enumerate(self.graph.nodes) if n is node)
        self.path = node.name
        value = pattern(self, node)
        self.position = None
        if value is None:
            return False
        assert self.shape(value) == self.shape(node.output), (pattern, node)
        self._substitute(node.output, value)
        return True

    def _substitute(self, old: str, new: str) -> None:
        graph = self.graph
        for node in graph.nodes:
            if old in node.inputs:
                node.inputs = tuple(new if x == old else x for x in node.inputs)
        graph.outputs = {k: new if v == old else v for k, v in graph.outputs.items()}
        graph.prune()
        self._refresh()
