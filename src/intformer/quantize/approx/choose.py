"""The operator of each layer: what the recipe asks for, unless it fails on the calibration data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import torch

from intformer.errors import IntformerError
from intformer.ir.graph import Graph, Node
from intformer.quantize.approx import gelu, norm, softmax
from intformer.quantize.approx.watch import KINDS, Watch, wanted
from intformer.quantize.observers import Histogram
from intformer.quantize.params import OWN, Affine, Choice, Decisions, FloatArray
from intformer.quantize.recipe import Recipe

SCORE_LEVELS = 127
"""Published Shiftmax takes scores in 8 bits."""


class Unfit(IntformerError):
    """An operator cannot stand for this layer; the message says why."""


@dataclasses.dataclass
class Chooser:
    """Chooses with what calibration has seen; ``histograms`` are by root of ``roots``."""

    graph: Graph
    recipe: Recipe
    watch: Watch
    decisions: Decisions
    roots: Mapping[str, str]
    histograms: Mapping[str, Histogram]

    def choose(self) -> None:
        """Enter the choice for every layer that the recipe does not leave to our operators."""
        for node in self.watch.nodes.values():
            name = wanted(self.recipe, node)
            if name != "auto":
                self.decisions.operators[node.output] = self.fitting(node, name)

    def fitting(self, node: Node, name: str) -> Choice:
        """The operator ``name``, or ours where it does not serve, with the reason."""
        kind, limit = KINDS[node.op], self.recipe.fallback_below_db
        try:
            found = self.measured(node, name)
        except Unfit as error:
            return Choice(kind, OWN[kind], asked=name, reason=str(error))
        if not limit or found.snr_db is None or found.snr_db >= limit:
            return found
        reason = f"{found.snr_db:.1f} dB on calibration data, below {limit:g}"
        return Choice(kind, OWN[kind], asked=name, reason=reason)

    def measured(self, node: Node, name: str) -> Choice:
        """The operator with its parameters and its error on the calibration data.

        Raises:
            Unfit: it cannot compute this layer.
        """
        choice = Choice(KINDS[node.op], name, self._parameters(node, name))
        if choice.kind == "softmax":
            return dataclasses.replace(choice, snr_db=self._softmax_error(node, choice))
        if node.op == "gelu":
            return dataclasses.replace(choice, snr_db=self._gelu_error(node, choice))
        return choice

    def _parameters(self, node: Node, name: str) -> tuple[float, ...]:
        if name == "power-of-two":
            seen = self.watch.channels[node.output]
            largest = torch.maximum(seen.low.abs(), seen.high.abs()).double().numpy()
            return norm.powers_of_two(largest * self.recipe.residual_margin)
        if name.startswith("newton") and node.op == "rms_norm":
            raise Unfit("RMSNorm has no mean to round")
        if name == "shiftmax-published":
            if node.op == "attention" and len(node.inputs) > 3:
                raise Unfit("it cannot drop masked keys")
            return (max(self.watch.largest_score[node.output], 1e-3) / SCORE_LEVELS,)
        if name == "shiftgelu-published" and node.output in self.decisions.splits:
            raise Unfit("the activation is evaluated in two parts")
        return ()

    def _softmax_error(self, node: Node, choice: Choice) -> float:
        """Of the probabilities of the rows that were kept."""
        keys = self.graph.types[node.inputs[1]].shape[-2]
        most = keys if isinstance(keys, int) else self.graph.limits.get(keys, 1)
        if choice.operator == "shiftmax" and softmax.largest_unit(most) < softmax.LEAST_UNIT:
            raise Unfit(f"sums over {most} keys leave its exponentials less than 3 bits")
        scores = self.watch.scores[node.output]
        q, k = (self.decisions.activations[self.roots[v]] for v in node.inputs[:2])
        score = q.scale * k.scale * node.number("scale")
        found = softmax.probabilities(choice, scores, score)
        return snr_db(softmax.true_softmax(scores), found)

    def _gelu_error(self, node: Node, choice: Choice) -> float:
        """Of the results, weighted by how often each of the 256 inputs occurs."""
        source = self.decisions.activations[self.roots[node.inputs[0]]]
        values, counts = (t.numpy() for t in self.histograms[self.roots[node.inputs[0]]].points())
        levels = source.quantize(values)
        real = source.dequantize(np.arange(256))
        exact = gelu.exact(real)
        largest = max(float(np.abs(exact).max()), 1e-6)
        found = gelu.approximated(choice.operator, source, Affine(largest / 32767, 0, "int16"))
        return snr_db(exact[levels], found[levels], counts)


def snr_db(exact: FloatArray, found: FloatArray, weights: FloatArray | None = None) -> float:
    """Signal-to-noise ratio in decibels; infinite where there is no noise."""
    share = np.ones_like(exact) if weights is None else weights
    signal, noise = (float((share * x**2).sum()) for x in (exact, found - exact))
    return 10 * math.log10(max(signal, 1e-30) / noise) if noise > 0 else math.inf
