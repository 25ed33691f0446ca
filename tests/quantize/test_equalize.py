"""Equalisation leaves the float function as it was and says which values it changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_models import (
    SIDE,
    Apply,
    Residual,
    SelfAttention,
    Tokens,
    awake,
    bert_graph,
    encoder,
    graph_of,
    pictures,
    sentences,
)
from torch import Tensor, nn

from intformer.frontend.capture import capture
from intformer.ir.graph import Graph
from intformer.models.vit import VisionTransformer, ViTConfig
from intformer.quantize.api import IMAGENET
from intformer.quantize.equalize import Equalizer
from intformer.quantize.float_run import FloatRunner
from intformer.quantize.observers import ChannelRange
from intformer.quantize.samples import float_inputs


def vit_graph() -> Graph:
    config = ViTConfig(depth=2, dim=24, num_heads=2, image_size=16)
    model = awake(VisionTransformer(config), 1)
    return capture(model, (torch.zeros(2, 3, 16, 16),), names=["pixels"], outputs=["logits"])


class TwoHeads(nn.Module):
    """Two classifiers that read two tokens through one normalisation, as in DeiT."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head, self.other = nn.LayerNorm(16), nn.Linear(16, 5), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = (self.head(self.norm(x[:, 0])) + self.other(self.norm(x[:, 1]))) / 2
        return result


def one_norm_in_two_places() -> Graph:
    norm = nn.LayerNorm(16)
    layers = [Residual(norm, nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16)) for _ in range(2)]
    return graph_of(awake(Tokens(*layers, Apply(lambda x: x.mean(1)), nn.Linear(16, 5)), 4))


class TiedAttention(SelfAttention):
    """Some of queries, keys and values are the same vectors; keys are returned too if asked."""

    def __init__(self, *same: str, returns_keys: bool = False) -> None:
        super().__init__()
        self.same, self.returns_keys = same, returns_keys

    def forward(self, x: Tensor) -> Any:
        n, t, e = x.shape
        made = {name: getattr(self, name)(x) for name in "qkv" if name not in self.same}
        keys = made["k"]
        q, k, v = (made.get(name, keys).view(n, t, 2, e // 2).transpose(1, 2) for name in "qkv")
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        result = self.out(mixed.transpose(1, 2).reshape(n, t, e))
        return (result, keys) if self.returns_keys else result


def behind_norm(layer: nn.Module) -> Graph:
    return graph_of(awake(Tokens(nn.LayerNorm(16), layer), 6))


GRAPHS: dict[str, Callable[[], Graph]] = {
    "vit": vit_graph,
    "mean pooling": lambda: graph_of(encoder()),
    "no biases": lambda: graph_of(encoder(bias=False)),
    "bert": bert_graph,
    "two heads behind one normalisation": lambda: graph_of(awake(Tokens(TwoHeads()), 2)),
    "one normalisation in two places": one_norm_in_two_places,
    "values are keys": lambda: behind_norm(TiedAttention("v")),
    "queries are keys": lambda: behind_norm(TiedAttention("q")),
}

Values = dict[str, torch.Tensor]


def run(graph: Graph, seed: int) -> Values:
    raw = sentences(6, seed) if "input_ids" in graph.inputs else {"pixels": pictures(6, seed)}
    with torch.no_grad():
        return FloatRunner(graph).run(float_inputs(graph, raw, IMAGENET), keep="all")


def equalized(graph: Graph, smoothing: float) -> tuple[Graph, Equalizer]:
    equalizer = Equalizer(graph, smoothing)
    ranges = {name: ChannelRange() for name in equalizer.observed()}
    values = run(graph, 0)
    for name, observed in ranges.items():
        observed.update(values[name])
    return equalizer.apply(ranges), equalizer


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return float((a - b).abs().max() / b.abs().max()) < 1e-4


@pytest.mark.parametrize("smoothing", [0.5, 1.0])
@pytest.mark.parametrize("case", GRAPHS)
def test_the_function_stays_and_altered_values_are_listed(case: str, smoothing: float) -> None:
    graph = GRAPHS[case]()
    changed, equalizer = equalized(graph, smoothing)
    before, after = run(graph, 7), run(changed, 7)
    altered = set(equalizer.altered())
    for value in graph.outputs.values():
        assert value not in altered
    assert before.keys() <= after.keys()
    for name in before.keys() - altered:
        assert close(after[name].float(), before[name].float()), name
    assert any(not close(after[name], before[name]) for name in altered & before.keys())


@pytest.mark.parametrize("case", GRAPHS)
def test_the_given_graph_is_left_alone(case: str) -> None:
    graph = GRAPHS[case]()
    constants = {name: array.copy() for name, array in graph.constants.items()}
    nodes = [(node.op, node.inputs) for node in graph]
    equalized(graph, 1.0)
    assert [(node.op, node.inputs) for node in graph] == nodes
    assert graph.constants.keys() == constants.keys()
    assert all((graph.constants[name] == array).all() for name, array in constants.items())


@pytest.mark.parametrize("case", GRAPHS)
def test_channels_of_what_linear_layers_read_become_alike(case: str) -> None:
    graph = GRAPHS[case]()
    changed, _ = equalized(graph, 1.0)
    readers = [n for n in changed if n.op == "linear"]
    kinds = {n.output: n.op for n in changed}
    read = {n.inputs[0] for n in readers if kinds[n.inputs[0]] in ("layer_norm", "rescale")}
    assert read
    values = run(changed, 0)
    for name in read:
        flat = values[name].reshape(-1, values[name].shape[-1])
        width = (flat.amax(0) - flat.amin(0)).numpy()
        # Only a channel 32 times narrower than the typical one may stay narrower.
        assert width.max() / np.median(width) < 1.01
        assert np.sum(width < 0.99 * width.max()) <= len(width) // 10
        assert np.abs((flat.amax(0) + flat.amin(0)).numpy()).max() < 1e-3 * width.max()


def test_tokens_that_are_as_many_as_channels_are_not_taken_for_them() -> None:
    transposed = Apply(lambda x: x.transpose(1, 2))
    graph = graph_of(awake(Tokens(nn.LayerNorm(16), transposed, nn.Linear(16, 8))))
    changed, equalizer = equalized(graph, 1.0)
    assert not equalizer.norms
    (name,) = graph.outputs.values()
    assert close(run(changed, 7)[name], run(graph, 7)[name])


def test_what_a_graph_returns_stays() -> None:
    model = awake(Tokens(nn.LayerNorm(16), TiedAttention(returns_keys=True)), 6)
    pixels = torch.zeros(2, 3, SIDE, SIDE)
    graph = capture(model, (pixels,), names=["pixels"], outputs=["output_0", "output_1"])
    changed, equalizer = equalized(graph, 1.0)
    before, after = run(graph, 7), run(changed, 7)
    assert not set(graph.outputs.values()) & set(equalizer.altered())
    for value in graph.outputs.values():
        assert close(after[value], before[value])
