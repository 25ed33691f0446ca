"""Calibration: from a float graph and sample inputs to scales and integer weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from intformer.ir.float_ops import WEIGHTED
from intformer.ir.graph import Graph, Node
from intformer.ir.lanes import LANE_GROUPS
from intformer.quantize.algorithms.gptq import round_weights, weight_snr
from intformer.quantize.algorithms.grouped import round_groups
from intformer.quantize.approx.bias import OperatorBias
from intformer.quantize.approx.choose import Chooser
from intformer.quantize.approx.watch import Watch
from intformer.quantize.equalize import Equalizer
from intformer.quantize.float_run import FloatRunner
from intformer.quantize.groups import needed_forms, share_scales
from intformer.quantize.lowering.context import Pixels
from intformer.quantize.observers import ChannelRange, Covariance, Histogram
from intformer.quantize.params import Decisions, IntegerWeight
from intformer.quantize.ranges import Ranges
from intformer.quantize.reaches import Reaches
from intformer.quantize.recipe import Recipe

Batch = dict[str, Tensor]
Progress = Callable[[str, int, int], None]
"""Called with (stage, steps done, steps in all)."""

LARGEST_BIAS = 2.0**28

GROUPS_FROM_DB = 36.0
"""With ``weight_groups = "auto"``: signal-to-noise ratio that the weights of a layer must keep."""

MOST_ROWS = 256
"""Rows of a layer's input per calibration sample that enter its second moments."""


@dataclass
class Calibration:
    """Float graph, recipe and samples of one quantization run."""

    graph: Graph
    recipe: Recipe
    batches: Sequence[Batch]
    pixels: Pixels | None
    progress: Progress

    def decide(self) -> tuple[Graph, Decisions]:
        """The equalised graph and everything ``lower`` needs."""
        self.altered: list[str] = []
        if self.recipe.equalize:
            self._equalize()
        self.consumers = self.graph.consumers()
        self.roots = share_scales(self.graph)
        forms = needed_forms(self.graph, self._wide_linears())
        self.histograms = {self.roots[v]: Histogram() for v, f in forms.items() if "narrow" in f}
        self.extremes = {self.roots[v]: Histogram() for v, f in forms.items() if "wide" in f}
        self.covariances = self._wanted_covariances()
        self.watch = Watch(self.graph, self.recipe)
        self.reaches = Reaches(self.graph)
        self._observe("calibrating", self._update)
        decisions = Ranges(
            self.graph,
            self.recipe,
            self.roots,
            self.histograms,
            self.extremes,
            self.progress,
            self._variances(),
        ).choose()
        decisions.reaches = self.reaches.chosen(self.recipe.residual_margin)
        self._decide_weights(decisions)
        self.chooser = Chooser(
            self.graph, self.recipe, self.watch, decisions, self.roots, self.histograms
        )
        self.chooser.choose()
        return self.graph, decisions

    def typical(self, decisions: Decisions) -> dict[str, tuple[float, float]]:
        """Mean extremes of a batch, by scale; not where an activation is split at a fixed bend."""
        producers = self.graph.producers()
        fixed = {self.roots[producers[value].inputs[0]] for value in decisions.splits}
        seen = {**self.extremes, **self.histograms}
        return {
            root: found.typical
            for root, found in seen.items()
            if found.batches and root not in fixed
        }

    def correct_operators(self, decisions: Decisions) -> None:
        """Take the mean error of approximated operators from the biases behind them."""
        measured = OperatorBias(self.graph, decisions, self.roots)
        if self.recipe.bias_correction and measured:
            self._observe("measuring operators", measured.update)
            measured.apply()

    def _equalize(self) -> None:
        equalizer = Equalizer(self.graph, self.recipe.smoothing)
        ranges = {value: ChannelRange() for value in equalizer.observed()}

        def update(name: str, x: Tensor) -> None:
            if name in ranges:
                ranges[name].update(x)

        if ranges:
            self._observe("measuring channel ranges", update)
            self.graph = equalizer.apply(ranges)
            self.altered = equalizer.altered()

    def _observe(self, stage: str, update: Callable[[str, Tensor], None]) -> None:
        runner = FloatRunner(self.graph)
        for index, batch in enumerate(self.batches):
            self.progress(stage, index, len(self.batches))
            with torch.inference_mode():
                runner.run(batch, observe=update)
        self.progress(stage, len(self.batches), len(self.batches))

    def _wide_linears(self) -> frozenset[str]:
        return frozenset(
            node.output
            for node in self.graph
            if node.op == "linear" and self.recipe.for_layer(node.name, "activation_bits") == 16
        )

    def _wanted_covariances(self) -> dict[str, Covariance]:
        """Statistics by input value (and kernel, for a convolution) of the layers with weights."""
        if self.recipe.rounding == "nearest" and not self.recipe.bias_correction:
            return {}
        return {
            _statistics_key(n): Covariance() for n in self.graph if n.op in ("linear", "conv2d")
        }

    def _update(self, name: str, x: Tensor) -> None:
        root = self.roots[name]
        self.watch.update(name, x)
        self.reaches.update(name, x)
        if x.is_floating_point():
            for table in (self.histograms, self.extremes):
                if root in table:
                    table[root].update(x)
        for node in self.consumers.get(name, []):
            key = _statistics_key(node)
            reads = node.op in ("linear", "conv2d") and node.inputs[0] == name
            if reads and key in self.covariances and self._first_reader(node) is node:
                self.covariances[key].update(_rows(self.graph, node, x, self.pixels))

    def _variances(self) -> dict[str, float]:
        """Mean variance of the channels of what linear layers read."""
        return {
            self.roots[value]: float(found.centred.diagonal().mean())
            for value, found in self.covariances.items()
            if value in self.roots
        }

    def _first_reader(self, node: Node) -> Node:
        key = _statistics_key(node)
        readers = self.consumers[node.inputs[0]]
        return next(n for n in readers if n.op == node.op and _statistics_key(n) == key)

    def _decide_weights(self, decisions: Decisions) -> None:
        layers = [node for node in self.graph if node.op in WEIGHTED]
        for index, node in enumerate(layers):
            self.progress("rounding weights", index, len(layers))
            decisions.weights[node.output] = self._integer_weight(node, decisions)
        self.progress("rounding weights", len(layers), len(layers))

    def _integer_weight(self, node: Node, decisions: Decisions) -> IntegerWeight:
        weight = unfolded_weight(self.graph, node, self.pixels)
        bias = layer_bias(self.graph, node)
        root = self.roots[node.inputs[0]]
        affine = decisions.activations.get(root) or decisions.streams.get(root)
        input_scale = affine.scale if affine else 1.0
        statistics = self.covariances.get(_statistics_key(node))
        options: dict[str, Any] = {
            "compensate": self.recipe.rounding == "gptq" and not self._is_embedding(node),
            "correct_bias": self.recipe.bias_correction,
            "smallest_scale": float(bias.abs().max()) / (LARGEST_BIAS * input_scale),
        }
        bits = self.recipe.for_layer(node.name, "weight_bits")
        if bits == 4:
            group = self.recipe.for_layer(node.name, "scale_group")
            return round_groups(weight, bias, statistics, group=group, **options)
        options["scale_bits"] = self.recipe.scale_bits
        rounded = functools.partial(round_weights, weight, bias, statistics, bits=bits, **options)
        *groups, last = self._groups_to_try(node, decisions)
        tried = (rounded(lanes=size) for size in groups)
        good = (found for found in tried if weight_snr(weight, found, statistics) >= GROUPS_FROM_DB)
        return next(good, None) or rounded(lanes=last)

    def _groups_to_try(self, node: Node, decisions: Decisions) -> list[int]:
        """Sizes of weight groups; all but the last must keep enough signal.

        A layer with 16-bit input is computed in another way, and weights of fewer bits are small
        enough as they are. Weights that are an embedding's too lose at both ends of the model:
        only an explicit size groups them.
        """
        wanted = self.recipe.for_layer(node.name, "weight_groups")
        root = self.roots[node.inputs[0]]
        if root not in decisions.activations and root in decisions.streams:
            return [0]
        if wanted != "auto":
            return [wanted]
        full = self.recipe.for_layer(node.name, "weight_bits") == 8 and not self._is_embedding(node)
        return [*sorted(LANE_GROUPS, reverse=True), 0] if full else [0]

    def _is_embedding(self, node: Node) -> bool:
        """Whether the weights are an embedding's too: errors must then stay in their own row."""
        return any(n.op == "embedding" for n in self.consumers[node.inputs[1]])


def _statistics_key(node: Node) -> str:
    if node.op == "linear":
        return node.inputs[0]
    return f"{node.inputs[0]} {node.output}"


def _takes_pixels(graph: Graph, node: Node) -> bool:
    return node.op == "conv2d" and node.inputs[0] in graph.inputs


def unfolded_weight(graph: Graph, node: Node, pixels: Pixels | None) -> Tensor:
    """[O, K] float64: a convolution's kernel in the order of ``patches``, per raw pixel step."""
    weight = torch.from_numpy(graph.constants[node.inputs[1]].astype(np.float64))
    if node.op == "linear":
        return weight
    if node.op == "depthwise":
        return weight.reshape(len(weight), -1)
    if _takes_pixels(graph, node) and pixels is not None:
        weight = weight * torch.from_numpy(pixels.factor)[:, None, None]
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def layer_bias(graph: Graph, node: Node) -> Tensor:
    """[O] float64; zeros where the layer has none."""
    if len(node.inputs) > 2:
        return torch.from_numpy(graph.constants[node.inputs[2]].astype(np.float64))
    return torch.zeros(graph.constants[node.inputs[1]].shape[0], dtype=torch.float64)


def _rows(graph: Graph, node: Node, x: Tensor, pixels: Pixels | None) -> Tensor:
    """The input of a layer as rows of its matrix product; convolutions are sampled."""
    if node.op == "linear":
        return _sampled(x.reshape(-1, x.shape[-1]), len(x))
    kernel = graph.constants[node.inputs[1]].shape[2:]
    if _takes_pixels(graph, node) and pixels is not None:
        x = x / torch.from_numpy(pixels.factor).float()[:, None, None]
    columns = F.unfold(x, kernel, padding=node.numbers("padding"), stride=node.numbers("stride"))
    channels = x.shape[1]
    columns = columns.reshape(len(x), channels, -1, columns.shape[-1]).permute(0, 3, 2, 1)
    return _sampled(columns.reshape(-1, columns.shape[2] * channels), len(x))


def _sampled(rows: Tensor, samples: int) -> Tensor:
    """At most MOST_ROWS rows for each sample of the batch, evenly spread."""
    return rows[:: -(-len(rows) // (MOST_ROWS * samples))]
