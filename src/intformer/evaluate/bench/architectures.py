"""``arch:NAME``: well-known encoder shapes with random weights, for measuring speed."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intformer.errors import InputError
from intformer.frontend.capture import capture
from intformer.frontend.preprocess import ImagePreprocess
from intformer.frontend.sources import Source
from intformer.models.vit import VisionTransformer, ViTConfig

SEED = 20220704


@dataclass(frozen=True)
class VisionShape:
    """A plain Vision Transformer: square images, one class token, 1000 classes."""

    dim: int
    depth: int
    heads: int
    patch: int = 16
    size: int = 224


@dataclass(frozen=True)
class TextShape:
    """A BERT encoder without pooler; the MLP is four times as wide as the model."""

    dim: int
    depth: int
    heads: int
    vocabulary: int = 30522


SHAPES: dict[str, VisionShape | TextShape] = {
    "vit_nano": VisionShape(64, 2, 2, patch=8, size=32),
    "deit_tiny": VisionShape(192, 12, 3),
    "deit_small": VisionShape(384, 12, 6),
    "deit_base": VisionShape(768, 12, 12),
    "vit_s14": VisionShape(384, 12, 6, patch=14),
    "minilm": TextShape(384, 6, 12),
    "bert_base": TextShape(768, 12, 12),
}
"""Shapes by name. ``vit_nano`` is for trying the command: it is measured in seconds."""


class PatchEmbedding(nn.Module):
    """Non-overlapping patches to tokens."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, shape.dim, shape.patch, shape.patch)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to tokens (B, N, dim), row by row."""
        tokens: Tensor = self.proj(images)
        return tokens.flatten(2).transpose(1, 2)


def architecture(name: str) -> Source:
    """A model of a named shape, always with the same random weights.

    Raises:
        InputError: no such name.
    """
    shape = SHAPES.get(name)
    if shape is None:
        close = difflib.get_close_matches(name, SHAPES, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"arch:{name}: unknown; there are {', '.join(SHAPES)}{hint}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return _vision(name, shape) if isinstance(shape, VisionShape) else _text(name, shape)


def _vision(name: str, shape: VisionShape) -> Source:
    config = ViTConfig(
        image_size=shape.size,
        stem_channels=(3,),
        stem_strides=(shape.patch,),
        dim=shape.dim,
        depth=shape.depth,
        num_heads=shape.heads,
        classes=tuple(str(label) for label in range(1000)),
    )
    model = VisionTransformer(config)
    model.patch_embed = PatchEmbedding(shape)  # type: ignore[assignment]
    example = torch.zeros(2, 3, shape.size, shape.size)
    graph = capture(model.eval(), (example,), names=["pixels"], outputs=["logits"])
    preprocess = ImagePreprocess((shape.size, shape.size))
    return Source(graph, preprocess, model, "arch", name)


def _text(name: str, shape: TextShape) -> Source:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.dim,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.dim,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    ids = torch.zeros(2, 8, dtype=torch.int64)
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    limits = {"S": config.max_position_embeddings}
    graph = capture(model, example, outputs=["last_hidden_state"], limits=limits)
    return Source(graph, None, model, "arch", name)
