"""A tiny classifier of coloured pictures, its data in a folder, and a trainer for it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn

from intformer.evaluate.datasets import open_images
from intformer.evaluate.framing import Framing
from intformer.frontend.capture import capture
from intformer.frontend.preprocess import ImagePreprocess
from intformer.frontend.sources import Source
from intformer.quantize.qat import convert, prepare
from intformer.train.augment import Augmentation, Mixing
from intformer.train.data import Place, TrainingImages
from intformer.train.options import Options
from intformer.train.student import Teacher
from intformer.train.trainer import Trainer

SIDE, CLASSES, COUNT = 16, 3, 48
OPTIONS = Options(epochs=1.5, batch_size=8, learning_rate=1e-2, mixup=0.4, cutmix=1.0, ema=0.9)


class Classifier(nn.Module):
    """Patches, a normalised hidden layer, mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.norm = nn.LayerNorm(16)
        self.fc1, self.fc2 = nn.Linear(16, 32), nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.patch(x).flatten(2).transpose(1, 2))
        result: Tensor = self.fc2(nn.functional.gelu(self.fc1(tokens))).mean(1)
        return result


def source() -> Source:
    """The classifier as a model source."""
    module = Classifier().eval()
    graph = capture(module, (torch.zeros(2, 3, SIDE, SIDE),), names=["pixels"], outputs=["logits"])
    return Source(graph, ImagePreprocess((SIDE, SIDE)), module, "test", "classifier")


def write_pictures(folder: Path) -> Path:
    """``folder/<colour>/N.png``: noise, one colour stronger than the others."""
    random = np.random.default_rng(0)
    for index in range(COUNT):
        label = index % CLASSES
        picture = random.normal(100, 40, (SIDE + 4, SIDE, 3))
        picture[..., label] += 25
        path = folder / "rgb"[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path)
    return folder


def trainer(data: Path, work: Path, *, place: Place | None = None, **changes: Any) -> Trainer:
    """A trainer of the classifier's twin; ``changes`` of the options."""
    options = replace(OPTIONS, **changes)
    float_model, images = source(), open_images(data)
    framing = Framing.of_source(float_model.preprocess)
    pixels = np.stack([framing.apply(sample.image) for sample in images.read()])
    accelerator = Accelerator(cpu=True)
    twin = prepare(float_model, [pixels[:24], pixels[24:]], learn_scales=options.learn_scales)
    work.mkdir(parents=True, exist_ok=True)
    return Trainer(
        accelerator,
        twin,
        Teacher(float_model, accelerator.device),
        TrainingImages(
            images,
            Augmentation(framing, options),
            Mixing(options, CLASSES),
            options,
            place or Place(accelerator.process_index, accelerator.num_processes),
        ),
        options,
        work,
        save_every=2,
        log_every=1,
    )


def artifact(made: Trainer, path: Path) -> bytes:
    """The program's file."""
    convert(made.result).save(path)
    return path.read_bytes()


def main(data: Path, work: Path) -> None:
    """One process of a distributed run: trains and writes its own program."""
    torch.set_num_threads(1)
    made = trainer(data, work, epochs=1.0, batch_size=4, freeze_after=1.0)  # ranges move to the end
    assert made.accelerator.num_processes == int(os.environ["WORLD_SIZE"])
    assert made.run()
    convert(made.student).save(work / f"rank{os.environ['RANK']}.onnx")


if __name__ == "__main__":
    import sys

    main(Path(sys.argv[1]), Path(sys.argv[2]))
