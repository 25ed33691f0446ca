"""Scales of all values, from the histograms that calibration collected."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from intformer.ir.float_ops import NORMS, UNARY
from intformer.ir.graph import Graph, Node
from intformer.quantize.algorithms.clipping import Function, choose_affine, signal_to_noise
from intformer.quantize.dyadic import dyadic_scale
from intformer.quantize.lowering.unary import LINEAR_ABOVE, apply
from intformer.quantize.massive import needs_20_bits
from intformer.quantize.observers import Histogram
from intformer.quantize.params import Affine, Decisions
from intformer.quantize.recipe import Recipe

FEWEST_LEVELS, MOST_LEVELS = 2**13 - 1, 2**15 - 1
"""Largest magnitude of a promoted value that linear layers read, over 4096 inputs and over few."""

MEAN_WEIGHT = 80
"""No layer's weights are larger than this on average, as integers of 8 bits."""

GATE_REACH = 1.5
"""A gate is evaluated in two parts if it reaches this many times beyond its bend."""

MEAN_BITS = 10
"""Bits below the step of a value that its mean may have."""


DB_PER_BIT = 20 * math.log10(2)
"""What each bit less costs any value."""


@dataclass
class Ranges:
    """Chooses scales; ``roots`` says which values share one, the histograms are by root.

    ``variances`` (by root) are mean variances of channels, where they are known.
    """

    graph: Graph
    recipe: Recipe
    roots: dict[str, str]
    narrow: dict[str, Histogram]
    wide: dict[str, Histogram]
    progress: Callable[[str, int, int], None]
    variances: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.producers = self.graph.producers()
        self.consumers = self.graph.consumers()

    def choose(self) -> Decisions:
        """Narrow and wide scales, values kept at 16 bits and activations evaluated in two parts."""
        decisions = Decisions(streams={root: self._stream(root) for root in self.wide})
        for node in self.graph:
            if node.op in ("mean", "scale"):
                self._bound(node, decisions)
        for index, root in enumerate(self.narrow):
            self.progress("choosing ranges", index + 1, len(self.narrow))
            decisions.activations[root] = self._activation(root, float("inf"))
        for node in self.graph:
            if node.op in UNARY:
                self._widen(node, decisions)
            elif node.op == "mul" or (node.op in NORMS and self._read_by_tied(node.output)):
                self._promote(self.roots[node.output], decisions)
        if self.recipe.scale_bits:
            for table in (decisions.streams, decisions.activations):
                table.update({root: self._dyadic(affine) for root, affine in table.items()})
        return decisions

    def _dyadic(self, affine: Affine) -> Affine:
        scale = dyadic_scale(np.array(affine.scale), self.recipe.scale_bits)
        return replace(affine, scale=float(scale))

    def _stream(self, root: str) -> Affine:
        """Symmetric; outputs of the program always have 16 bits."""
        outputs = {self.roots[value] for value in self.graph.outputs.values()}
        bits: int = 16 if root in outputs else self.recipe.residual_bits
        if bits == 16 and root not in outputs and self._is_massive(root):
            bits = 20
        return Affine(self._largest(root, self.wide) / (2 ** (bits - 1) - 1), 0, f"int{bits}")

    def _is_massive(self, root: str) -> bool:
        producer, alone = self.producers.get(root), list(self.roots.values()).count(root) == 1
        seen = self.wide[root]
        return alone and needs_20_bits(self.graph, producer, self.readers(root), seen, self.recipe)

    def _bound(self, node: Node, decisions: Decisions) -> None:
        """Steps no finer than the values averaged can tell: a mean of 0 has no range of its own."""
        root, source = self.roots[node.output], self.roots[node.inputs[0]]
        if root in decisions.streams and source in decisions.streams:
            factor = abs(node.number("factor")) if node.op == "scale" else 1
            least = decisions.streams[source].scale * factor / 2**MEAN_BITS
            kept = decisions.streams[root]
            decisions.streams[root] = replace(kept, scale=max(kept.scale, least))

    def _largest(self, root: str, seen: dict[str, Histogram]) -> float:
        extent = max(abs(seen[root].low), abs(seen[root].high), 1e-9)
        return extent * self.recipe.residual_margin

    def _activation(self, root: str, ceiling: float) -> Affine:
        readers = self.readers(root)
        names = [node.name for node in readers] or [root]
        bits = max(self.recipe.for_layer(name, "activation_bits") for name in names)
        return choose_affine(
            self.narrow[root],
            min(bits, 8),
            self.recipe.for_layer(names[0], "observer"),
            self.recipe.percentile,
            _function(readers),
            ceiling,
        )

    def _widen(self, node: Node, decisions: Decisions) -> None:
        """Give the result of an activation function 16 bits where 8 would lose too much.

        It happens with massive activations: a few values tens of times larger than the rest. The
        function is then evaluated in two parts, see ``lowering.unary``.
        """
        root, source = self.roots[node.output], self.roots[node.inputs[0]]
        promoted = self._promote(root, decisions)
        bend = LINEAR_ABOVE.get(node.op)
        if bend is None or not (promoted or self._is_gate(root)):
            return
        least = bend if promoted else GATE_REACH * bend
        if self.narrow[source].high <= least or not self._is_own_linear(source):
            return
        decisions.activations[source] = self._activation(source, bend)
        decisions.splits[node.output] = self.narrow[source].high * self.recipe.residual_margin

    def _promote(self, root: str, decisions: Decisions) -> bool:
        """Give a value that linear layers alone read 16 bits if 8 lose too much, or have none."""
        if root in self.narrow and self._is_too_coarse(root, decisions.activations[root]):
            del decisions.activations[root]
            self.wide[root] = self.narrow[root]
        if root in decisions.activations or not self._only_linear(root):
            return False
        scale = self._largest(root, self.wide) / self._levels(root)
        decisions.streams[root] = Affine(scale, 0, "int16")
        return True

    def _levels(self, root: str) -> int:
        """Largest magnitude with which sums of products fit 32 bits."""
        weights = [self.graph.constants[node.inputs[1]] for node in self.readers(root)]
        depth = max(int(weight.shape[1]) for weight in weights)
        return min(max(2**31 // (MEAN_WEIGHT * depth), FEWEST_LEVELS), MOST_LEVELS)

    def _is_gate(self, root: str) -> bool:
        """Whether products alone read the value."""
        readers = self.readers(root)
        return bool(readers) and all(node.op == "mul" for node in readers)

    def _read_by_tied(self, value: str) -> bool:
        """Whether a layer reads the value whose weights are an embedding's too."""
        layers = [node for node in self.consumers.get(value, []) if node.op == "linear"]
        return any(len(self.consumers[node.inputs[1]]) > 1 for node in layers)

    def _is_too_coarse(self, root: str, affine: Affine) -> bool:
        """Whether more is lost than its bits explain; a channel that never changes is no signal."""
        most = 2 * self.variances.get(root, math.inf)
        limit = self.recipe.promote_below_db - DB_PER_BIT * (8 - int(affine.dtype[4:]))
        return self._only_linear(root) and signal_to_noise(self.narrow[root], affine, most) < limit

    def _only_linear(self, root: str) -> bool:
        readers = self.readers(root)
        return bool(readers) and all(node.op == "linear" for node in readers)

    def _is_own_linear(self, value: str) -> bool:
        producer = self.producers.get(value)
        alone = len(self.consumers.get(value, [])) == 1
        return producer is not None and producer.op == "linear" and alone

    def readers(self, root: str) -> list[Node]:
        """The nodes that compute with a value of this group (not those that only move it)."""
        group = {value for value, r in self.roots.items() if r == root}
        readers = [node for value in sorted(group) for node in self.consumers.get(value, [])]
        return [node for node in readers if node.output not in group]


def _function(readers: list[Node]) -> Function | None:
    """The element-wise function that alone reads a value, if there is one."""
    if len(readers) == 1 and readers[0].op in UNARY:
        return lambda x: apply(readers[0], x)
    return None
