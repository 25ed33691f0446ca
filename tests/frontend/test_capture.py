"""Captured PyTorch modules compute what the modules compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from frontend_models import awake, check_graph, error, images, run
from torch import Tensor, nn

from intformer.errors import CaptureError
from intformer.frontend.capture import capture, capture_like
from intformer.models.vit import VisionTransformer, ViTConfig


def test_zoo_model_with_convolutional_stem():
    model = awake(VisionTransformer(ViTConfig(depth=2, dim=48)))
    graph = capture(model, (images(1, 32),), names=["pixels"], outputs=["logits"])
    check_graph(graph)
    x = images(3, 32)
    assert error(run(graph, {"pixels": x})["logits"], model(x)) < 1e-5
    assert "patch_embed.stem.0.bias" in graph.constants  # batch norm became the bias


def test_merged_qkv_is_split_and_parameters_keep_their_names():
    model = awake(VisionTransformer(ViTConfig(depth=1, dim=48)))
    graph = capture(model, (images(2, 32),))
    weight = model.get_parameter("blocks.0.attn.qkv.weight")
    for i, part in enumerate("qkv"):
        rows = weight[48 * i : 48 * (i + 1)].detach().numpy()
        assert (graph.constants[f"blocks.0.attn.qkv.{part}.weight"] == rows).all()
    linears = [node.name for node in graph if node.op == "linear"]
    assert "blocks.0.attn.qkv.k" in linears and "blocks.0.attn.qkv" not in linears
    assert "blocks.0.mlp.fc1.weight" in graph.constants


class Eager(nn.Module):
    """Attention spelled out, with the scale in a place of choice and any way of splitting qkv."""

    def __init__(self, scale_at: str, split: str) -> None:
        super().__init__()
        self.scale_at, self.split = scale_at, split
        self.qkv = nn.Linear(24, 72)
        self.out = nn.Linear(24, 24)

    def _heads(self, x: Tensor) -> list[Tensor]:
        n, t, _ = x.shape
        if self.split == "chunk":
            return [y.view(n, t, 3, 8).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1)]
        if self.split == "split":
            return [y.unflatten(-1, (3, 8)).transpose(1, 2) for y in self.qkv(x).split(24, -1)]
        merged = self.qkv(x).reshape(n, t, 3, 3, 8)
        if self.split == "select":
            return [merged[:, :, i].permute(0, 2, 1, 3) for i in range(3)]
        return list(merged.permute(2, 0, 3, 1, 4).unbind(0))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._heads(x)
        scale = 8**-0.5
        if self.scale_at == "q":
            q = q * scale
        if self.scale_at == "both":
            q, k = q * scale**0.5, k * scale**0.5
        scores = q @ k.transpose(-2, -1)
        if self.scale_at == "scores":
            scores = scores / 8**0.5
        y = F.dropout(scores.softmax(dim=-1), 0.1, self.training) @ v
        return self.out(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("scale_at", ["q", "both", "scores"])
@pytest.mark.parametrize("split", ["chunk", "split", "select", "unbind"])
def test_eager_attention(scale_at, split):
    model = awake(Eager(scale_at, split))
    graph = capture(model, (torch.randn(2, 5, 24),))
    check_graph(graph)
    assert [node.op for node in graph] == ["linear"] * 3 + ["attention", "linear"]
    assert graph.nodes[3].attrs["scale"] == pytest.approx(8**-0.5)
    x = torch.randn(4, 5, 24)
    assert error(run(graph, {"x": x})["output"], model(x)) < 1e-5


class QkNorm(Eager):
    """Attention with normalised queries and keys."""

    def __init__(self) -> None:
        super().__init__("scores", "unbind")
        self.q_norm, self.k_norm = nn.LayerNorm(8), nn.RMSNorm(8, eps=1e-6)

    def _heads(self, x: Tensor) -> list[Tensor]:
        q, k, v = super()._heads(x)
        return [self.q_norm(q), self.k_norm(k), v]


def test_query_and_key_norm():
    model = awake(QkNorm())
    graph = capture(model, (torch.randn(2, 5, 24),))
    check_graph(graph)
    x = torch.randn(4, 5, 24)
    assert error(run(graph, {"x": x})["output"], model(x)) < 1e-5


class Written(nn.Module):
    """Norms and activations in single operators, affine maps around linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(12)), nn.Parameter(torch.zeros(12))
        self.scale = nn.Parameter(torch.ones(12))
        self.fc, self.gate = nn.Linear(12, 12), nn.Linear(12, 12, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred * centred).mean(-1, keepdim=True)
        y = centred * torch.rsqrt(variance + 1e-5) * self.gamma + self.beta
        z = self.fc(y) * self.scale
        z = 0.5 * z * (1 + torch.erf(z / 2**0.5))
        g = self.gate(y) + self.beta
        g = 0.5 * g * (1 + torch.tanh(0.7978845608 * (g + 0.044715 * g**3)))
        s = z * torch.sigmoid(z)
        r = s / (s.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * self.gamma
        return x - (r + g) * 0.5


def test_decomposed_operators_are_fused():
    model = awake(Written())
    graph = capture(model, (torch.randn(2, 3, 12),))
    check_graph(graph)
    ops = [node.op for node in graph]
    assert ops.count("gelu") == 2 and "layer_norm" in ops and "rms_norm" in ops and "silu" in ops
    assert "mul" not in ops and "scale" in ops
    x = torch.randn(4, 3, 12)
    assert error(run(graph, {"x": x})["output"], model(x)) < 1e-5


def test_quick_gelu_is_silu_between_factors():
    class Quick(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(1.702 * x)

    graph = capture(Quick(), (torch.randn(2, 6),))
    check_graph(graph)
    x = torch.randn(3, 6)
    assert error(run(graph, {"x": x})["output"], Quick()(x)) < 1e-6


def test_capture_like_a_raw_sample():
    model = awake(VisionTransformer(ViTConfig(depth=1, dim=24, num_heads=2)))
    graph = capture_like(model, np.zeros((1, 32, 32, 3), np.uint8))
    check_graph(graph)
    assert list(graph.inputs) == ["pixels"] and list(graph.outputs) == ["logits"]
    with pytest.raises(CaptureError, match="'pixels' is float64"):
        capture_like(model, np.zeros((1, 32, 32, 3)))


def test_half_precision_modules():
    model = awake(VisionTransformer(ViTConfig(depth=1, dim=24, num_heads=2)))
    x = images(3, 32)
    expected = model(x)
    graph = capture(model.bfloat16(), (images(2, 32),), names=["pixels"], outputs=["logits"])
    check_graph(graph)
    assert graph.inputs["pixels"].dtype == "float32"
    assert {a.dtype.name for a in graph.constants.values()} == {"float32"}
    assert error(run(graph, {"pixels": x})["logits"], expected) < 0.05


def test_capture_leaves_the_module_as_it_was():
    model = awake(VisionTransformer(ViTConfig(depth=1, dim=24, num_heads=2))).train()
    model.patch_embed.eval()
    modes = [module.training for module in model.modules()]
    graph = capture(model, (images(2, 32),), names=["pixels"])
    assert [module.training for module in model.modules()] == modes
    before = graph.constants["blocks.0.mlp.fc1.weight"].copy()
    model.blocks[0].mlp.fc1.weight.data.zero_()
    assert (graph.constants["blocks.0.mlp.fc1.weight"] == before).all()


class Odd(nn.Module):
    def __init__(self, forward) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.body = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lambda x: torch.cumsum(x, -1), ["aten.cumsum", "not supported", "replace"]),
        (lambda x: torch.erf(x), ["'erf'", "float32[N, 4, 6]", "cut the model"]),
        (lambda x: x.mean(), ["mix the samples"]),
        (lambda x: x.reshape(2, 4, 6) if x.sum() > 0 else x, ["torch.export", "control flow"]),
        (lambda x: F.dropout(x, 0.5, True), ["dropout is active"]),
    ],
)
def test_what_is_not_supported_says_so(body, words):
    with pytest.raises(CaptureError) as error:
        capture(Odd(body), (torch.randn(2, 4, 6),))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


def test_error_names_the_module():
    model = nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.Softshrink()))
    with pytest.raises(CaptureError, match=r"^1\.1: the operator aten\.softshrink"):
        capture(model, (torch.randn(2, 6),))


def test_unknown_output_name():
    class Two(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"a": x.relu(), "b": x.tanh()}

    graph = capture(Two(), (torch.randn(2, 6),), outputs=["b"])
    assert list(graph.outputs) == ["b"] and [n.op for n in graph] == ["tanh"]
    with pytest.raises(CaptureError, match=r"no output 'c'; it has \['a', 'b'\]"):
        capture(Two(), (torch.randn(2, 6),), outputs=["c"])
