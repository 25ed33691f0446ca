"""What calibration has to see for the operators of other papers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from intformer.arith import SHIFT_REACH
from intformer.ir.graph import Graph, Node
from intformer.quantize.observers import ChannelRange
from intformer.quantize.params import OWN, FloatArray
from intformer.quantize.recipe import Recipe

KINDS = {
    "attention": "softmax",
    "biased_attention": "softmax",
    "gelu": "gelu",
    "layer_norm": "norm",
    "rms_norm": "norm",
}
"""Float operator -> the recipe's setting for it."""

QUERIES = 32
"""Rows of scores per attention and head that are kept to measure an operator on."""

NEAR = float(SHIFT_REACH)
"""How far below the largest of its row, in logits, Shiftmax still gives a score any weight."""


class Watch:
    """Observes attention scores and inputs of normalisations, where the recipe needs them.

    ``scores`` are real rows [heads, queries, keys] of one image or sequence by attention output,
    biases included; ``largest_score`` over all data, without the pairs that a window keeps apart;
    ``channels`` the ranges by normalisation output.
    """

    def __init__(self, graph: Graph, recipe: Recipe) -> None:
        self.recipe = recipe
        self.nodes = {
            node.output: node
            for node in graph
            if node.op in KINDS and wanted(recipe, node) != OWN[KINDS[node.op]]
        }
        attentions = [node for node in self.nodes.values() if KINDS[node.op] == "softmax"]
        self._biases = {
            node.output: torch.tensor(graph.constants[node.inputs[3]])
            for node in attentions
            if node.op == "biased_attention"
        }
        self._kept = {name for node in attentions for name in node.inputs[:2]}
        self._latest: dict[str, Tensor] = {}
        self._norms: dict[str, list[ChannelRange]] = {}
        self.scores: dict[str, FloatArray] = {}
        self.largest_score: dict[str, float] = {}
        self.channels: dict[str, ChannelRange] = {}
        for node in self.nodes.values():
            if KINDS[node.op] == "norm":
                self.channels[node.output] = ChannelRange()
                self._norms.setdefault(node.inputs[0], []).append(self.channels[node.output])

    @property
    def has_open_layers(self) -> bool:
        """Whether ``"auto"`` has a layer to choose for."""
        return any(wanted(self.recipe, node) == "auto" for node in self.nodes.values())

    def update(self, name: str, x: Tensor) -> None:
        """Take in one value of one batch."""
        if name in self._kept:
            self._latest[name] = x
        for found in self._norms.get(name, []):
            found.update(x)
        node = self.nodes.get(name)
        if node is not None and KINDS[node.op] == "softmax":
            self._score(node)

    def _score(self, node: Node) -> None:
        heads = node.attrs["heads"]
        assert isinstance(heads, int)
        q, k = (
            self._latest[v].reshape(*self._latest[v].shape[:-1], heads, -1).transpose(-3, -2)
            for v in node.inputs[:2]
        )
        scores = torch.matmul(q, k.transpose(-2, -1)) * node.number("scale")
        rows = scores[0, :, :QUERIES]
        if node.output in self._biases:
            scores = scores + self._biases[node.output]
            rows = _of_all_windows(scores[0])
            # Pairs kept apart stand so far below that no range could hold them and the others; the
            # published integers get their mask behind the quantization of the scores.
            scores = scores[scores > scores.amax(-1, keepdim=True) - NEAR]
        top = float(scores.abs().max())
        self.largest_score[node.output] = max(top, self.largest_score.get(node.output, 0.0))
        if node.output not in self.scores:
            self.scores[node.output] = np.ascontiguousarray(rows.double().numpy())


def _of_all_windows(scores: Tensor) -> Tensor:
    """Some rows [heads, queries, keys] of [windows, heads, tokens, keys], from first to last."""
    rows = scores.transpose(0, 1).flatten(1, 2)
    chosen = torch.linspace(0, rows.shape[1] - 1, min(QUERIES, rows.shape[1])).long()
    return rows[:, chosen]


def wanted(recipe: Recipe, node: Node) -> str:
    """The operator that the recipe asks for."""
    return str(recipe.for_layer(node.name, KINDS[node.op]))
