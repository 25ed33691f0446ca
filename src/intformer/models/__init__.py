"""Reference models in plain PyTorch that the zoo's checkpoints belong to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from intformer.models.config import read_stored
from intformer.models.swin import SwinConfig, SwinTransformer, load_swin
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
    "ImageModel",
    "LanguageModel",
    "SwinConfig",
    "SwinTransformer",
    "TransformerConfig",
    "TranslationTransformer",
    "ViTConfig",
    "VisionTransformer",
    "build_transformer",
    "load_model",
    "load_swin",
    "load_transformer",
    "load_vit",
    "preset",
]

ImageModel = VisionTransformer | SwinTransformer


def load_model(folder: str | Path) -> ImageModel:
    """Load an image model of the zoo, of any architecture, from ``folder``, in eval mode.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: the configuration is not valid, or its architecture is not known.
        TypeError: it has a field that its architecture lacks.
        RuntimeError: the weights do not fit the configuration.
    """
    loaders: dict[str, Callable[[Path], ImageModel]] = {"vit": load_vit, "swin": load_swin}
    architecture = read_stored(Path(folder) / "config.json")["architecture"]
    if architecture not in loaders:
        known = ", ".join(loaders)
        raise ValueError(f"architecture {architecture!r} is not one of {known}")
    return loaders[architecture](Path(folder))
