"""Extremes of activations during training, the same on every process of a distributed run."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from intformer.ir.graph import Graph, Node
from intformer.quantize.groups import SHAPE_ONLY, needed_forms, share_scales
from intformer.quantize.params import Decisions


class RangeObserver:
    """Collects the extremes of one forward pass by group of values that share a scale."""

    def __init__(self, graph: Graph, decisions: Decisions) -> None:
        self.roots = share_scales(graph)
        self._scaled = {*decisions.activations, *decisions.streams}
        self._constants = frozenset(graph.constants)
        self._seen: dict[str, tuple[Tensor, Tensor]] = {}

    def note(self, node: Node, result: Tensor, *, active: bool) -> None:
        """Take the extremes of ``node``'s result, unless it merely moves values seen before."""
        root = self.roots[node.output]
        moves = node.op in SHAPE_ONLY and not self._constants & set(node.inputs)
        if not active or moves or root not in self._scaled:
            return
        low, high = torch.aminmax(result.detach())
        if root in self._seen:
            low = torch.minimum(low, self._seen[root][0])
            high = torch.maximum(high, self._seen[root][1])
        self._seen[root] = (low, high)

    def collected(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(root, low, high) of the pass over all processes; what was noted is forgotten."""
        if not self._seen:
            return
        roots, seen = list(self._seen), list(self._seen.values())
        self._seen = {}
        extremes = torch.stack([torch.stack([low, -high]) for low, high in seen])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(extremes, dist.ReduceOp.MIN)
        for root, pair in zip(roots, extremes, strict=True):
            yield root, pair[0], -pair[1]


def learnable(graph: Graph, decisions: Decisions) -> set[str]:
    """Roots of the 8-bit values whose rounding the forward pass shows.

    Not raw pixels, and not values that exist in the wide form too: those are shown in that one.
    """
    roots = share_scales(graph)
    wide = frozenset(
        node.output
        for node in graph
        if node.op == "linear" and roots[node.inputs[0]] not in decisions.activations
    )
    forms = needed_forms(graph, wide)
    partial = {graph.producers()[value].inputs[0] for value in decisions.splits}
    shown = (n.output for n in graph if n.op not in SHAPE_ONLY and n.output not in partial)
    return {roots[value] for value in shown if forms[value] == {"narrow"}}
