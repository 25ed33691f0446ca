"""Equalisation leaves the float function as it was and says which values it changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_models import (
    Apply,
    Tokens,
    awake,
    bert_graph,
    encoder,
    graph_of,
    pictures,
    sentences,
)
from torch import nn

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


GRAPHS: dict[str, Callable[[], Graph]] = {
    "vit": vit_graph,
    "mean pooling": lambda: graph_of(encoder()),
    "no biases": lambda: graph_of(encoder(bias=False)),
    "bert": bert_graph,
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
