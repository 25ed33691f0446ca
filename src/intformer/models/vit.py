"""A small Vision Transformer with a convolutional stem, in plain PyTorch.

The module tree is named like timm's (``blocks.N.attn.qkv``, ``blocks.N.mlp.fc1``, ...) and its
``forward`` has no data-dependent control flow, so ``torch.export`` captures it as is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from intformer.models.config import StemConfig


@dataclass(frozen=True)
class ViTConfig(StemConfig):
    """Shape of a :class:`VisionTransformer` and how its images are prepared.

    ``image_size`` must be divisible by the product of the stem's strides. ``distilled`` adds
    DeiT's distillation token with a classifier of its own (Touvron et al., arXiv 2012.12877,
    section 4). The defaults are the zoo model ``vit_cifar10``.
    """

    architecture = "vit"

    stem_channels: tuple[int, ...] = (32, 64, 64, 128, 128)
    stem_strides: tuple[int, ...] = (1, 2, 1, 2, 1)
    dim: int = 192
    depth: int = 6
    num_heads: int = 3
    mlp_ratio: int = 4
    norm_eps: float = 1e-6
    distilled: bool = False

    def __post_init__(self) -> None:
        """Reject shapes that no model can have.

        Raises:
            ValueError: the stem lists differ in length, or a size does not divide.
        """
        super().__post_init__()
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is not divisible by num_heads {self.num_heads}")
        if self.image_size % self.total_stride:
            raise ValueError(
                f"image_size {self.image_size} is not divisible by the stem's stride "
                f"{self.total_stride}"
            )

    @property
    def num_patches(self) -> int:
        """Number of image tokens, without class and distillation token."""
        return (self.image_size // self.total_stride) ** 2

    @property
    def prefix_tokens(self) -> int:
        """Number of tokens before the image's: class, and distillation if there is one."""
        return 2 if self.distilled else 1


def conv_layers(config: StemConfig) -> tuple[nn.Sequential, int]:
    """3x3 Conv + BatchNorm + ReLU for each entry of the stem's lists, and the width they end in."""
    layers: list[nn.Module] = []
    width = config.in_channels
    for channels, stride in zip(config.stem_channels, config.stem_strides, strict=True):
        # No bias: BatchNorm's shift would absorb it.
        layers.append(nn.Conv2d(width, channels, 3, stride, padding=1, bias=False))
        layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU())
        width = channels
    return nn.Sequential(*layers), width


class ConvStem(nn.Module):
    """3x3 Conv + BatchNorm + ReLU layers, then a 1x1 convolution to the model's width."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.stem, width = conv_layers(config)
        self.proj = nn.Conv2d(width, config.dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to tokens (B, N, dim), row by row."""
        x: Tensor = self.proj(self.stem(images))
        return x.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention with one linear layer for queries, keys and values."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens of ``x`` (B, N, dim); the result has the same shape and dtype."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        x = x.transpose(1, 2).reshape(batch, tokens, dim)
        out: Tensor = self.proj(x)
        return out


class Mlp(nn.Module):
    """Two linear layers with an exact (erf) GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token of ``x`` (B, N, dim) by itself; shape and dtype stay."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Block(nn.Module):
    """One pre-norm encoder block: attention and MLP, each with a residual connection."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.attn = Attention(config.dim, config.num_heads)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.mlp = Mlp(config.dim, config.mlp_ratio * config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to tokens ``x`` (B, N, dim); shape and dtype stay."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """Image classifier: convolutional stem, class token, encoder blocks, linear head."""

    def __init__(self, config: ViTConfig | None = None) -> None:
        """Build the model with fresh random weights; ``None`` means the default configuration."""
        super().__init__()
        config = config or ViTConfig()
        self.config = config
        self.patch_embed = ConvStem(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        if config.distilled:
            self.dist_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        tokens = config.prefix_tokens + config.num_patches
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, config.dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.head = nn.Linear(config.dim, len(config.classes))
        if config.distilled:
            self.head_dist = nn.Linear(config.dim, len(config.classes))
        self._init_weights()

    def _init_weights(self) -> None:
        """Truncated normal (0.02) for linear layers and embeddings, zero for biases."""
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        if self.config.distilled:
            nn.init.trunc_normal_(self.dist_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def embed(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) into tokens (B, prefix_tokens + num_patches, dim)."""
        x: Tensor = self.patch_embed(images)
        prefix = [self.cls_token, *([self.dist_token] if self.config.distilled else [])]
        x = torch.cat([*(token.expand(x.shape[0], -1, -1) for token in prefix), x], dim=1)
        return x + self.pos_embed

    def encode(self, tokens: Tensor) -> Tensor:
        """Turn embedded tokens (B, T, dim), prefix first, into logits (B, classes)."""
        heads = self.head_logits(tokens)
        return heads[0] if len(heads) == 1 else (heads[0] + heads[1]) / 2

    def head_logits(self, tokens: Tensor) -> list[Tensor]:
        """Logits (B, classes) of each classifier; training treats DeiT's two differently."""
        for block in self.blocks:
            tokens = block(tokens)
        logits: list[Tensor] = [self.head(self.norm(tokens[:, 0]))]
        if self.config.distilled:
            logits.append(self.head_dist(self.norm(tokens[:, 1])))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Classify images.

        Args:
            images: float, (B, C, image_size, image_size), pixels scaled to 0..1 and then
                normalised with the configuration's ``mean`` and ``std``.

        Returns:
            Logits (B, classes), unbounded, in the dtype of the model.

        Raises:
            RuntimeError: the number of channels or the image size does not fit the model.
        """
        return self.encode(self.embed(images))


def load_vit(folder: str | Path) -> VisionTransformer:
    """Load a model from ``folder`` (``config.json`` and ``model.safetensors``), in eval mode.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: the configuration is not valid.
        RuntimeError: the weights do not fit the configuration.
    """
    folder = Path(folder)
    model = VisionTransformer(ViTConfig.load(folder / "config.json"))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()
