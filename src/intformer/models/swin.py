"""A small Swin Transformer in plain PyTorch (Liu et al., arXiv 2103.14030).

The module tree is named like timm's (``layers.N.blocks.M.attn.qkv``, ...), so that weights fit
both. ``forward`` has no data-dependent control flow, so ``torch.export`` captures it as is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from intformer.models.config import StemConfig
from intformer.models.vit import Mlp, conv_layers

MASKED = -100.0
"""Added to the score of two tokens that only the shift has made neighbours."""


@dataclass(frozen=True)
class SwinConfig(StemConfig):
    """Shape of a :class:`SwinTransformer`; the defaults are the zoo model ``swin_cifar10``.

    The patches are cut out of what the stem computes; with an empty stem, as in the paper, out of
    the image. ``dim`` is the width of the first stage; each further stage doubles it and halves the
    grid.
    ``window`` must divide the side of each stage's grid.
    """

    architecture = "swin"

    stem_channels: tuple[int, ...] = (32, 64)
    stem_strides: tuple[int, ...] = (2, 1)
    patch_size: int = 2
    dim: int = 96
    depths: tuple[int, ...] = (4, 2)
    num_heads: tuple[int, ...] = (3, 6)
    window: int = 4
    mlp_ratio: int = 4
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Reject shapes that no model can have.

        Raises:
            ValueError: the lists differ in length or are empty, or a size does not divide.
        """
        super().__post_init__()
        if not self.depths or len(self.depths) != len(self.num_heads):
            raise ValueError("depths and num_heads need one entry per stage")
        for stage, heads in enumerate(self.num_heads):
            if self.width(stage) % heads:
                raise ValueError(f"width {self.width(stage)} is not divisible by {heads} heads")
            if self.side(stage) % self.window or not self.side(stage):
                raise ValueError(
                    f"the grid of stage {stage} ({self.side(stage)}) is not divisible by the "
                    f"window {self.window}"
                )

    def side(self, stage: int) -> int:
        """Tokens along one side of the grid of ``stage``."""
        return self.image_size // (self.total_stride * self.patch_size << stage)

    def width(self, stage: int) -> int:
        """Channels of ``stage``."""
        return self.dim << stage


class PatchEmbed(nn.Module):
    """Convolutions, if any, then patches to tokens and a LayerNorm."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.stem, width = conv_layers(config)
        self.proj = nn.Conv2d(width, config.dim, config.patch_size, config.patch_size)
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to a grid of tokens (B, h, w, dim)."""
        out: Tensor = self.norm(self.proj(self.stem(images)).permute(0, 2, 3, 1))
        return out


class PatchMerging(nn.Module):
    """Four neighbouring tokens become one of twice the width."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=eps)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the grid: (B, h, w, dim) to (B, h/2, w/2, 2·dim)."""
        batch, height, width, dim = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, dim)
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)
        out: Tensor = self.reduction(self.norm(x))
        return out


def relative_index(window: int) -> Tensor:
    """Row of the bias table for each pair of tokens of a window: (window², window²) int64."""
    line = torch.arange(window)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij")).flatten(1)
    offset = grid[:, :, None] - grid[:, None, :] + window - 1
    return offset[0] * (2 * window - 1) + offset[1]


def shift_mask(side: int, window: int, shift: int) -> Tensor:
    """0 for tokens of one window that were neighbours before the shift, ``MASKED`` for others.

    Returns:
        float32 (windows, window², window²).
    """
    line = torch.zeros(side, dtype=torch.int64)
    line[-window:-shift] = 1
    line[-shift:] = 2
    regions = (3 * line[:, None] + line)[None, :, :, None]
    regions = windows_of(regions, window)[..., 0]
    return torch.where(regions[:, :, None] == regions[:, None, :], 0.0, MASKED)


def windows_of(x: Tensor, window: int) -> Tensor:
    """(B, h, w, C) to (B·windows, window², C)."""
    batch, height, width, dim = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, dim)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, dim)


def grid_of(x: Tensor, window: int, side: int) -> Tensor:
    """The inverse of :func:`windows_of` for a square grid."""
    count, dim = side // window, x.shape[-1]
    x = x.reshape(-1, count, count, window, window, dim)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, side, side, dim)


class WindowAttention(nn.Module):
    """Self-attention inside windows, with a bias for each relative position."""

    index: Tensor

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window - 1) ** 2, num_heads)
        )
        self.register_buffer("index", relative_index(window), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Mix the tokens of ``x`` (B·windows, N, dim); ``mask`` is (windows, N, N) or None."""
        count, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(count, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * self.head_dim**-0.5) @ k.transpose(-2, -1) + self.bias()
        if mask is not None:
            grouped = scores.reshape(-1, len(mask), self.num_heads, tokens, tokens)
            scores = (grouped + mask[:, None]).reshape(scores.shape)
        x = scores.softmax(-1).to(v.dtype) @ v
        out: Tensor = self.proj(x.transpose(1, 2).reshape(count, tokens, dim))
        return out

    def bias(self) -> Tensor:
        """What is added to the scores: (heads, N, N)."""
        return self.relative_position_bias_table[self.index].permute(2, 0, 1)


class Block(nn.Module):
    """Window attention and MLP, pre-norm, each with a residual connection."""

    mask: Tensor | None

    def __init__(self, config: SwinConfig, stage: int, shifted: bool) -> None:
        super().__init__()
        dim, self.side, self.window = config.width(stage), config.side(stage), config.window
        # A window that covers the grid has no neighbours to be shifted to.
        self.shift = self.window // 2 if shifted and self.side > self.window else 0
        self.norm1 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.attn = WindowAttention(dim, config.num_heads[stage], self.window)
        self.norm2 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.mlp = Mlp(dim, config.mlp_ratio * dim)
        mask = shift_mask(self.side, self.window, self.shift) if self.shift else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to a grid of tokens (B, h, w, dim); shape and dtype stay."""
        x = x + self.attend(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def attend(self, x: Tensor) -> Tensor:
        """Attention inside the windows of the grid, which is shifted there and back."""
        shift = self.shift
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        x = grid_of(self.attn(windows_of(x, self.window), self.mask), self.window, self.side)
        return x.roll((shift, shift), (1, 2)) if shift else x


class Stage(nn.Module):
    """Blocks of one resolution, after the merge that makes it (none in the first stage)."""

    def __init__(self, config: SwinConfig, stage: int) -> None:
        super().__init__()
        width = config.width(stage)
        self.downsample = PatchMerging(width // 2, config.norm_eps) if stage else nn.Identity()
        blocks = (Block(config, stage, shifted=i % 2 == 1) for i in range(config.depths[stage]))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the stage to a grid of tokens (B, h, w, C)."""
        out: Tensor = self.blocks(self.downsample(x))
        return out


class Head(nn.Module):
    """Mean over the grid and a linear classifier."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of a grid (B, h, w, dim)."""
        out: Tensor = self.fc(x.mean((1, 2)))
        return out


class SwinTransformer(nn.Module):
    """Image classifier: patches, stages of window attention, mean, linear head."""

    def __init__(self, config: SwinConfig | None = None) -> None:
        """Build the model with fresh random weights; ``None`` means the default configuration."""
        super().__init__()
        config = config or SwinConfig()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.layers = nn.Sequential(*(Stage(config, i) for i in range(len(config.depths))))
        width = config.width(len(config.depths) - 1)
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.head = Head(width, len(config.classes))
        self._init_weights()

    def _init_weights(self) -> None:
        """Truncated normal (0.02) for linear layers and position biases, zero for biases."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            if isinstance(module, WindowAttention):
                nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)

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
        logits: Tensor = self.head(self.norm(self.layers(self.patch_embed(images))))
        return logits


def load_swin(folder: str | Path) -> SwinTransformer:
    """Load a model from ``folder`` (``config.json`` and ``model.safetensors``), in eval mode.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: the configuration is not valid.
        RuntimeError: the weights do not fit the configuration.
    """
    folder = Path(folder)
    model = SwinTransformer(SwinConfig.load(folder / "config.json"))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()
