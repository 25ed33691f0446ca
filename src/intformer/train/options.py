"""Everything that decides the result of a training, as data."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from intformer.errors import InputError

Crop = Literal["auto", "pad", "resized", "none"]


@dataclass(frozen=True)
class Options:
    """How to train.

    Attributes:
        epochs: passes over the data, with fraction.
        batch_size: images per step and process.
        learning_rate: peak; AdamW, linear warm-up, then cosine.
        final_rate: learning rate of the last step as a share of the peak.
        weight_decay: on matrices; none on biases, gains and scales.
        warmup: share of the steps.
        smoothing: label smoothing.
        mixup, cutmix: alpha of mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899); 0 is off.
        rand_augment: RandAugment in timm's words, e.g. ``rand-m9-mstd0.5-inc1``; empty is off.
        crop: ``pad`` (reflect by an eighth, crop back), ``resized`` (random part, 8 to 100 % of the
            area), ``none``; ``auto``: pad where images are at most 64 pixels wide.
        flip: mirror half of the images.
        distill: weight of the distance to the float model's answers (arXiv 1503.02531), 0 to 1; the
            labels weigh the rest.
        temperature: of the distillation.
        ema: decay of the average of the weights, which is then the result; 0 is off.
        clip: largest norm of the gradient; 0 is off.
        learn_scales: LSQ instead of ranges that follow the data.
        scale_rate: learning rate of the scales, times that of the weights.
        freeze_after: share of the steps after which ranges stay.
        seed: of order and augmentation.
    """

    epochs: float = 1.0
    batch_size: int = 128
    learning_rate: float = 1e-4
    final_rate: float = 0.01
    weight_decay: float = 0.0
    warmup: float = 0.05
    smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    rand_augment: str = ""
    crop: Crop = "auto"
    flip: bool = True
    distill: float = 0.9
    temperature: float = 1.0
    ema: float = 0.0
    clip: float = 1.0
    learn_scales: bool = False
    scale_rate: float = 10.0
    freeze_after: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Reject what cannot be trained with.

        Raises:
            InputError: a value is out of range; the text names it.
        """
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                wanted = f"between {low:g} and {high:g}" if high < math.inf else f"at least {low:g}"
                raise InputError(f"{command_line(name)} {value}: it must be {wanted}")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0 .. steps - 1, as a share of the peak."""
        warm = round(self.warmup * steps)
        if step < warm:
            return (step + 1) / (warm + 1)
        share = (step - warm) / max(steps - warm - 1, 1)
        return self.final_rate + (1 - self.final_rate) * (1 + math.cos(math.pi * share)) / 2

    def save(self, path: Path) -> None:
        """Write JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Options:
        """Read what ``save`` wrote.

        Raises:
            InputError: there is none, or it is damaged.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path}: no options of a training ({error})") from None


LIMITS = {
    "epochs": (0.0, math.inf),
    "batch_size": (1, math.inf),
    "learning_rate": (0.0, 1.0),
    "final_rate": (0.0, 1.0),
    "weight_decay": (0.0, 10.0),
    "warmup": (0.0, 1.0),
    "smoothing": (0.0, 0.9),
    "mixup": (0.0, math.inf),
    "cutmix": (0.0, math.inf),
    "distill": (0.0, 1.0),
    "temperature": (0.01, 100.0),
    "ema": (0.0, 0.999999),
    "clip": (0.0, math.inf),
    "scale_rate": (0.0, 1000.0),
    "freeze_after": (0.0, 1.0),
}
"""Smallest and largest value of the numbers."""


def command_line(name: str) -> str:
    """How ``intformer train`` calls an option."""
    return "--" + {"learning_rate": "lr"}.get(name, name).replace("_", "-")
