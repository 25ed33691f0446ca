"""Exact rescalings of the float graph that make its tensors easy to quantize.

Each changes constants only and leaves the float function as it was:

- *Normalisation outputs*: per-channel scale and shift move from gamma and beta into the linear
  layers behind (RepQ-ViT, arXiv 2212.08254, section 3.2).
- *Shared values*: where the residual stream too reads a normalisation (as in BERT), the linear
  layers get a rescaled copy of their own; in integers that is the requantize they need anyway.
- *Values*: attention mixes value rows with weights that sum to 1, so a scale and shift per channel
  passes through it into the output projection.
- *Keys and queries*: a factor per channel moves between them; a constant added to all keys changes
  every score of a row alike and cancels in the softmax (SageAttention, arXiv 2410.02367).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from intformer.ir.float_ops import ATTENTIONS, NORMS
from intformer.ir.graph import Graph, Node
from intformer.quantize.groups import needed_forms, share_scales
from intformer.quantize.observers import ChannelRange

SMALLEST_WIDTH = 32
"""The narrowest channel is taken to be this fraction of the typical one."""

SHARED = (*sorted(NORMS), "add")
"""Operators whose result both linear layers and the residual stream may read."""


class Equalizer:
    """Finds the places in one graph, says what to observe, applies the rescalings to a copy."""

    def __init__(self, graph: Graph, smoothing: float) -> None:
        self.graph = graph = copy.deepcopy(graph)
        self.smoothing = smoothing
        self.producers = graph.producers()
        self.consumers = graph.consumers()
        self.norms = dict(self._find_norms())
        self.shared = dict(self._find_shared())
        self.attentions = list(self._find_attentions())

    def observed(self) -> set[str]:
        """Values whose channel ranges ``apply`` needs."""
        heads = {value for node in self.attentions for value in node.inputs[:3]}
        return set(self.norms) | set(self.shared) | heads

    def apply(self, ranges: dict[str, ChannelRange]) -> Graph:
        """The equalised graph."""
        for value, layers in self.norms.items():
            self._equalize_norm(self.producers[value], layers, ranges[value])
        for value, layers in self.shared.items():
            self._rescale_copy(self.producers[value], layers, ranges[value])
        for node in self.attentions:
            self._equalize_keys(node, ranges)
            self._equalize_values(node, ranges)
        return self.graph

    def altered(self) -> list[str]:
        """Values that mean something else after ``apply``, all that share their scale included."""
        roots = share_scales(self.graph)
        changed = {roots[value] for value in self.observed() - set(self.shared)}
        changed |= {roots[node.output] for node in self.attentions}
        return sorted(value for value, root in roots.items() if root in changed)

    def _find_norms(self) -> Iterable[tuple[str, list[Node]]]:
        """Normalisations read by linear layers alone, possibly through shape operators."""
        roots, forms = share_scales(self.graph), needed_forms(self.graph, frozenset())
        for node in self.graph:
            if node.op not in NORMS or forms[node.output] != {"narrow"}:
                continue
            group = {value for value, root in roots.items() if root == roots[node.output]}
            readers = [n for value in group for n in self.consumers.get(value, [])]
            layers = [n for n in readers if n.output not in group]
            keeps_channels = all(self._keeps_channels(n) for n in readers if n.output in group)
            if keeps_channels and layers and all(self._is_own_linear(n) for n in layers):
                yield node.output, layers

    def _find_shared(self) -> Iterable[tuple[str, list[Node]]]:
        """Values that linear layers and others read."""
        for node in self.graph:
            readers = self.consumers.get(node.output, [])
            layers = [n for n in readers if self._is_own_linear(n) and n.inputs[0] == node.output]
            if layers and node.output not in self.norms and node.op in SHARED:
                yield node.output, layers

    def _keeps_channels(self, node: Node) -> bool:
        """Whether the last axis of what a shape operator makes is that of its input."""
        before, after = (self.graph.types[v].shape[-1] for v in (node.inputs[0], node.output))
        last = len(self.graph.types[node.output].shape) - 1
        if node.op == "transpose" and node.numbers("perm")[-1] not in (-1, last):
            return False
        return before == after and node.attrs.get("axis") not in (-1, last) and node.op != "concat"

    def _is_own_linear(self, node: Node | None) -> bool:
        """A linear layer whose weights and bias no other layer uses."""
        if node is None or node.op != "linear":
            return False
        return all(len(self.consumers[value]) == 1 for value in node.inputs[1:])

    def _find_attentions(self) -> Iterable[Node]:
        for node in self.graph:
            if node.op not in (*ATTENTIONS, "biased_attention") or "kv_heads" in node.attrs:
                continue
            sources = [self.producers.get(value) for value in node.inputs[:3]]
            alone = all(len(self.consumers[value]) == 1 for value in node.inputs[:3])
            if alone and all(self._is_own_linear(source) for source in sources):
                yield node

    def _equalize_norm(self, norm: Node, layers: list[Node], observed: ChannelRange) -> None:
        factor = _relative(observed.width) ** self.smoothing
        shift = observed.middle if len(norm.inputs) > 2 else torch.zeros_like(observed.middle)
        self._set(norm.inputs[1], self._get(norm.inputs[1]) / factor)
        if len(norm.inputs) > 2:
            self._set(norm.inputs[2], (self._get(norm.inputs[2]) - shift) / factor)
        for layer in layers:
            self._absorb(layer, factor, shift)

    def _rescale_copy(self, source: Node, layers: list[Node], observed: ChannelRange) -> None:
        """Give ``layers`` (x - shift) / factor, computed by a node of its own."""
        value = source.output
        factor = _relative(observed.width) ** self.smoothing
        gain = self.graph.add_constant(f"{value}.gain", (1 / factor).numpy().astype(np.float32))
        shift = (-observed.middle / factor).numpy().astype(np.float32)
        bias = self.graph.add_constant(f"{value}.bias", shift)
        copied = self.graph.fresh(f"{value}.rescale")
        self.graph.types[copied] = self.graph.types[value]
        node = Node("rescale", (value, gain, bias), (copied,), {}, source.name)
        self.graph.nodes.insert(self.graph.nodes.index(source) + 1, node)
        for layer in layers:
            layer.inputs = (copied, *layer.inputs[1:])
            self._absorb(layer, factor, observed.middle)

    def _absorb(self, layer: Node, factor: Tensor, shift: Tensor) -> None:
        """Make ``layer`` take (x - shift) / factor instead of x."""
        weight = self._get(layer.inputs[1])
        self._add_bias(layer, weight @ shift)
        self._set(layer.inputs[1], weight * factor)

    def _equalize_values(self, attention: Node, ranges: dict[str, ChannelRange]) -> None:
        readers = self.consumers.get(attention.output, [])
        if len(readers) != 1 or not self._is_own_linear(readers[0]):
            return
        observed = ranges[attention.inputs[2]]
        factor = _relative(observed.width) ** self.smoothing
        self._rescale_output(self.producers[attention.inputs[2]], factor, observed.middle)
        self._absorb(readers[0], factor, observed.middle)

    def _equalize_keys(self, attention: Node, ranges: dict[str, ChannelRange]) -> None:
        queries, keys = (ranges[value] for value in attention.inputs[:2])
        reach = torch.maximum(queries.low.abs(), queries.high.abs()).double()
        reach = reach.clamp(min=float(reach.max()) * 1e-4 + 1e-12)
        factor = torch.sqrt(keys.width / 2 / reach)
        nothing = torch.zeros_like(factor)
        # Only the softmax does not see what all keys have in common.
        common = keys.middle if attention.op == "attention" else nothing
        self._rescale_output(self.producers[attention.inputs[1]], factor, common)
        self._rescale_output(self.producers[attention.inputs[0]], 1 / factor, nothing)

    def _rescale_output(self, layer: Node, factor: Tensor, shift: Tensor) -> None:
        """Make ``layer`` return (y - shift) / factor instead of y."""
        self._add_bias(layer, -shift)
        self._set(layer.inputs[1], self._get(layer.inputs[1]) / factor[:, None])
        if len(layer.inputs) > 2:
            self._set(layer.inputs[2], self._get(layer.inputs[2]) / factor)

    def _add_bias(self, layer: Node, addend: Tensor) -> None:
        if len(layer.inputs) > 2:
            self._set(layer.inputs[2], self._get(layer.inputs[2]) + addend)
        elif bool(addend.any()):
            bias = addend.numpy().astype(np.float32)
            name = self.graph.add_constant(f"{layer.inputs[1]}.equalized_bias", bias)
            layer.inputs = (*layer.inputs, name)
            self.consumers[name] = [layer]

    def _get(self, name: str) -> Tensor:
        return torch.from_numpy(self.graph.constants[name].astype(np.float64))

    def _set(self, name: str, value: Tensor) -> None:
        self.graph.constants[name] = value.numpy().astype(np.float32)


def _relative(width: Tensor) -> Tensor:
    """Channel widths relative to their geometric mean, so that the overall scale stays.

    A channel that hardly varied in calibration is not blown up without limit: it may vary later.
    """
    return (width / torch.exp(torch.log(width).mean())).clamp(min=1 / SMALLEST_WIDTH)
