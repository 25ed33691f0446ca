"""Reference models in plain PyTorch that the zoo's checkpoints belong to."""

from intformer.models.vit import VisionTransformer, ViTConfig, load_vit

__all__ = ["ViTConfig", "VisionTransformer", "load_vit"]
