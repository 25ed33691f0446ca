"""Train and evaluate the zoo model ``vit_cifar10``.

Run ``python zoo/vit_cifar10/train.py --help``; how it trains is in ``zoo/cifar10_training.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from cifar10_training import main  # noqa: E402

from intformer.models import VisionTransformer  # noqa: E402


def build() -> VisionTransformer:
    """The model with fresh weights."""
    return VisionTransformer()


if __name__ == "__main__":
    main(HERE, build, {"drop_tokens": True})
