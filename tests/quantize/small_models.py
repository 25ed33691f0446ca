"""Small float models with lively weights, inputs for them, and how well a program follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intformer.frontend.capture import capture
from intformer.ir.graph import Array, Graph
from intformer.models.swin import SwinConfig, SwinTransformer
from intformer.program import Program
from intformer.quantize.api import IMAGENET
from intformer.quantize.float_run import FloatRunner
from intformer.quantize.samples import float_inputs

SIDE = 16
VOCABULARY = 60


def awake(model: nn.Module, seed: int = 0) -> nn.Module:
    """Parameters far from the defaults 0 and 1, channels of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        if value.dim() == 1:
            value.data = 1 + 0.4 * noise if "norm" in name and "weight" in name else 0.3 * noise
        else:
            value.data = noise * value[0].numel() ** -0.5 * 1.5
    return model.eval()


def pictures(count: int, seed: int = 0, side: int = SIDE) -> Array:
    """Smooth uint8 pictures [N, side, side, 3]: a gradient, a bright spot and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    slopes, centre = (
        random.normal(0, 80, (2, count, 1, 1, 3)),
        random.uniform(0, 1, (2, count, 1, 1)),
    )
    spot = 150 * np.exp(-30 * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2))[..., None]
    ramp = slopes[0] * x[None, :, :, None] + slopes[1] * y[None, :, :, None]
    noise = random.normal(0, 12, (count, side, side, 3))
    return np.clip(110 + ramp + spot + noise, 0, 255).astype(np.uint8)


class Tokens(nn.Module):
    """Image patches as tokens, then anything."""

    def __init__(self, *layers: nn.Module, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(self.patches(x).flatten(2).transpose(1, 2))
        return result


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Residual(nn.Module):
    """x + inner(x)."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.inner(x)
        return result


class SelfAttention(nn.Module):
    """Two heads; separate projections, without biases if asked."""

    def __init__(self, width: int = 16, *, bias: bool = True) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width, bias=bias) for _ in range(3))
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        n, t, e = x.shape
        q, k, v = (f(x).view(n, t, 2, e // 2).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(n, t, e))
        return result


def encoder(*, bias: bool = True) -> nn.Module:
    """One pre-norm block and a classifier over mean-pooled tokens."""
    model = Tokens(
        Residual(nn.LayerNorm(16), SelfAttention(bias=bias)),
        Residual(
            nn.LayerNorm(16), nn.Linear(16, 32, bias=bias), nn.GELU(), nn.Linear(32, 16, bias=bias)
        ),
        nn.LayerNorm(16),
        Apply(lambda x: x.mean(1)),
        nn.Linear(16, 5, bias=bias),
    )
    return awake(model, 3)


def windowed() -> nn.Module:
    """A Swin Transformer of one stage: windows with relative positions, then shifted ones."""
    config = SwinConfig(
        image_size=SIDE,
        stem_channels=(),
        stem_strides=(),
        patch_size=2,
        dim=16,
        depths=(2,),
        num_heads=(2,),
        classes=("a", "b", "c", "d", "e"),
    )
    return awake(SwinTransformer(config), 3)


def graph_of(model: nn.Module, output: str = "logits") -> Graph:
    """The float graph of a model of pictures."""
    return capture(model, (torch.zeros(2, 3, SIDE, SIDE),), names=["pixels"], outputs=[output])


def tiny_bert() -> nn.Module:
    """Two layers of BERT with random weights."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
    )
    return awake(BertModel(config, add_pooling_layer=False), 5)


def bert_graph() -> Graph:
    ids = torch.zeros(2, 6, dtype=torch.int64)
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return capture(tiny_bert(), example, outputs=["hidden"], limits={"S": 12})


def sentences(count: int, seed: int = 0) -> dict[str, Array]:
    """Token ids and masks [N, 9] of different lengths."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, VOCABULARY, (count, 9))
    mask = (np.arange(9) < random.integers(3, 10, (count, 1))).astype(np.int64)
    return {"input_ids": ids, "attention_mask": mask}


def float_outputs(graph: Graph, raw: Mapping[str, Any]) -> dict[str, Array]:
    """What the float graph gives for raw inputs."""
    with torch.no_grad():
        found = FloatRunner(graph).outputs(float_inputs(graph, raw, IMAGENET))
    return {name: value.numpy() for name, value in found.items()}


def snr(program: Program, graph: Graph, raw: Mapping[str, Any], keep: Any = slice(None)) -> float:
    """Signal-to-noise ratio (dB) of the first output against the float graph."""
    exact = next(iter(float_outputs(graph, raw).values()))[keep].astype(np.float64)
    name, affine = next(iter(program.scales.items()))
    integers = program.run(raw)[name][keep].astype(np.float64)
    noise = (integers - affine["zero_point"]) * affine["scale"] - exact
    return float(10 * np.log10((exact**2).sum() / (noise**2).sum()))
