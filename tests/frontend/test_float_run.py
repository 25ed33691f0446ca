"""The float interpreter: what it keeps, observes, refuses and differentiates."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from frontend_models import awake, images
from torch import Tensor

from intformer.errors import CaptureError, InputError
from intformer.frontend.capture import capture
from intformer.ir.graph import Graph, Node
from intformer.models.vit import VisionTransformer, ViTConfig
from intformer.quantize.float_run import FloatRunner, evaluate


@pytest.fixture(scope="module")
def graph() -> Graph:
    model = awake(VisionTransformer(ViTConfig(depth=2, dim=24, num_heads=2, image_size=16)))
    return capture(model, (images(2, 16),), names=["pixels"], outputs=["logits"])


def test_keep(graph):
    runner, x = FloatRunner(graph), {"pixels": images(3, 16)}
    everything = runner.run(x, keep="all")
    assert list(everything) == ["pixels", *(node.output for node in graph)]
    some = runner.run(x, keep=["blocks.0.add", "pixels"])
    assert list(some) == ["blocks.0.add", "pixels"]
    assert torch.equal(some["blocks.0.add"], everything["blocks.0.add"])
    (logits,) = runner.run(x).values()
    assert torch.equal(logits, runner.outputs(x)["logits"])


def test_types_are_what_the_graph_declares(graph):
    sizes = {"N": 3}
    for name, value in FloatRunner(graph).run({"pixels": images(3, 16)}, keep="all").items():
        expected = graph.types[name]
        assert tuple(value.shape) == tuple(sizes.get(d, d) for d in expected.shape)
        assert str(value.dtype) == f"torch.{expected.dtype}"


def test_observed_values_are_freed_after_their_last_use(graph):
    seen: list[str] = []
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def observe(name: str, value: Tensor) -> None:
        nonlocal most
        seen.append(name)
        alive.append(weakref.ref(value))
        most = max(most, sum(ref() is not None for ref in alive))

    FloatRunner(graph).run({"pixels": images(2, 16)}, observe=observe)
    gc.collect()
    assert seen == ["pixels", *(node.output for node in graph)]
    assert most <= 8 < len(seen)


def test_constants_may_be_replaced(graph):
    runner, x = FloatRunner(graph), {"pixels": images(2, 16)}
    runner.constants["head.weight"] = torch.zeros(10, 24)
    bias = torch.from_numpy(graph.constants["head.bias"])
    assert torch.equal(runner.outputs(x)["logits"], bias.expand(2, 10))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "'pixels' is missing"),
        (
            {"pixels": torch.zeros(2, 3, 16)},
            r"shape \[2, 3, 16\], expected float32\[N, 3, 16, 16\]",
        ),
        ({"pixels": torch.zeros(2, 3, 16, 15)}, "expected float32"),
        ({"pixels": torch.zeros(2, 3, 16, 16), "x": torch.zeros(1)}, "unknown input 'x'"),
    ],
)
def test_wrong_inputs(graph, inputs, words):
    with pytest.raises(InputError, match=words):
        FloatRunner(graph).run(inputs)


def test_one_operator_is_differentiable():
    x = torch.randn(2, 5, 8, requires_grad=True)
    w = torch.randn(8, 8, requires_grad=True)
    y = evaluate(Node("linear", ("x", "w"), ("y",)), [x, w])
    node = Node("attention", ("y", "y", "y"), ("z",), {"heads": 2, "scale": 0.5})
    evaluate(node, [y, y, y]).square().sum().backward()
    assert x.grad.abs().sum() > 0 and w.grad.abs().sum() > 0


def test_attention_drops_masked_keys():
    q, k, v = torch.randn(3, 2, 5, 8).unbind(0)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    node = Node("attention", ("q", "k", "v", "m"), ("z",), {"heads": 2, "scale": 0.5})
    z = evaluate(node, [q, k, v, mask])
    heads = [x.reshape(2, 5, 2, 4).transpose(1, 2) for x in (q, k, v)]
    scores = 0.5 * heads[0] @ heads[1].mT
    scores[0, :, :, 3:] = -np.inf
    expected = (scores.softmax(-1) @ heads[2]).transpose(1, 2).reshape(2, 5, 8)
    assert torch.allclose(z, expected, atol=1e-6)


def test_unknown_operator():
    with pytest.raises(CaptureError, match=r"blocks\.0: unknown float operator 'fft'"):
        evaluate(Node("fft", (), ("y",), name="blocks.0"), [])
