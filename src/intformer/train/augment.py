"""Augmentation of training images. Every choice follows from the seeds given: nothing is kept.

Random numbers come from (seed, epoch, row) or (seed, step), so that a training which stops and goes
on sees the very images it would have seen. RandAugment, mixup and CutMix are timm's.
"""

from __future__ import annotations

import importlib.util
import math
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from intformer.errors import InputError
from intformer.evaluate.framing import Framing, Pixels
from intformer.train.options import Options

SMALL = 64
"""Sides up to this are padded and cropped, larger images cut out at random size."""

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
"""Share of the image's area, and width by height, of a cut of random size."""

TRANSLATED = 0.45
"""RandAugment moves an image by this share of its side at most."""

GREY = (124, 116, 104)
"""What RandAugment fills empty places with: the mean colour of ImageNet."""


class Augmentation:
    """Turns a decoded image into the pixels of one epoch.

    Raises:
        InputError: RandAugment is asked for and timm is missing, or its text is malformed.
    """

    def __init__(self, framing: Framing, options: Options) -> None:
        self.framing, self.options = framing, options
        auto = "pad" if max(framing.size) <= SMALL else "resized"
        self.crop = auto if options.crop == "auto" else options.crop
        self._transform = None
        if options.rand_augment:
            self._transform = _rand_augment(options.rand_augment, min(framing.size))

    def __call__(self, image: Image.Image, epoch: int, row: int) -> Pixels:
        """uint8 [H, W, 3]."""
        generator = np.random.default_rng((self.options.seed, epoch, row))
        image = self._cropped(image.convert("RGB"), generator)
        if self.options.flip and generator.random() < 0.5:
            image = ImageOps.mirror(image)
        if self._transform is not None:
            seed_global(int(generator.integers(2**31)))
            image = self._transform(image)
        return np.asarray(image, dtype=np.uint8)

    def _cropped(self, image: Image.Image, generator: np.random.Generator) -> Image.Image:
        if self.crop == "resized":
            return self._resized(image, generator)
        framed = self.framing.apply(image)
        if self.crop == "none":
            return Image.fromarray(framed)
        margin = max(self.framing.size) // 8
        padded = np.pad(framed, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
        top, left = (int(v) for v in generator.integers(0, 2 * margin + 1, 2))
        height, width = self.framing.size
        return Image.fromarray(padded[top : top + height, left : left + width])

    def _resized(self, image: Image.Image, generator: np.random.Generator) -> Image.Image:
        """A random part of the image, as Inception training takes it (arXiv 1409.4842)."""
        width, height = image.size
        for _ in range(10):
            area = width * height * generator.uniform(*AREA)
            ratio = math.exp(generator.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
            wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < high <= height:
                left = int(generator.integers(width - wide + 1))
                top = int(generator.integers(height - high + 1))
                box = (left, top, left + wide, top + high)
                filter_ = Image.Resampling[self.framing.interpolation.upper()]
                return image.resize(self.framing.size[::-1], filter_, box)
        return Image.fromarray(self.framing.apply(image))


class Mixing:
    """Mixup and CutMix over a batch, and soft targets.

    Raises:
        InputError: mixing is asked for and timm is missing, or the batch size is odd.
    """

    def __init__(self, options: Options, classes: int) -> None:
        self.options, self.classes = options, classes
        self._mixup: Any = None
        if options.mixup or options.cutmix:
            if options.batch_size % 2:
                raise InputError("mixup and cutmix pair images: the batch size must be even")
            self._mixup = timm_part("mixup").Mixup(
                mixup_alpha=options.mixup,
                cutmix_alpha=options.cutmix,
                label_smoothing=options.smoothing,
                num_classes=classes,
            )

    def __call__(
        self, pixels: Pixels, labels: NDArray[np.int64], step: int, rank: int
    ) -> tuple[Tensor, Tensor]:
        """uint8 [B, H, W, 3] and [B] -> the same mixed, and float32 targets [B, classes]."""
        images, target = torch.from_numpy(pixels), torch.from_numpy(labels)
        if self._mixup is None:
            hot = torch.nn.functional.one_hot(target, self.classes).float()
            smoothing = self.options.smoothing
            return images, hot * (1 - smoothing) + smoothing / self.classes
        seed_global(int(np.random.default_rng((self.options.seed, step, rank)).integers(2**31)))
        mixed, soft = self._mixup(images.permute(0, 3, 1, 2).float(), target)
        whole = (mixed + 0.5).floor().to(torch.uint8).permute(0, 2, 3, 1)
        return whole.contiguous(), soft


def seed_global(seed: int) -> None:
    """timm draws from the global generators of ``random`` and NumPy."""
    random.seed(seed)
    np.random.seed(seed)


def _rand_augment(text: str, side: int) -> Any:
    part = timm_part("auto_augment")
    settings = {"translate_const": round(TRANSLATED * side), "img_mean": GREY}
    try:
        return part.rand_augment_transform(text, settings)
    except (AssertionError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"rand-augment '{text}': not understood ({error}); for example rand-m9-mstd0.5-inc1"
        ) from None


def timm_part(name: str) -> ModuleType:
    """``timm.data.NAME``; loaded alone where timm as a whole cannot be (it needs torchvision).

    Raises:
        InputError: timm is not installed.
    """
    try:
        return importlib.import_module(f"timm.data.{name}")
    except ImportError:
        spec = importlib.util.find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("mixup, cutmix and rand-augment are timm's: pip install timm")
    known = f"intformer.train._timm_{name}"
    if known not in sys.modules:
        path = Path(next(iter(spec.submodule_search_locations))) / "data" / f"{name}.py"
        alone = importlib.util.spec_from_file_location(known, path)
        assert alone is not None and alone.loader is not None
        sys.modules[known] = importlib.util.module_from_spec(alone)
        alone.loader.exec_module(sys.modules[known])
    return sys.modules[known]
