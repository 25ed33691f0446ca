"""Exact rescalings of the float graph that make its tensors easy to quantize.

Each changes constants only and leaves the float function as it was:

- *Normalisation outputs*: per-channel scale and shift move from gamma and beta into the linear
  layers behind (RepQ-ViT, arXiv 2212.08254, section 3.2).
- *Shared values*: where the residual stream too reads a normalisation (as in BERT), the linear
  layers get a rescaled copy of their own; in integers that is the requantize they need anyway.
- *Values*: attention mixes value rows with weights that sum to 1, so a scale and shift per channel
  passes through it into the output projection.
- *Keys and queries*: a factor per channel moves between them; a constant added to all keys changes
  every score of a row alike and cancels in the softmax (SageAttention, arXiv 2410.02367). If
  both are rotated, the two channels of a rotation share the factor, and nothing is added.
- *Gated values*: a factor per channel moves from a product into the layer behind it, out of the
  linear layer that makes one of the two factors.
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

GATED = 0.25
"""Share of the range of a gated value's channel (as a power) that moves into the weights. A massive
channel is a thousand times as wide as others; all of it would drown the other weights of a row."""

SHARED = (*sorted(NORMS), "add")
"""Operators whose result both linear layers and the residual stream may read."""


class Equalizer:
    """Finds the places in one graph, says what to observe, applies the rescalings to a copy."""

    def __init__(self, graph: Graph, smoothing: float) -> None:
        self.graph = graph = copy.deepcopy(graph)
        self.smoothing = smoothing
        self.producers = graph.producers()
        self.consumers = graph.consumers()
        self.returned = set(graph.outputs.values())
        self.norms = dict(self._find_norms())
        self.shared = dict(self._find_shared())
        self.attentions = list(self._find_attentions())
        self.gated = dict(self._find_gated())

    def observed(self) -> set[str]:
        """Values whose channel ranges ``apply`` needs."""
        heads = {value for node in self.attentions for value in node.inputs[:3]}
        return set(self.norms) | set(self.shared) | set(self.gated) | heads

    def apply(self, ranges: dict[str, ChannelRange]) -> Graph:
        """The equalised graph."""
        for value, layers in self.norms.items():
            self._equalize_norm(self.producers[value], layers, ranges[value])
        for value, layers in self.shared.items():
            self._rescale_copy(self.producers[value], layers, ranges[value])
        for node in self.attentions:
            self._equalize_keys(node, ranges)
            self._equalize_values(node, ranges)
        for value, (made, layer) in self.gated.items():
            factor = _relative(ranges[value].width) ** (GATED * self.smoothing)
            self._rescale_output(made, factor, torch.zeros_like(factor))
            self._absorb(layer, factor, torch.zeros_like(factor))
        return self.graph

    def altered(self) -> list[str]:
        """Values that mean something else after ``apply``, all that share their scale included."""
        roots = share_scales(self.graph)
        changed = {roots[value] for value in self.observed() - set(self.shared)}
        changed |= {roots[node.output] for node in self.attentions}
        changed |= {roots[made.output] for made, _ in self.gated.values()}
        for node in self.attentions:
            changed |= {roots[self._made(node, operand).output] for operand in (0, 1)}
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

    def _is_read_once(self, value: str) -> bool:
        """Whether one input of one node is all that reads a value: what changes there is known."""
        readers = self.consumers.get(value, [])
        once = len(readers) == 1 and readers[0].inputs.count(value) == 1
        return once and value not in self.returned

    def _find_attentions(self) -> Iterable[Node]:
        for node in self.graph:
            if node.op not in (*ATTENTIONS, "biased_attention"):
                continue
            sources = [self._projection(value) for value in node.inputs[:3]]
            if all(self._is_own_linear(source) for source in sources):
                yield node

    def _projection(self, value: str) -> Node | None:
        """The linear layer behind an operand of attention (perhaps rotated) that alone reads it."""
        if not self._is_read_once(value):
            return None
        node = self.producers.get(value)
        rotated = node is not None and node.op == "rotary"
        return self._projection(node.inputs[0]) if node and rotated else node

    def _find_gated(self) -> Iterable[tuple[str, tuple[Node, Node]]]:
        """Products read by one linear layer, and a linear layer that makes one of their factors."""
        for node in self.graph:
            readers = self.consumers.get(node.output, [])
            if node.op != "mul" or not self._is_read_once(node.output):
                continue
            if not self._is_own_linear(readers[0]):
                continue
            for value in node.inputs:
                made = self.producers.get(value)
                same = self.graph.types[value].shape[-1] == self.graph.types[node.output].shape[-1]
                if same and self._is_read_once(value) and self._is_own_linear(made):
                    assert made is not None
                    yield node.output, (made, readers[0])
                    break

    def _equalize_norm(self, norm: Node, layers: list[Node], observed: ChannelRange) -> None:
        factor = _relative(observed.width) ** self.smoothing
        shift = observed.middle if len(norm.inputs) > 2 else torch.zeros_like(observed.middle)
        self._own_constants(norm)
        self._set(norm.inputs[1], self._get(norm.inputs[1]) / factor)
        if len(norm.inputs) > 2:
            self._set(norm.inputs[2], (self._get(norm.inputs[2]) - shift) / factor)
        for layer in layers:
            self._absorb(layer, factor, shift)

    def _own_constants(self, norm: Node) -> None:
        """Give a normalisation copies of the constants that others read: factors are its own.

        The two heads of a distilled model read two rows through one normalisation.
        """
        for value in norm.inputs[1:]:
            if not self._is_read_once(value):
                own = self.graph.add_constant(value, self._get(value).numpy().astype(np.float32))
                index = norm.inputs.index(value)
                norm.inputs = (*norm.inputs[:index], own, *norm.inputs[index + 1 :])
                self.consumers[own] = [norm]

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
        if not self._is_read_once(attention.output) or not self._is_own_linear(readers[0]):
            return
        observed = ranges[attention.inputs[2]]
        factor, middle = _relative(observed.width) ** self.smoothing, observed.middle
        self._rescale_output(self._made(attention, 2), factor, middle)
        self._absorb(readers[0], _repeated(attention, factor), _repeated(attention, middle))

    def _equalize_keys(self, attention: Node, ranges: dict[str, ChannelRange]) -> None:
        queries, keys = (ranges[value] for value in attention.inputs[:2])
        reach = torch.maximum(queries.low.abs(), queries.high.abs()).double()
        reach = reach.clamp(min=float(reach.max()) * 1e-4 + 1e-12)
        width, rotated = keys.width, self._is_rotated(attention)
        reach = _over_queries(attention, reach)
        if rotated:
            reach, width = (_widest_of_pairs(attention, x) for x in (reach, width))
        factor = torch.sqrt(width / 2 / reach)
        nothing = torch.zeros_like(factor)
        # Only the softmax does not see what all keys have in common.
        common = keys.middle if attention.op == "attention" and not rotated else nothing
        self._rescale_output(self._made(attention, 1), factor, common)
        raised = _repeated(attention, 1 / factor)
        self._rescale_output(self._made(attention, 0), raised, torch.zeros_like(raised))

    def _made(self, attention: Node, operand: int) -> Node:
        layer = self._projection(attention.inputs[operand])
        assert layer is not None
        return layer

    def _is_rotated(self, attention: Node) -> bool:
        return any(self.producers[value].op == "rotary" for value in attention.inputs[:2])

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


def _over_queries(attention: Node, channels: Tensor) -> Tensor:
    """The largest of the heads of queries that read one head of keys, for its channels."""
    heads, kv_heads = attention.attrs["heads"], attention.attrs.get("kv_heads")
    if kv_heads is None:
        return channels
    assert isinstance(heads, int) and isinstance(kv_heads, int)
    return channels.reshape(kv_heads, heads // kv_heads, -1).amax(1).flatten()


def _repeated(attention: Node, channels: Tensor) -> Tensor:
    """What belongs to channels of keys or values, for the channels of queries or of the result."""
    heads, kv_heads = attention.attrs["heads"], attention.attrs.get("kv_heads")
    if kv_heads is None:
        return channels
    assert isinstance(heads, int) and isinstance(kv_heads, int)
    return channels.reshape(kv_heads, -1).repeat_interleave(heads // kv_heads, 0).flatten()


def _widest_of_pairs(attention: Node, channels: Tensor) -> Tensor:
    """The larger of the two channels that a rotation mixes, for both."""
    kv_heads = attention.attrs.get("kv_heads", attention.attrs["heads"])
    assert isinstance(kv_heads, int)
    halves = channels.reshape(kv_heads, 2, -1)
    return halves.amax(1, keepdim=True).expand_as(halves).flatten()
