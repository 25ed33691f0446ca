"""Train and evaluate the zoo model ``swin_cifar10``, a student of ``vit_cifar10``.

Run ``python zoo/swin_cifar10/train.py --help``; how it trains is in ``zoo/cifar10_training.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from cifar10_training import main  # noqa: E402

from intformer.models import SwinTransformer  # noqa: E402


def build() -> SwinTransformer:
    """The model with fresh weights."""
    return SwinTransformer()


if __name__ == "__main__":
    main(HERE, build, {"epochs": 18, "teacher": HERE.parent / "vit_cifar10", "soft": True})
