"""Labelled training images by row number, and the order in which a training visits them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from intformer.errors import InputError
from intformer.evaluate.datasets import ImageData, Sample
from intformer.evaluate.framing import Pixels
from intformer.train.augment import Augmentation, Mixing
from intformer.train.options import Options


@dataclass(frozen=True)
class Place:
    """Where a process stands in a distributed run."""

    rank: int = 0
    count: int = 1


class TrainingImages:
    """Augmented batches by step number; a step's batch follows from the options alone.

    Args:
        data: labelled images.
        workers: threads that decode and augment; RandAugment, which draws from a generator of the
            whole process, takes one.

    Raises:
        InputError: the images have no labels, or fewer than one batch.
    """

    def __init__(
        self,
        data: ImageData,
        augmentation: Augmentation,
        mixing: Mixing,
        options: Options,
        place: Place,
        workers: int = 1,
    ) -> None:
        if not data.labelled:
            raise InputError(f"{data.name}: training needs labels (one sub-folder per class)")
        self.options, self.place, self.mixing = options, place, mixing
        self.augmentation, self.count, self.name = augmentation, len(data), data.name
        self._read: Callable[[int], Sample] = data.random_access()
        self.per_epoch = self.count // (options.batch_size * place.count)
        if not self.per_epoch:
            together = options.batch_size * place.count
            raise InputError(
                f"{data.name}: {self.count} images, fewer than one batch of {together}"
            )
        self._workers = 1 if options.rand_augment else workers

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return max(round(self.options.epochs * self.per_epoch), 1)

    def batches(self, first: int = 0) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(step, uint8 [B, H, W, 3], targets [B, classes]) from step ``first`` to the end.

        The next batch is made in a thread of its own, the only one that augments and mixes.
        """
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self._batch, first)]
            for step in range(first, self.steps):
                pixels, targets = ahead.pop().result()
                if step + 1 < self.steps:
                    ahead.append(pool.submit(self._batch, step + 1))
                yield step, pixels, targets

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, rows = step // self.per_epoch, self.rows(step)
        if self._workers > 1:
            with ThreadPoolExecutor(self._workers) as pool:
                made = list(pool.map(lambda row: self._image(epoch, row), rows))
        else:
            made = [self._image(epoch, row) for row in rows]
        images, labels = zip(*made, strict=True)
        return self.mixing(np.stack(images), np.array(labels, np.int64), step, self.place.rank)

    def rows(self, step: int) -> list[int]:
        """The rows of this process's batch: a slice of the epoch's own permutation."""
        epoch, index = divmod(step, self.per_epoch)
        generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + epoch)
        order = torch.randperm(self.count, generator=generator)
        size = self.options.batch_size
        start = (index * self.place.count + self.place.rank) * size
        return [int(row) for row in order[start : start + size]]

    def _image(self, epoch: int, row: int) -> tuple[Pixels, int]:
        sample = self._read(row)
        label = sample.label
        if label is None or label >= self.mixing.classes:
            known = self.mixing.classes
            raise InputError(f"{sample.name}: label {label} is out of range: {known} classes")
        return self.augmentation(sample.image, epoch, row), label
