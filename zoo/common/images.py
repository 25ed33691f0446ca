"""CIFAR-10 images for training: reading, normalising, cropping and mixing."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from intformer.models.config import ImageConfig

PAD = 4
"""Pixels that a crop may be shifted by."""


@dataclass
class Split:
    """Images (N, H, W, 3) uint8 and labels (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


# ---------------------------------------------------------------------------------------- data


def read_split(path: Path, pad: int = 0) -> Split:
    """Decode a parquet file of JPEG images into memory, reflecting ``pad`` pixels at the edges.

    Raises:
        OSError: the file is missing or holds an image that cannot be decoded.
    """
    table = pq.read_table(path)
    decoded = [
        np.asarray(Image.open(io.BytesIO(item["bytes"])).convert("RGB"))
        for item in table["image"].to_pylist()
    ]
    images = np.pad(np.stack(decoded), ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    return Split(torch.from_numpy(images), torch.tensor(table["label"].to_pylist()))


class Normaliser:
    """Turns uint8 NHWC batches into normalised float NCHW batches (channels-last in memory)."""

    def __init__(self, config: ImageConfig, device: torch.device) -> None:
        self.mean = 255 * torch.tensor(config.mean, device=device)
        self.inv_std = 1 / (255 * torch.tensor(config.std, device=device))

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise ``images`` (B, H, W, 3) uint8 to (B, 3, H, W) float32."""
        return ((images.float() - self.mean) * self.inv_std).permute(0, 3, 1, 2)


def random_crops(padded: Tensor, index: Tensor, size: int) -> Tensor:
    """Randomly shifted and mirrored crops of ``padded[index]``: (B, size, size, 3) uint8."""
    batch, device = len(index), padded.device
    shift = torch.randint(0, 2 * PAD + 1, (2, batch, 1), device=device)
    line = torch.arange(size, device=device)
    mirror = torch.rand(batch, 1, device=device) < 0.5
    rows = shift[0] + line
    cols = shift[1] + torch.where(mirror, size - 1 - line, line)
    return padded[index[:, None, None], rows[:, :, None], cols[:, None, :]]


def cutout(images: Tensor, side: int) -> Tensor:
    """Set one random square per image (B, 3, H, W) to zero, the mean colour."""
    batch, _, height, width = images.shape
    device = images.device
    centre = torch.rand(2, batch, 1, device=device)
    rows = (torch.arange(height, device=device) - centre[0] * height).abs() < side / 2
    cols = (torch.arange(width, device=device) - centre[1] * width).abs() < side / 2
    return images.masked_fill((rows[:, :, None] & cols[:, None, :])[:, None], 0.0)


def cutmix(images: Tensor, *targets: Tensor) -> tuple[Tensor, ...]:
    """Paste one random box of the reversed batch into the batch and mix the targets alike."""
    height, width = images.shape[2:]
    cut = math.sqrt(1 - torch.rand(()).item())
    box_h, box_w = int(height * cut), int(width * cut)
    top = int(torch.randint(0, height - box_h + 1, ()).item())
    left = int(torch.randint(0, width - box_w + 1, ()).item())
    images = images.clone()
    box = (..., slice(top, top + box_h), slice(left, left + box_w))
    images[box] = images.flip(0)[box]
    share = box_h * box_w / (height * width)
    return images, *(t * (1 - share) + t.flip(0) * share for t in targets)
