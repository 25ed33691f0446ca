"""How large the bases of polynomial attention get, which decides their integers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from intformer.ir.graph import Graph, Node


class Reaches:
    """Watches queries and keys go by and keeps the largest base of each attention."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = [node for node in graph if node.op == "polynomial_attention"]
        self.shifts = {
            n.output: torch.from_numpy(graph.constants[n.inputs[3]].astype(np.float32))
            for n in self.nodes
        }
        self.wanted = {value for node in self.nodes for value in node.inputs[:2]}
        self.seen: dict[str, Tensor] = {}
        self.largest = {node.output: 1e-6 for node in self.nodes}

    def update(self, name: str, x: Tensor) -> None:
        """Take note of a value of the float graph; values come in execution order."""
        if name in self.wanted:
            self.seen[name] = x
        for node in self.nodes:
            if node.output == name:
                self.largest[name] = max(self.largest[name], self._reach(node))

    def _reach(self, node: Node) -> float:
        heads = int(node.number("heads"))
        rows = (self.seen[value] for value in node.inputs[:2])
        q, k = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in rows)
        scores = node.number("scale") * (q @ k.transpose(-2, -1))
        return float((scores + self.shifts[node.output][:, None, None]).max())

    def chosen(self, margin: float) -> dict[str, float]:
        """Result of each attention -> the largest base that its integers should hold."""
        return {name: value * margin for name, value in self.largest.items()}
