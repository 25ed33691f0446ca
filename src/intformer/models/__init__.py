"""Reference models in plain PyTorch that the zoo's checkpoints belong to."""

from intformer.models.transformer import (
    LanguageModel,
    TransformerConfig,
    TranslationTransformer,
    build_transformer,
    load_transformer,
    preset,
)
from intformer.models.vit import VisionTransformer, ViTConfig, load_vit

__all__ = [
    "LanguageModel",
    "TransformerConfig",
    "TranslationTransformer",
    "ViTConfig",
    "VisionTransformer",
    "build_transformer",
    "load_transformer",
    "load_vit",
    "preset",
]
