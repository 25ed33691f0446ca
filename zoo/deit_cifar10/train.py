"""Train and evaluate the zoo model ``deit_cifar10``, a student of ``vit_cifar10``.

Run ``python zoo/deit_cifar10/train.py --help``; how it trains is in ``zoo/cifar10_training.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from cifar10_training import main  # noqa: E402

from intformer.models import VisionTransformer, ViTConfig  # noqa: E402


def build() -> VisionTransformer:
    """The model with fresh weights."""
    stem = {"stem_channels": (32, 64, 128), "stem_strides": (2, 1, 2)}
    return VisionTransformer(ViTConfig(distilled=True, **stem))


if __name__ == "__main__":
    main(HERE, build, {"drop_tokens": True, "epochs": 20, "teacher": HERE.parent / "vit_cifar10"})
